"""Linear measures of accuracy, pooled over networks and folds, with 95% intervals.

A metric of pooled counts is not the mean of the folds' metrics: the gap of a fold is mostly its
faces' luck, and an absolute value counts that as gap.
"""

from collections.abc import Sequence
from operator import itemgetter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from orchestrator.judging.intervals import Z95, Floats, Limits, Weights


class Judged(NamedTuple):
    """What some networks got right of the same faces, and others beside them."""

    women: NDArray[np.bool_]
    """Shape (n,); the others are men."""
    now: NDArray[np.bool_]
    """Shape (networks, n): which faces each has right."""
    then: NDArray[np.bool_] | None = None
    """The same of the networks that these are compared with, if any."""


def measure(groups: Sequence[Judged], women: Weights, men: Weights) -> Limits:
    """Return a linear measure of the accuracies pooled over all faces, with its 95% interval.

    Parameters
    ----------
    groups
        Faces, each in one group alone, with the networks that judged them: a fold each, or a split
        that all networks judged.
    women, men
        What the accuracies of these networks weigh, and those of the others that are subtracted.

    Returns
    -------
    Of other faces and other networks of the same settings, as far as there are several.

    Notes
    -----
    The error has two parts. That of the faces is the variance of a face's mean over its networks,
    with half a row more of each kind as in `orchestrator.judging.intervals.of_change`. That of the
    networks is known only as well as there are networks, so its interval is Student's t: where
    several judged the same faces, from what they differ by there. Where each judged a fold of its
    own, the folds differ by both, so that t over them holds for all of the error; the interval is
    the wider of this and the faces' alone, since few folds may be alike by luck. With one network
    only the faces are accounted for.
    """
    weights = women, men
    value = centre = faces = 0.0
    for of, gender in zip(weights, (True, False), strict=True):
        scores = [_scores(group, group.women == gender, of).mean(axis=0) for group in groups]
        a, b = of
        score = np.concatenate(scores)
        n, kinds = score.size + 2, np.array([a - b, a, -b, 0.0])
        middle = (score.sum() + kinds.sum() / 2) / n
        spread = (np.sum(score**2) + np.sum(kinds**2) / 2) / n - middle**2
        value, centre, faces = value + score.mean(), centre + middle, faces + max(spread, 0) / n
    half = _half_width(faces, [_by_network(group, weights) for group in groups])
    return Limits(*(np.asarray(end) for end in (value, centre - half, centre + half)))


class WorseServed(NamedTuple):
    """The accuracy of the worse-served gender, now and then."""

    now: tuple[str, float]
    """``women`` or ``men``, and how accurate they are by these networks."""
    then: tuple[str, float]
    """The same by the others; it may be the other gender."""
    change: Limits


def worse_served(groups: Sequence[Judged]) -> WorseServed:
    """Compare how well those are served who are served worst.

    It is what is to be raised, where both cannot be (Martinez, Bertran and Sapiro, Minimax Pareto
    Fairness, ICML 2020).

    Parameters
    ----------
    groups
        As `measure` takes them, with the others.
    """

    def lesser(a: float, b: float) -> tuple[str, float]:
        women, men = measure(groups, (a, b), (0.0, 0.0)), measure(groups, (0.0, 0.0), (a, b))
        return min(("women", float(women.value)), ("men", float(men.value)), key=itemgetter(1))

    now, then = lesser(1.0, 0.0), lesser(0.0, -1.0)
    women, men = ((float(now[0] == who), float(then[0] == who)) for who in ("women", "men"))
    return WorseServed(now, then, measure(groups, women, men))


def _half_width(faces: float, networks: Sequence[Floats]) -> float:
    """Return half an interval from the faces' variance and the measure by network, by group."""
    alone = Z95**2 * faces
    free = sum(group.size - 1 for group in networks)
    if free:  # several networks judged the same faces
        within = sum(float(np.sum((group - group.mean()) ** 2)) for group in networks) / free
        of_mean = within / sum(group.size for group in networks)
        return float(np.sqrt(alone + stdtrit(free, 0.975) ** 2 * of_mean))
    k = len(networks)
    if k == 1:
        return float(np.sqrt(alone))
    between = float(np.concatenate(networks).var(ddof=1)) / k
    return float(np.sqrt(max(alone, stdtrit(k - 1, 0.975) ** 2 * between)))


def _by_network(group: Judged, weights: tuple[Weights, Weights]) -> Floats:
    parts = [
        _scores(group, group.women == gender, of).mean(axis=1)
        for of, gender in zip(weights, (True, False), strict=True)
    ]
    return np.asarray(parts[0] + parts[1])


def _scores(group: Judged, rows: NDArray[np.bool_], weights: Weights) -> Floats:
    """Return what each face adds to the measure, by network; shape (networks, faces)."""
    a, b = weights
    scores = a * group.now[:, rows].astype(np.float64)
    return scores if group.then is None else scores - b * group.then[:, rows]
