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
from orchestrator.training.head_fit import Rows, minimise
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
    target = torch.from_numpy(label).double()

    def data_loss(logit: Tensor) -> Tensor:
        losses = binary_cross_entropy_with_logits(logit[0], target, share, reduction="sum")
        return losses[None]

    rows = Rows(features.double(), np.ones((len(label), 1), bool))
    head = minimise(rows, data_loss, config.l2)
    return head.weight[:, 0].float(), float(head.bias), float(head.loss)
