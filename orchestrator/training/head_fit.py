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

    def logits(self, features: Tensor) -> Tensor:
        """Return what each head says of features of shape (n, d): shape (n, heads)."""
        return features @ self.weight + self.bias


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


def fit_heads(
    features: Tensor,
    gender: NDArray[np.int8],
    label: NDArray[np.int8],
    rows: NDArray[np.bool_],
    config: Config,
) -> Heads:
    """Fit a linear head to each of several sets of rows.

    Minimises the weighted mean of ``config.loss`` (with `config.balance`'s weights; cross-entropy
    that weighs each gender and class alike is DFR: Kirichenko et al., ICLR 2023), under
    ``gap_penalty`` with ``penalty * |women - men|`` of the mean probability of the true class, and
    half ``fit.l2`` times the squared norm of the weights of features that are scaled to a standard
    deviation of 1 over the head's own rows. No head knows anything of other rows.

    Parameters
    ----------
    features
        float32 or float64, shape (n, d); it is computed as it is.
    gender, label
        Shape (n,).
    rows
        Shape (n, heads): the rows that a head is fitted to.
    config
        Of the trial.
    """
    dtype = features.dtype
    share = torch.from_numpy(shares(config, gender, label, rows).T.copy()).T.to(dtype)
    target = torch.from_numpy(label).to(dtype)[:, None].expand_as(share)
    loss = LOSSES[config.loss.name]
    if config.method.name == "gap_penalty":
        women, men = (_mean_over(gender == value, rows, dtype) for value in (-1, 1))

    def data_loss(logit: Tensor) -> Tensor:
        mean = (loss(logit, target, config.loss) * share).sum(0)
        if config.method.name != "gap_penalty":
            return mean
        truth = torch.sigmoid((2 * target - 1) * logit)
        gap = ((women - men) * truth).sum(0)
        return mean + config.method.penalty * (torch.sqrt(gap**2 + SMOOTH_GAP**2) - SMOOTH_GAP)

    return minimise(features, torch.from_numpy(rows), data_loss, config.fit.l2)


def minimise(
    features: Tensor, rows: Tensor, data_loss: Callable[[Tensor], Tensor], l2: float
) -> Heads:
    """Find the heads of the least loss, by L-BFGS over all of them together.

    Parameters
    ----------
    features
        Shape (n, d).
    rows
        bool, shape (n, heads): the rows over which a head's features are scaled.
    data_loss
        From logits, shape (n, heads), to the losses, shape (heads,), each of its own column.
    l2
        The weight of half the squared norm of a head's weights, of features so scaled.
    """
    # Of all rows, so that the numbers are of one size; what a head is fitted to it does not change.
    centre, size = features.mean(0), _unless_still(features.std(0, correction=0))
    inputs = (features - centre) / size
    own = rows.to(inputs.dtype) / rows.sum(0)
    mean = inputs.T @ own
    scale = _unless_still((inputs.square().T @ own - mean**2).clamp(min=0).sqrt())
    turn = _turn(inputs, l2)
    # A face a column: the products of a step then take two fifths of the time.
    across = inputs.T.contiguous()
    turned = torch.zeros_like(mean, requires_grad=True)
    bias = torch.zeros(rows.shape[1], dtype=inputs.dtype, requires_grad=True)
    exact = inputs.dtype == torch.float64
    lbfgs = torch.optim.LBFGS(
        [turned, bias],
        max_iter=MOST_STEPS,
        history_size=MEMORY,
        tolerance_grad=1e-9 if exact else 1e-4,
        tolerance_change=1e-15 if exact else 1e-8,
        line_search_fn="strong_wolfe",
    )

    def logits(weight: Tensor) -> Tensor:
        # The scaled features' means go into the bias, which is not penalised.
        return ((weight / scale).T @ across).T + bias

    def objective() -> Tensor:
        lbfgs.zero_grad()
        weight = turned if turn is None else turn @ turned
        total = data_loss(logits(weight)).sum() + l2 / 2 * weight.square().sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    lbfgs.step(objective)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        weight = turned if turn is None else turn @ turned
        unscaled = weight / scale / size[:, None]
        return Heads(unscaled, bias - centre @ unscaled, data_loss(logits(weight)))


def _turn(inputs: Tensor, l2: float) -> Tensor | None:
    """Return the matrix from weights for which the loss is curved alike to those of features.

    With the former L-BFGS comes to the same minimum in fewer steps: features of a network go
    together, so that the loss is far steeper along some of their sums than along others. None: they
    are too many.
    """
    rows, width = inputs.shape
    if width > WIDEST:
        return None
    curved = (CURVATURE / rows * (inputs.T @ inputs)).double()
    curved.diagonal().add_(max(l2, 1e-6))
    lower = torch.linalg.cholesky(curved)
    eye = torch.eye(width, dtype=torch.float64)
    inverse: Tensor = torch.linalg.solve_triangular(lower, eye, upper=False)
    return inverse.T.to(inputs.dtype)


def _unless_still(deviation: Tensor) -> Tensor:
    """Return 1 in place of the deviations of features that are the same in all rows."""
    return torch.where(deviation > 1e-6, deviation, torch.ones_like(deviation))


def _mean_over(group: NDArray[np.bool_], rows: NDArray[np.bool_], dtype: torch.dtype) -> Tensor:
    """Return the weights, shape (n, heads), by which a sum over a head's rows is a group's mean."""
    own = group[:, None] & rows
    return torch.from_numpy(own / np.maximum(own.sum(0), 1)).to(dtype)
