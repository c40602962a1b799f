"""The thresholds that a trial's validation logits ask for: one for all, or one by gender.

Pure functions on arrays. Every threshold is on the probability, as in ``summary.json``, and labels
the validation faces exactly as the cut that was found for it.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orchestrator.judging.fairness import MAN, WOMAN, fair_of, predict_labels

TIE = 1e-12
"""Fair metrics this close are equal but for rounding; one face moves them by about 1 / n."""


class Thresholds(NamedTuple):
    """The probabilities that have to be exceeded for label 1."""

    women: float
    men: float

    def labels(self, logit: ArrayLike, gender: ArrayLike) -> NDArray[np.int8]:
        """Label faces; arrays of shape (n,), the gender -1 or 1."""
        if self.women == self.men:
            return predict_labels(logit, self.women)
        by_women, by_men = (predict_labels(logit, threshold) for threshold in self)
        return np.where(np.asarray(gender) == WOMAN, by_women, by_men)


FIXED = Thresholds(0.5, 0.5)
"""A face is labelled 1 when its probability exceeds this; to equal it is not enough."""


def best_shared(
    logit: ArrayLike, label: ArrayLike, gender: ArrayLike, fair_lambda: float = 2.0
) -> Thresholds:
    """Find the one threshold for all faces with the highest fair metric.

    Parameters
    ----------
    logit
        Shape (n,), finite.
    label, gender
        Shape (n,): 0 or 1, and -1 for a woman or 1 for a man; both genders are among them.
    fair_lambda
        The weight of the gap in the fair metric, at least 0.

    Notes
    -----
    All cuts between neighbouring logits are tried. The threshold lies in the middle between the
    two, farthest from faces that a little noise would carry across. Of equally good cuts the one
    nearest to 0.5 is taken, and 0.5 itself where it is among them, so that no threshold moves
    without need. Among thousands of cuts the best is better than it will be on other faces.
    """
    cuts = _Cuts.between(logit)
    women, men = (cuts.accuracy(logit, label, np.asarray(gender) == who) for who in (WOMAN, MAN))
    fair = fair_of(women, men, fair_lambda)
    best = np.flatnonzero(fair >= fair.max() - TIE)
    threshold = float(cuts.threshold[best[np.argmin(np.abs(cuts.logit[best]))]])
    return Thresholds(threshold, threshold)


def best_pair(
    logit: ArrayLike, label: ArrayLike, gender: ArrayLike, fair_lambda: float = 2.0
) -> Thresholds:
    """Find the thresholds of women and of men with the highest fair metric.

    The parameters are those of `best_shared`, and so is the choice among equals: of pairs the one
    whose logits' distances from 0 add up to least.

    Notes
    -----
    Each gender's accuracy depends on its own threshold alone. For one accuracy of women the fair
    metric is linear in men's below it and above it, rising below; so the best of men's accuracies
    is the next below, the next above or the highest of all: O(n log n) for what is n times n pairs.
    With a `fair_lambda` of 1/2 all above are equal, and the one nearest to 0.5 is taken.
    """
    women, men = (
        _Reachable.of(*(np.asarray(a)[np.asarray(gender) == who] for a in (logit, label)))
        for who in (WOMAN, MAN)
    )
    last = men.accuracy.size - 1
    above = np.searchsorted(men.accuracy, women.accuracy)
    next_above = np.minimum(above, last)
    nearest = _nearest_from(np.abs(men.logit))[next_above]
    partner = np.stack([np.maximum(above - 1, 0), next_above, np.full_like(above, last), nearest])
    fair = fair_of(women.accuracy, men.accuracy[partner], fair_lambda)
    far = np.abs(women.logit) + np.abs(men.logit[partner])
    rows, columns = np.nonzero(fair >= fair.max() - TIE)
    choice = int(np.argmin(far[rows, columns]))
    row, column = rows[choice], columns[choice]
    return Thresholds(float(women.threshold[column]), float(men.threshold[partner[row, column]]))


def _nearest_from(distance: NDArray[np.float64]) -> NDArray[np.intp]:
    """Give, for each position of shape (n,), where the least distance from there on is."""
    least = np.minimum.accumulate(distance[::-1])[::-1]
    positions = np.flatnonzero(distance == least)
    return positions[np.searchsorted(positions, np.arange(distance.size))]


@dataclass(frozen=True)
class _Cuts:
    """The cuts between neighbouring logits that a probability can express, lowest first."""

    values: NDArray[np.float64]
    """The distinct logits."""
    below: NDArray[np.intp]
    """How many of `values` each cut has below it."""
    logit: NDArray[np.float64]
    threshold: NDArray[np.float64]

    @classmethod
    def between(cls, logit: ArrayLike) -> "_Cuts":
        values = np.unique(_finite(logit))
        lower, upper = values[:-1], values[1:]
        middle = (lower + upper) / 2
        threshold = np.exp(-np.logaddexp(0, -middle))
        threshold[(lower <= 0) & (upper > 0)] = 0.5
        # Probabilities near 1 are 1e-16 apart, and logits past 37 all have probability 1, so that
        # some cuts cannot be expressed: take those whose way there and back ends where it began.
        threshold = np.clip(threshold, 1e-300, 1 - 2**-53)
        back = np.log(threshold) - np.log1p(-threshold)
        slack = 1e-14 * np.abs(back)  # for the rounding of another log
        kept = (lower <= back - slack) & (back + slack < upper)
        # Below all logits and above all; 0.5 may be either.
        first = (0.0, 0.5) if values[0] > 0 else (-np.inf, 0.0)
        last = (0.0, 0.5) if values[-1] <= 0 else (np.inf, 1.0)
        return cls(
            values=values,
            below=np.concatenate([[0], 1 + np.flatnonzero(kept), [values.size]]),
            logit=np.concatenate([first[:1], back[kept], last[:1]]),
            threshold=np.concatenate([first[1:], threshold[kept], last[1:]]),
        )

    def accuracy(
        self, logit: ArrayLike, label: ArrayLike, rows: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        """Give the accuracy of some rows at each cut; shape (cuts,)."""
        index = np.searchsorted(self.values, _finite(logit)[rows])
        truth = np.asarray(label)[rows].astype(np.int64)
        # With the cut below all, every face is labelled 1; each that it passes turns to 0.
        turned = np.bincount(index, weights=1 - 2 * truth, minlength=self.values.size)
        correct = truth.sum() + np.concatenate([[0], np.cumsum(turned)])
        accuracy: NDArray[np.float64] = correct[self.below] / truth.size
        return accuracy


def _finite(logit: ArrayLike) -> NDArray[np.float64]:
    """Bring in what lies far beyond where probabilities are told apart, since inf - inf is NaN."""
    return np.clip(np.asarray(logit, dtype=np.float64), -1e9, 1e9)


class _Reachable(NamedTuple):
    """The distinct accuracies of one gender, ascending, each by its cut nearest to 0.5."""

    accuracy: NDArray[np.float64]
    logit: NDArray[np.float64]
    threshold: NDArray[np.float64]

    @classmethod
    def of(cls, logit: NDArray[np.floating], label: NDArray[np.integer]) -> "_Reachable":
        cuts = _Cuts.between(logit)
        accuracy = cuts.accuracy(logit, label, np.ones(logit.size, dtype=np.bool_))
        order = np.argsort(np.abs(cuts.logit), kind="stable")  # `np.unique` takes the first
        levels, first = np.unique(accuracy[order], return_index=True)
        return cls(levels, cuts.logit[order][first], cuts.threshold[order][first])
