"""Fitting linear heads to the features of a frozen network: several at once, to all their rows.

The heads of a trial, one for each fold and one for train, differ in their rows alone. Fitted
together they read the features once a step for all, which is what a step's time goes to.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.losses import LOSSES
from orchestrator.config.settings import Config
from orchestrator.data.balance import expected_counts, sample_weights
from orchestrator.data.splits import count_strata

MOST_STEPS, MEMORY = 200, 20
"""Of L-BFGS: most fits end by its tolerances, after some dozens."""
SMOOTH_GAP = 0.01
"""The gap below which a penalty on it turns from linear to square: L-BFGS knows no kinks."""
CURVATURE = 0.1
"""Of cross-entropy by the logit, ``p * (1 - p)``, for a p between sure and unsure."""
WIDEST = 2048
"""Features that are not too many for a matrix of all pairs."""


class Heads(NamedTuple):
    """Linear heads, for features as they are."""

    weight: Tensor
    """Shape (d, heads)."""
    bias: Tensor
    """Shape (heads,), like what follows."""
    loss: Tensor
    """What was minimised, but for the penalty on the weights."""
    logits: Tensor
    """What each says of all rows, shape (n, heads)."""


def shares(
    config: Config, gender: NDArray[np.int8], label: NDArray[np.int8], rows: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return what each row counts in the loss of each head, as it would on average by epochs.

    A balance policy that draws weighs here: a row counts as often as an epoch draws it, on average.

    Parameters
    ----------
    config
        The balance policy and the weights of the genders.
    gender, label
        Shape (n,).
    rows
        Shape (n, heads): the rows that a head is fitted to.

    Returns
    -------
    Shape (n, heads); 0 for the rows that a head is not fitted to.
    """
    shares = np.zeros(rows.shape)
    for own, share in zip(rows.T, shares.T, strict=True):
        counts = count_strata(gender[own], label[own])
        drawn = expected_counts(config.balance, counts)
        times = {stratum: drawn[stratum] / max(1, count) for stratum, count in counts.items()}
        strata = zip(gender[own].tolist(), label[own].tolist(), strict=True)
        often = np.array([times[stratum] for stratum in strata])
        weight = sample_weights(config.balance, gender[own], label[own])
        share[own] = weight * often / sum(drawn.values())
    return shares


class Rows:
    """Features as heads are fitted to them, and what of a fit is the same for all settings.

    Parameters
    ----------
    features
        float32 or float64, shape (n, d); it is computed as it is.
    fitted
        bool, shape (n, heads): the rows that each head is fitted to.
    """

    def __init__(self, features: Tensor, fitted: NDArray[np.bool_]) -> None:
        self.fitted = fitted
        # Of all rows, so that the numbers are of one size; what a head is fitted to it does not
        # change.
        self.centre = features.mean(0)
        self.size = _unless_still(features.std(0, correction=0))
        inputs = (features - self.centre) / self.size
        own = torch.from_numpy(fitted / fitted.sum(0)).T.to(inputs.dtype)
        spread = own @ inputs.square() - (own @ inputs) ** 2
        self.scale = _unless_still(spread.clamp(min=0).sqrt())
        """The deviation of each feature over the rows of each head, shape (heads, d)."""
        self.across = inputs.T.contiguous()
        """Shape (d, n): a face a column, by which the products of a step take half the time."""
        wide = inputs.shape[1] > WIDEST
        self._pairs = None if wide else (CURVATURE / len(inputs) * (inputs.T @ inputs)).double()

    def turn(self, l2: float) -> Tensor | None:
        """Return the matrix from weights for which the loss is curved alike to those of features.

        With the former L-BFGS comes to the same minimum in fewer steps: features of a network go
        together, so that the loss is far steeper along some of their sums than along others. None:
        they are too many.
        """
        if self._pairs is None:
            return None
        lower = self._pairs.clone()
        lower.diagonal().add_(max(l2, 1e-6))
        lower = torch.linalg.cholesky(lower)
        eye = torch.eye(len(lower), dtype=torch.float64)
        inverse: Tensor = torch.linalg.solve_triangular(lower, eye, upper=False)
        return inverse.to(self.across.dtype)


def fit_heads(
    rows: Rows, gender: NDArray[np.int8], label: NDArray[np.int8], config: Config
) -> Heads:
    """Fit a linear head to each of several sets of rows.

    Minimises the weighted mean of ``config.loss`` (with `config.balance`'s weights; cross-entropy
    that weighs each gender and class alike is DFR: Kirichenko et al., ICLR 2023), under
    ``gap_penalty`` with ``penalty * |women - men|`` of the mean probability of the true class, and
    half ``fit.l2`` times the squared norm of the weights of features that are scaled to a standard
    deviation of 1 over the head's own rows. No head knows anything of other rows.

    Parameters
    ----------
    rows
        The n rows, and which of them each head is fitted to.
    gender, label
        Shape (n,).
    config
        Of the trial.
    """
    dtype = rows.across.dtype
    share = torch.from_numpy(shares(config, gender, label, rows.fitted).T.copy()).to(dtype)
    target = torch.from_numpy(label).to(dtype).expand_as(share).contiguous()
    loss = LOSSES[config.loss.name]
    if config.method.name == "gap_penalty":
        women, men = (_mean_over(gender == value, rows.fitted, dtype) for value in (-1, 1))
        apart, sign = women - men, 2 * target - 1

    def data_loss(logit: Tensor) -> Tensor:
        mean = (loss(logit, target, config.loss) * share).sum(1)
        if config.method.name != "gap_penalty":
            return mean
        gap = (apart * torch.sigmoid(sign * logit)).sum(1)
        return mean + config.method.penalty * (torch.sqrt(gap**2 + SMOOTH_GAP**2) - SMOOTH_GAP)

    return minimise(rows, data_loss, config.fit.l2)


def minimise(rows: Rows, data_loss: Callable[[Tensor], Tensor], l2: float) -> Heads:
    """Find the heads of the least loss, by L-BFGS over all of them together.

    Parameters
    ----------
    rows
        The n rows, and which of them each head is fitted to.
    data_loss
        From logits, shape (heads, n), to the losses, shape (heads,), each of its own row.
    l2
        The weight of half the squared norm of a head's weights, of features scaled by its rows.
    """
    across, turn = rows.across, rows.turn(l2)
    turned = torch.zeros_like(rows.scale, requires_grad=True)
    raised = torch.zeros(len(turned), dtype=across.dtype, requires_grad=True)
    exact = across.dtype == torch.float64
    lbfgs = torch.optim.LBFGS(
        [turned, raised],
        max_iter=MOST_STEPS,
        history_size=MEMORY,
        tolerance_grad=1e-9 if exact else 1e-4,
        tolerance_change=1e-15 if exact else 1e-8,
        line_search_fn="strong_wolfe",
    )

    def found() -> tuple[Tensor, Tensor, Tensor]:
        """Return the weights of scaled features, the bias, and the logits."""
        weight = turned if turn is None else turned @ turn
        # The scaled features' means go into the bias, which is not penalised.
        bias = raised / CURVATURE**0.5
        return weight, bias, (weight / rows.scale) @ across + bias[:, None]

    def objective() -> Tensor:
        lbfgs.zero_grad()
        weight, _, logits = found()
        total = data_loss(logits).sum() + l2 / 2 * weight.square().sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    lbfgs.step(objective)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        weight, bias, logits = found()
        unscaled = (weight / rows.scale / rows.size).T
        return Heads(unscaled, bias - rows.centre @ unscaled, data_loss(logits), logits.T)


def _unless_still(deviation: Tensor) -> Tensor:
    """Return 1 in place of the deviations of features that are the same in all rows."""
    return torch.where(deviation > 1e-6, deviation, torch.ones_like(deviation))


def _mean_over(group: NDArray[np.bool_], fitted: NDArray[np.bool_], dtype: torch.dtype) -> Tensor:
    """Return the weights, shape (heads, n), by which a sum over a head's rows is a group's mean."""
    own = group & fitted.T
    return torch.from_numpy(own / np.maximum(own.sum(1, keepdims=True), 1)).to(dtype)
