"""What a training step takes in."""

from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """One worker's share of a global batch; m rows."""

    inputs: Tensor
    """What the network takes: float images (m, 3, H, W) in [0, 1], or features (m, D)."""
    labels: Tensor
    """float32, 0 or 1."""
    targets: Tensor
    """float32, in [0, 1]: what is to be learned; the labels, where there is no teacher."""
    genders: Tensor
    """int8, -1 or 1; 0 where a row only stands in for a worker that has none."""
    weights: Tensor
    """float32; 0 where a row only stands in."""
    size: int
    """Rows of the global batch."""
