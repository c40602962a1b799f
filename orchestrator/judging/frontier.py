"""The front of mean accuracy (maximised) against the gap between genders (minimised).

Pure functions on arrays of shape (n,), one entry a trial.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def pareto_mask(mean_accuracy: ArrayLike, gap: ArrayLike) -> NDArray[np.bool_]:
    """Mark the points that no other point dominates.

    A point dominates another when it is at least as good in both and better in one. Equal points
    do not dominate each other, so duplicates on the front are all kept.

    Parameters
    ----------
    mean_accuracy, gap
        Shape (n,), finite; n may be 0.

    Returns
    -------
    Shape (n,), bool, in the order given.

    Raises
    ------
    ValueError
        A value is NaN or infinite, or the lengths differ.
    """
    accuracy, gaps = _checked(mean_accuracy, gap)
    levels, level = np.unique(accuracy, return_inverse=True)
    least = np.full(levels.size, np.inf)  # the least gap at each accuracy
    np.minimum.at(least, level, gaps)
    # NOTE: only strictly higher accuracies count here, since a tie in accuracy is settled by
    # `least` alone. Comparing neighbours in a sort by both keys would drop duplicates.
    least_above = np.append(np.minimum.accumulate(least[::-1])[::-1], np.inf)[1:]
    mask: NDArray[np.bool_] = (gaps == least[level]) & (gaps < least_above[level])
    return mask


def hypervolume(
    mean_accuracy: ArrayLike, gap: ArrayLike, reference: tuple[float, float] = (0.5, 0.5)
) -> float:
    """Compute the area that the points dominate, up to a reference point.

    Parameters
    ----------
    mean_accuracy, gap
        Shape (n,), finite; n may be 0.
    reference
        The (mean accuracy, gap) of a poor classifier; a point no better than it in both adds
        nothing. The default bounds the area by 0.25.

    Returns
    -------
    The area, at least 0; larger is better.

    Raises
    ------
    ValueError
        As for `pareto_mask`.
    """
    accuracy, gaps = _checked(mean_accuracy, gap)
    better = (accuracy > reference[0]) & (gaps < reference[1])
    accuracy, gaps = accuracy[better], gaps[better]
    front = pareto_mask(accuracy, gaps)
    # Along the front both grow, so the area is a staircase of one column a point.
    order = np.argsort(accuracy[front], kind="stable")
    widths = np.diff(accuracy[front][order], prepend=reference[0])
    return float(np.sum(widths * (reference[1] - gaps[front][order])))


def _checked(
    mean_accuracy: ArrayLike, gap: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    accuracy = np.asarray(mean_accuracy, dtype=np.float64)
    gaps = np.asarray(gap, dtype=np.float64)
    if accuracy.ndim != 1 or accuracy.shape != gaps.shape:
        raise ValueError(
            "mean_accuracy and gap are flat arrays of one length, but their shapes are "
            f"{accuracy.shape} and {gaps.shape}."
        )
    if not (np.isfinite(accuracy).all() and np.isfinite(gaps).all()):
        raise ValueError("The front is defined for finite values, but one is NaN or infinite.")
    return accuracy, gaps
