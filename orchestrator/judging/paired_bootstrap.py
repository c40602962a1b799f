"""One trial against another on the same faces: what each gender gained or lost, and by chance."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.judging.fairness import fair_of


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


def paired_change(
    correct: NDArray[np.bool_],
    baseline: NDArray[np.bool_],
    women: NDArray[np.bool_],
    fair_lambda: float = 2.0,
    *,
    draws: int = 2000,
    seed: int = 0,
) -> Change:
    """Compare two trials face by face.

    Both trials judged the same faces, most of them alike, so the difference is known far better
    than either figure, and intervals that overlap do not show that the trials are equal. Faces are
    resampled within each gender; a resample counts those that only one of the two got right.

    Parameters
    ----------
    correct, baseline
        Shape (n,): which rows the trial, and its baseline, got right.
    women
        Shape (n,): which rows are women; the others are men.
    fair_lambda
        The weight of the gap in the fair metric.
    draws
        Resamples.
    seed
        The same seed gives the same interval.
    """
    rng = np.random.default_rng(seed)
    pairs = [_resampled(correct[rows], baseline[rows], draws, rng) for rows in (women, ~women)]
    (women_now, women_then), (men_now, men_then) = pairs
    fair = fair_of(women_now, men_now, fair_lambda) - fair_of(women_then, men_then, fair_lambda)
    gap = np.abs(women_now - men_now) - np.abs(women_then - men_then)
    by_women, by_men = women_now - women_then, men_now - men_then
    of_better = by_women if women_then[0] > men_then[0] else by_men
    return Change(
        acc_women=float(by_women[0]),
        acc_men=float(by_men[0]),
        gap=float(gap[0]),
        fair=float(fair[0]),
        acc_women_ci95=_ci95(by_women[1:]),
        acc_men_ci95=_ci95(by_men[1:]),
        fair_ci95=_ci95(fair[1:]),
        levelled_down=bool(fair[0] > 0 and of_better[0] < 0),
    )


def _resampled(
    now: NDArray[np.bool_], then: NDArray[np.bool_], draws: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both accuracies on one gender: first as they are, then of each resample; (1 + draws,)."""
    n = now.size
    seen = np.array([np.sum(now & then), np.sum(now & ~then), np.sum(~now & then), 0])
    seen[3] = n - seen.sum()
    counts = np.vstack([seen, rng.multinomial(n, seen / n, size=draws)])
    return (counts[:, 0] + counts[:, 1]) / n, (counts[:, 0] + counts[:, 2]) / n


def _ci95(values: NDArray[np.float64]) -> list[float]:
    low, high = np.percentile(values, (2.5, 97.5))
    return [float(low), float(high)]
