"""Whether a number, as a logit or brightness, is spread over new images as it was over others.

Large sets differ in some way beyond chance, small ones by much through chance alone. So drift is a
difference that is large, and that chance does not explain.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import chi2_contingency

BINS = 10
LARGE = 0.1
"""A population stability index from which on a change is commonly called moderate (0.25: large)."""
LEVEL = 0.01
"""How often chance may make drift of all numbers that are looked at together."""
SMALLEST = 1e-4
"""The share that an empty bin is taken to have, which the index cannot divide by."""


@dataclass(frozen=True)
class Moved:
    """How a number is spread over new images, against others."""

    psi: float
    """The population stability index."""
    p: float
    """How likely a difference as large is by chance."""
    before: float
    """The mean over the others."""
    now: float

    def drifted(self, looks: int) -> bool:
        """Tell whether it drifted, of so many numbers that are looked at (Bonferroni)."""
        return self.psi >= LARGE and self.p * looks < LEVEL


def moved(before: ArrayLike, now: ArrayLike) -> Moved:
    """Compare how a number is spread.

    Parameters
    ----------
    before, now
        Shape (m,) and (n,): over other images, and over new ones.

    Notes
    -----
    Over bins that hold a tenth each of the others, with shares b and s, the index is the sum of
    ``(s - b) * log(s / b)``, Kullback and Leibler's divergence in both directions added. It has no
    unit, and is the same for whatever rises with the number: of logits and of probabilities. The
    test is the chi-squared one of the same counts.
    """
    old, new = (np.asarray(values, dtype=np.float64) for values in (before, now))
    edges = np.unique(np.quantile(old, np.linspace(0, 1, BINS + 1)[1:-1]))
    counts = np.stack(
        [np.bincount(np.searchsorted(edges, of), minlength=len(edges) + 1) for of in (old, new)]
    )
    counts = counts[:, counts.sum(axis=0) > 0]
    b, s = np.maximum(counts / counts.sum(axis=1, keepdims=True), SMALLEST)
    p = float(chi2_contingency(counts).pvalue) if counts.shape[1] > 1 else 1.0
    return Moved(float(np.sum((s - b) * np.log(s / b))), p, float(old.mean()), float(new.mean()))
