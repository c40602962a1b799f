"""What `orchestrator.deploy.explain` finds of a network."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Explained:
    """Faces, and what a network goes by in each; arrays of n."""

    images: NDArray[np.uint8]
    """Shape (n, H, W, 3)."""
    label: NDArray[np.int8]
    gender: NDArray[np.int8]
    logit: NDArray[np.float32]
    maps: NDArray[np.float32]
    """Shape (n, H, W): by how much each pixel moves the logit, from that of the mean face."""
    taken: Mapping[str, NDArray[np.float32]]
    """``maps`` and ``random``: the logits as cells go, in the order of either; (n, len(SHARES))."""
    put: Mapping[str, NDArray[np.float32]]
    """The same as cells come."""

    def group(self, gender: int, label: int) -> NDArray[np.bool_]:
        """Tell which faces are of a gender and a class."""
        there: NDArray[np.bool_] = (self.gender == gender) & (self.label == label)
        return there
