"""Where a network fails: attributes of faces that are mistaken more often; its surest mistakes."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.judging.fairness import predict_labels
from orchestrator.judging.intervals import wilson
from orchestrator.judging.shift import LEVEL

FEWEST = 20
"""Faces with an attribute, and without, of which something is said."""


@dataclass(frozen=True)
class Failure:
    """Faces of a gender with an attribute, labelled right less often than those without."""

    attribute: str
    gender: str
    """women or men."""
    faces: int
    accuracy: float
    accuracy_ci95: list[float]
    others: float
    """The accuracy of the faces of this gender without the attribute."""
    q: float
    """The p-value of the difference, raised for the number of cells that were looked at."""


@dataclass(frozen=True)
class Failures:
    """What was looked at, and what stood out."""

    looked_at: int
    """Cells of an attribute and a gender with at least `FEWEST` faces on either side."""
    found: list[Failure]
    """Those that are worse beyond chance, the lowest accuracy first."""


def failures(
    attributes: Mapping[str, NDArray[np.bool_]],
    correct: NDArray[np.bool_],
    women: NDArray[np.bool_],
) -> Failures:
    """Find the attributes that a network is less often right with, by gender.

    Parameters
    ----------
    attributes, correct, women
        Of shape (n,) each: whether a face has it, by name; is labelled right; is a woman's.

    Notes
    -----
    Each cell is held against the other faces of its gender by Fisher's exact test. Of eighty cells
    four would stand out at 5% by chance, so p-values are raised by Benjamini and Hochberg's method
    (Controlling the False Discovery Rate, JRSS B 1995), over all that were looked at.
    """
    from scipy.stats import false_discovery_control, fisher_exact  # long to import, seldom needed

    cells, values = [], []
    for who, group in (("women", women), ("men", ~women)):
        right = correct[group]
        for name, of in attributes.items():
            has = of[group]
            n, k = int(has.sum()), int(right[has].sum())
            rest, right_there = int((~has).sum()), int(right[~has].sum())
            if min(n, rest) < FEWEST:
                continue
            cells.append((name, who, k, n, right_there / rest))
            values.append(fisher_exact([(k, n - k), (right_there, rest - right_there)]).pvalue)
    if not cells:
        return Failures(0, [])
    found = []
    for (name, who, k, n, others), q in zip(cells, false_discovery_control(values), strict=True):
        if q < LEVEL and k / n < others:
            interval = wilson(k, n)
            ends = [float(interval.low), float(interval.high)]
            found.append(Failure(name, who, n, k / n, ends, others, float(q)))
    return Failures(len(cells), sorted(found, key=lambda one: (one.accuracy, one.attribute)))


def surest_mistakes(label: NDArray[np.int8], logit: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return the rows that are labelled wrong at 0.5, the surest first.

    Parameters
    ----------
    label, logit
        Shape (n,): 0 or 1, and a float.
    """
    wrong = np.flatnonzero(predict_labels(logit) != label)
    return wrong[np.argsort(-np.abs(logit[wrong]), kind="stable")]
