"""Whether probabilities mean what they say: the share of class 1 among faces with each."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from orchestrator.judging.intervals import wilson
from orchestrator.judging.rates import BINS, binned

FEWEST = 20
"""Faces of which a bin's share is worth a mark of its own."""


class Bin(NamedTuple):
    """Faces whose probabilities of class 1 are alike."""

    faces: int
    probability: float
    """The mean of theirs."""
    share: float
    """How many of them are of class 1."""
    share_ci95: tuple[float, float]


def reliability(label: ArrayLike, logit: ArrayLike) -> list[Bin]:
    """Return what a reliability diagram shows, by rising probability; bins without a face are not.

    Parameters
    ----------
    label, logit
        Shape (n,): 0 or 1, and float.

    Notes
    -----
    The bins are those of the expected calibration error, of equal width (Niculescu-Mizil and
    Caruana, Predicting Good Probabilities with Supervised Learning, ICML 2005); intervals are
    Wilson's.
    """
    truth = np.asarray(label) == 1
    probability, place = binned(logit)
    found = []
    for number in range(BINS):
        here = place == number
        if here.any():
            share = wilson(truth[here].sum(), here.sum())
            found.append(
                Bin(
                    faces=int(here.sum()),
                    probability=float(probability[here].mean()),
                    share=float(share.value),
                    share_ci95=(float(share.low), float(share.high)),
                )
            )
    return found
