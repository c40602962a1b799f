"""One trial against another on the same faces: what each gender gained or lost, and by chance."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from orchestrator.judging.intervals import Limits, fair_change_from
from orchestrator.judging.pooled import Judged, measure


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
    """The fair metric rose although the better gender became less accurate, and not by chance: the
    interval of its change lies below 0."""


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
    return change_of([Judged(women, correct[None], baseline[None])], fair_lambda)


def change_of(groups: Sequence[Judged], fair_lambda: float = 2.0) -> Change:
    """Compare networks with others on the same faces; the metrics are of the pooled counts.

    Parameters
    ----------
    groups
        As `orchestrator.judging.pooled.measure` takes them, with the others.
    fair_lambda
        The weight of the gap in the fair metric.
    """
    of_women, of_men = (1.0, 1.0), (0.0, 0.0)
    by_women, by_men = measure(groups, of_women, of_men), measure(groups, of_men, of_women)
    fair = fair_change_from(partial(measure, groups), fair_lambda)
    now, then = (
        float(measure(groups, (a, b), (-a, -b)).value) for a, b in ((1.0, 0.0), (0.0, -1.0))
    )
    # Plain's better gender is the one that can be levelled down.
    of_better = by_women if then > 0 else by_men
    return Change(
        acc_women=float(by_women.value),
        acc_men=float(by_men.value),
        gap=abs(now) - abs(then),
        fair=float(fair.value),
        acc_women_ci95=_ends(by_women),
        acc_men_ci95=_ends(by_men),
        fair_ci95=_ends(fair),
        levelled_down=bool(fair.value > 0 and of_better.high < 0),
    )


def effect(who: str, interval: Sequence[float]) -> str:
    """Say in words what a change does to a gender: a sign alone may be chance.

    Parameters
    ----------
    who
        ``women`` or ``men``.
    interval
        That of the change of their accuracy.
    """
    low, high = interval
    return f"raises {who}" if low > 0 else f"lowers {who}" if high < 0 else "undecided"


def _ends(limits: Limits) -> list[float]:
    return [float(limits.low), float(limits.high)]
