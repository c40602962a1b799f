"""95% intervals of the gap and the fair metric from counts; they hold near a gap of 0, too.

The gap is an absolute value. Where the true one is near 0, resampled gaps fold at 0: their
percentiles lie too high, and those of the fair metric too low (`benchmarks/coverage.py`). So
intervals are taken of what is linear in both accuracies, and folded after.

The fair metric is the lesser of two such: with w and m the accuracies of women and men and λ its
weight, ``(w + m) / 2 - λ |w - m| = min((½ - λ) w + (½ + λ) m, (½ + λ) w + (½ - λ) m)``.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Z95 = 1.959963984540054
"""The normal distribution's, two-sided."""

Floats = NDArray[np.float64]
Weights = tuple[float, float]
"""What a gender's accuracy weighs in a linear measure: this training's, less the other's."""


class Limits(NamedTuple):
    """An estimate and its 95% interval, or arrays of them."""

    value: Floats
    low: Floats
    high: Floats


def wilson(correct: ArrayLike, rows: ArrayLike) -> Limits:
    """Return the share of rows that are correct, with Wilson's score interval.

    Unlike the share plus or minus its standard error it has a width where all rows are correct
    (Wilson, Probable Inference, JASA 1927).
    """
    n = np.asarray(rows, dtype=np.float64)
    share = np.asarray(correct, dtype=np.float64) / n
    centre = (share + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 / (1 + Z95**2 / n) * np.sqrt(share * (1 - share) / n + (Z95 / (2 * n)) ** 2)
    return Limits(share, centre - half, centre + half)


def combined(first: Limits, second: Limits, a: float, b: float) -> Limits:
    """Return ``a * first + b * second`` of two independent estimates, with its interval.

    The distance of each limit from its estimate stands for that estimate's part of the error
    (Newcombe, Interval estimation for the difference between independent proportions, Statistics in
    Medicine 1998, method 10, for a = 1 and b = -1; Zou and Donner, Construction of confidence
    limits about effect measures, Statistics in Medicine 2008, for any).
    """
    value = a * first.value + b * second.value
    below, above = np.zeros_like(value), np.zeros_like(value)
    for weight, part in ((a, first), (b, second)):
        ends = weight * part.low, weight * part.high
        below += (weight * part.value - np.minimum(*ends)) ** 2
        above += (np.maximum(*ends) - weight * part.value) ** 2
    return Limits(value, value - np.sqrt(below), value + np.sqrt(above))


def of_gap(women: Limits, men: Limits) -> Limits:
    """Return the gap between two accuracies with its interval, which has 0 if chance explains it.

    Notes
    -----
    Of gaps that are truly smaller than their error the estimate is too large: a fair network shows
    one of 0.8 standard errors on average. The interval is at least 95% sure; where it holds 0, it
    is surer, since it has both signs of the difference.
    """
    return folded(combined(women, men, 1.0, -1.0))


def folded(signed: Limits) -> Limits:
    """Return the interval of a difference's size from that of the difference."""
    ends = np.abs(signed.low), np.abs(signed.high)
    low = np.where((signed.low <= 0) & (signed.high >= 0), 0.0, np.minimum(*ends))
    return Limits(np.abs(signed.value), low, np.maximum(*ends))


def of_fair(women: Limits, men: Limits, fair_lambda: float) -> Limits:
    """Return the fair metric of two accuracies with its interval, which ends where it must.

    The weight of one accuracy is more than 1, so that of few rows the linear parts run over.
    """
    more, less = 0.5 + fair_lambda, 0.5 - fair_lambda
    parts = combined(women, men, less, more), combined(women, men, more, less)
    value, *ends = (np.minimum(*of_both) for of_both in zip(*parts, strict=True))
    low, high = np.clip(ends, min(less, 0.0), 1.0)  # the least: one gender all right, one all wrong
    return Limits(value, low, high)


def of_change(women: ArrayLike, men: ArrayLike) -> tuple[Limits, Limits]:
    """Return what each gender's accuracy changed by, with its interval.

    Parameters
    ----------
    women, men
        Counts, shape (..., 4): of the rows that both trainings have right, this one alone, the
        other alone, neither.

    Notes
    -----
    The interval is that of the paired difference with half a row more in each count, which covers
    also where hardly a row changed (Agresti and Min, Simple improved confidence intervals for
    comparing matched proportions, Statistics in Medicine 2005).
    """
    return _difference((women, 1.0, 1.0)), _difference((men, 1.0, 1.0))


def of_fair_change(women: ArrayLike, men: ArrayLike, fair_lambda: float) -> Limits:
    """Return what the fair metric changed by, with its interval.

    Parameters
    ----------
    women, men
        As for `of_change`.
    fair_lambda
        The weight of the gap.

    Notes
    -----
    Both fair metrics are the lesser of two linear ones, so their difference is the least, over
    those of this training, of the greatest, over those of the other, of four linear differences.
    Each of these has an interval that no fold can bend, and the ends are combined likewise.
    """
    return fair_change_from(
        lambda of_women, of_men: _difference((women, *of_women), (men, *of_men)), fair_lambda
    )


def fair_change_from(measure: Callable[[Weights, Weights], Limits], fair_lambda: float) -> Limits:
    """Return what the fair metric changed by, as `of_fair_change` does, of any linear `measure`.

    Parameters
    ----------
    measure
        From the weights of women's accuracies, and of men's, to a linear measure's interval.
    fair_lambda
        The weight of the gap.
    """
    parts = (0.5 - fair_lambda, 0.5 + fair_lambda), (0.5 + fair_lambda, 0.5 - fair_lambda)
    greatest = []
    for now in parts:
        against = [measure((now[0], then[0]), (now[1], then[1])) for then in parts]
        greatest.append([np.maximum(*of_both) for of_both in zip(*against, strict=True)])
    return Limits(*(np.minimum(*of_both) for of_both in zip(*greatest, strict=True)))


def fair_from(measure: Callable[[Weights, Weights], Limits], fair_lambda: float) -> Limits:
    """Return the fair metric, the lesser of two linear measures of one training."""
    more, less = (0.5 + fair_lambda, 0.0), (0.5 - fair_lambda, 0.0)
    parts = measure(less, more), measure(more, less)
    return Limits(*(np.minimum(*of_both) for of_both in zip(*parts, strict=True)))


def _difference(*genders: tuple[ArrayLike, float, float]) -> Limits:
    """Return a linear measure of this training less another of the other.

    Of each gender there are the counts, and what its accuracy weighs in the two measures.
    """
    value = sum(_linear(counts, a, b)[0] for counts, a, b in genders)
    adjusted = [_linear(_with_halves(counts), a, b) for counts, a, b in genders]
    centre = sum(middle for middle, _ in adjusted)
    half = Z95 * np.sqrt(sum(variance for _, variance in adjusted))
    return Limits(np.asarray(value), centre - half, centre + half)


def _with_halves(counts: ArrayLike) -> Floats:
    return np.asarray(counts, dtype=np.float64) + 0.5


def _linear(counts: ArrayLike, a: float, b: float) -> tuple[Floats, Floats]:
    """Return ``a`` times this training's accuracy less ``b`` times the other's; its variance."""
    of = np.asarray(counts, dtype=np.float64)
    n = of.sum(-1)
    both, alone, other = (of[..., kind] / n for kind in range(3))
    now, then = both + alone, both + other
    variance = a * a * now * (1 - now) + b * b * then * (1 - then) - 2 * a * b * (both - now * then)
    return a * now - b * then, np.maximum(variance, 0.0) / n
