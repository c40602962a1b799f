"""One trial against another on the same faces: what each gender gained or lost, and by chance."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.judging.intervals import Limits, of_change, of_fair_change


@dataclass(frozen=True, slots=True)
class Change:
    """A trial less its baseline, on the same rows."""

    acc_women: float
    acc_men: float
    gap: float
    fair: float
    acc_women_ci95: list[float]
    """[low, high] of the paired difference; it excludes 0 where chance is an unlikely reason."""
    acc_men_ci95: list[float]
    fair_ci95: list[float]
    levelled_down: bool
    """The fair metric rose although the better gender, or both, became less accurate."""


NO_CHANGE = Change(0.0, 0.0, 0.0, 0.0, [0.0, 0.0], [0.0, 0.0], [0.0, 0.0], levelled_down=False)
"""What a trial differs by from itself, which chance has no part in."""


def paired_change(
    correct: NDArray[np.bool_],
    baseline: NDArray[np.bool_],
    women: NDArray[np.bool_],
    fair_lambda: float = 2.0,
) -> Change:
    """Compare two trials face by face.

    Both trials judged the same faces, most of them alike, so the difference is known far better
    than either figure, and intervals that overlap do not show that the trials are equal.

    Parameters
    ----------
    correct, baseline
        Shape (n,): which rows the trial, and its baseline, got right.
    women
        Shape (n,): which rows are women; the others are men.
    fair_lambda
        The weight of the gap in the fair metric.
    """
    of_women, of_men = (_counts(correct[rows], baseline[rows]) for rows in (women, ~women))
    by_women, by_men = of_change(of_women, of_men)
    fair = of_fair_change(of_women, of_men, fair_lambda)
    now, then = (
        [(counts[0] + counts[alone]) / counts.sum() for counts in (of_women, of_men)]
        for alone in (1, 2)
    )
    of_better = by_women if then[0] > then[1] else by_men
    return Change(
        acc_women=float(by_women.value),
        acc_men=float(by_men.value),
        gap=float(abs(now[0] - now[1]) - abs(then[0] - then[1])),
        fair=float(fair.value),
        acc_women_ci95=_ends(by_women),
        acc_men_ci95=_ends(by_men),
        fair_ci95=_ends(fair),
        levelled_down=bool(fair.value > 0 and of_better.value < 0),
    )


def _counts(now: NDArray[np.bool_], then: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Count the rows that both have right, the first alone, the second alone, neither."""
    return np.bincount(2 * ~now + ~then, minlength=4)


def _ends(limits: Limits) -> list[float]:
    return [float(limits.low), float(limits.high)]
