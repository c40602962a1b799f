"""Several networks of one shape as one."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class Ensemble(nn.Module):
    """Networks whose logits are averaged.

    Of networks that were trained alike, each with its own luck, the mean is right about as often as
    the best of them, and no one has to know which that is.

    Parameters
    ----------
    members
        Each from images of shape (n, 3, size, size) to logits of shape (n,).
    """

    def __init__(self, members: Iterable[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, images: Tensor) -> Tensor:
        """Return the mean of the members' logits; shape (n,)."""
        return torch.stack([member(images) for member in self.members]).mean(dim=0)
