"""By which shares two sets of faces differ, of so many that some would by chance."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.judging.fairness import MAN, WOMAN
from orchestrator.judging.intervals import combined, wilson

LEVEL = 0.05
"""Of the differences that are called some, the share that chance alone may make."""

Shares = Mapping[str, tuple[int, int]]
"""By name, how many faces are so, and of how many."""


@dataclass(frozen=True)
class Difference:
    """A share of faces, in two sets."""

    name: str
    there: float
    """In the set that the network was trained on."""
    here: float
    difference_ci95: list[float]
    """Of ``here - there``."""
    q: float
    """Its p-value, raised for the number of shares that were looked at."""

    @property
    def differs(self) -> bool:
        """Whether chance is no likely cause."""
        return self.q < LEVEL


def shares_of(
    label: NDArray[np.integer],
    gender: NDArray[np.integer],
    attributes: Mapping[str, NDArray[np.bool_]],
) -> dict[str, tuple[int, int]]:
    """Count a set of faces: women, class 1, class 1 among women and among men, attributes.

    Parameters
    ----------
    label, gender, attributes
        Of shape (n,) each: 0 or 1, -1 or 1, and whether the face has it, by name.
    """
    women, positive, n = gender == WOMAN, label == 1, len(label)
    found = {"women": (int(women.sum()), n), "class 1": (int(positive.sum()), n)}
    for who, value in (("women", WOMAN), ("men", MAN)):
        group = gender == value
        found[f"class 1 among {who}"] = int((positive & group).sum()), int(group.sum())
    return found | {name: (int(has.sum()), n) for name, has in attributes.items()}


def differences(here: Shares, there: Shares) -> list[Difference]:
    """Compare the shares that both sets have, the largest difference first.

    Notes
    -----
    Each is tested by Fisher's exact test. Of forty attributes two would differ at 5% by chance, so
    p-values are raised by Benjamini and Hochberg's method (Controlling the False Discovery Rate,
    JRSS B 1995): of all that are said to differ, 5% are expected not to.
    """
    from scipy.stats import false_discovery_control, fisher_exact  # long to import, seldom needed

    names = [name for name in here if name in there and here[name][1] and there[name][1]]
    if not names:
        return []
    tables = [[(k, n - k) for k, n in (here[name], there[name])] for name in names]
    q = false_discovery_control([fisher_exact(table).pvalue for table in tables])
    found = []
    for name, raised in zip(names, q, strict=True):
        ours, theirs = wilson(*here[name]), wilson(*there[name])
        change = combined(ours, theirs, 1.0, -1.0)
        ends = [float(change.low), float(change.high)]
        found.append(Difference(name, float(theirs.value), float(ours.value), ends, float(raised)))
    return sorted(found, key=lambda one: -abs(one.here - one.there))
