"""Retraining the last layer alone, on held-out faces of all genders and classes alike.

A network that learned to tell classes by what goes with them has often learned the right features
too, and weighs them wrongly: with balanced data, its last layer is enough to mend that (Kirichenko,
Izmailov and Wilson, Last Layer Re-Training is Sufficient for Robustness to Spurious Correlations,
ICLR 2023).
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from orchestrator.config.settings import LastLayerConfig
from orchestrator.data.splits import stratum_of
from orchestrator.training.images import Images
from orchestrator.training.inference import gathered, own_part, to_input

BATCH = 256


@torch.no_grad()
def features_of(
    model: nn.Module, last: nn.Linear, images: Images, rows: NDArray[np.int64], autocast: bool
) -> Tensor:
    """Return what the last layer sees of some rows, float32 (n, d) on the CPU, on every worker."""
    seen = [torch.zeros((0, last.in_features), device=images.device)]
    hook = last.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].float()))
    model.eval()
    try:
        for batch in images.batches(rows[own_part(len(rows))], BATCH):
            with torch.autocast(batch.device.type, torch.bfloat16, enabled=autocast):
                model(to_input(batch))
    finally:
        hook.remove()
    return torch.from_numpy(gathered(torch.cat(seen), len(rows)))


def fit_last_layer(
    features: Tensor, label: NDArray[np.int8], gender: NDArray[np.int8], config: LastLayerConfig
) -> tuple[Tensor, float, float]:
    """Fit a logistic regression in which every gender and class that there is counts alike.

    Kirichenko et al. average fits on random balanced subsets; weighing each row by one over the
    size of its gender and class is what their average estimates, and wastes no row.

    Parameters
    ----------
    features
        Shape (n, d).
    label, gender
        Shape (n,).
    config
        ``l2`` holds for features scaled to a standard deviation of 1.

    Returns
    -------
    The weights, float32 (d,), and the bias, for features as they are; and the weighted mean loss.
    """
    stratum = torch.from_numpy(stratum_of(gender, label).astype(np.int64))
    counts = torch.bincount(stratum, minlength=4)
    share = (1.0 / counts.clamp(min=1).double())[stratum] / (counts > 0).sum()
    inputs, target = features.double(), torch.from_numpy(label).double()
    mean, scale = inputs.mean(0), inputs.std(0, correction=0)
    scale = torch.where(scale > 1e-8, scale, torch.ones_like(scale))  # a unit that is always off
    inputs = (inputs - mean) / scale
    weight = torch.zeros(inputs.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros((), dtype=torch.float64, requires_grad=True)
    lbfgs = torch.optim.LBFGS(
        [weight, bias],
        max_iter=500,
        tolerance_grad=1e-9,
        tolerance_change=1e-15,  # its default ends short of the minimum, by 3e-4 in the logits
        line_search_fn="strong_wolfe",
    )

    def data_loss() -> Tensor:
        logit = inputs @ weight + bias
        return binary_cross_entropy_with_logits(logit, target, share, reduction="sum")

    def objective() -> Tensor:
        lbfgs.zero_grad()
        loss = data_loss() + config.l2 / 2 * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    lbfgs.step(objective)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        unscaled = weight / scale
        return unscaled.float(), float(bias - unscaled @ mean), float(data_loss())
