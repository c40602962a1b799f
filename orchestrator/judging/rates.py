"""Rates by gender and by gender × class, with 95% intervals: what accuracy alone does not show.

Names and definitions are those of fairlearn and scikit-learn. Two genders can be labelled equally
well while those of class 1 are found far more often among one of them.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orchestrator.judging.fairness import MAN, WOMAN
from orchestrator.judging.intervals import Z95, Floats, Limits, wilson

BINS = 10
"""Of equal width, over which calibration is measured."""
DRAWS = 1000
WHO = {"women": WOMAN, "men": MAN}


def rates(label: ArrayLike, logit: ArrayLike, gender: ArrayLike, predicted: ArrayLike) -> Any:
    """Return what ``summary.json`` holds of a split under ``rates``.

    Parameters
    ----------
    label, predicted
        Shape (n,), 0 or 1.
    logit
        Shape (n,).
    gender
        Shape (n,), -1 or 1.

    Returns
    -------
    ``women`` and ``men``, each with ``n``, the share of class 1 (``base_rate``), of faces labelled
    1 (``selection_rate``), of class 1 and of class 0 (``tpr``, ``fpr``), the area under the ROC
    curve (``auc``) and the expected calibration error (``ece``), each but ``n`` with its interval
    as ``…_ci95``; and ``class_0`` and ``class_1`` likewise, without what one class has not.
    ``equalized_odds_difference`` is the larger of the genders' differences of ``tpr`` and of
    ``fpr``. What no face tells is null.
    """
    columns = [np.asarray(column) for column in (label, logit, predicted)]
    genders = np.asarray(gender)
    found: dict[str, Any] = {}
    for who, value in WHO.items():
        truth, score, guess = (column[genders == value] for column in columns)
        found[who] = _of_gender(truth, score, guess)
        for kind in (0, 1):
            rows = truth == kind
            found[who][f"class_{kind}"] = _of_rows(truth[rows], score[rows], guess[rows])
    return {**found, "equalized_odds_difference": _odds(found["women"], found["men"])}


def _of_gender(label: NDArray[Any], logit: NDArray[Any], predicted: NDArray[Any]) -> dict[str, Any]:
    positive = label == 1
    return {
        **_of_rows(label, logit, predicted),
        **_named("base_rate", _share(positive)),
        **_named("tpr", _share(predicted[positive] == 1)),
        **_named("fpr", _share(predicted[~positive] == 1)),
        **_named("auc", area_under_roc(label, logit)),
    }


def _of_rows(label: NDArray[Any], logit: NDArray[Any], predicted: NDArray[Any]) -> dict[str, Any]:
    return {
        "n": int(label.size),
        **_named("selection_rate", _share(predicted == 1)),
        **_named("ece", calibration_error(label, logit)),
    }


def _odds(women: dict[str, Any], men: dict[str, Any]) -> float | None:
    differences = [
        abs(women[rate] - men[rate])
        for rate in ("tpr", "fpr")
        if women[rate] is not None and men[rate] is not None
    ]
    return max(differences) if len(differences) == 2 else None


def _share(flags: NDArray[np.bool_]) -> Limits | None:
    return wilson(flags.sum(), flags.size) if flags.size else None


def _named(name: str, of: Limits | None) -> dict[str, Any]:
    interval = None if of is None else [float(of.low), float(of.high)]
    return {name: None if of is None else float(of.value), f"{name}_ci95": interval}


def area_under_roc(label: ArrayLike, score: ArrayLike) -> Limits | None:
    """Return the area under the ROC curve; None where a class has no row.

    Notes
    -----
    The variance is DeLong's, from each row's share of rows of the other class that it is above
    (Sun and Xu, Fast implementation of DeLong's algorithm, IEEE Signal Processing Letters 2014),
    and the interval is taken of the area's logit, so that it stays within 0 and 1. Where the
    classes are apart there is none: then it is Wilson's of as many rows as the rarer class has,
    since the variance is no larger than that share's.
    """
    truth, scores = np.asarray(label) == 1, np.asarray(score, dtype=np.float64)
    above, below = scores[truth], scores[~truth]
    if not (above.size and below.size):
        return None
    of_above, of_below = _shares_below(above, below), 1 - _shares_below(below, above)
    area = float(of_above.mean())
    fewest = min(above.size, below.size)
    if not 0 < area < 1 or fewest == 1:
        found = wilson(area * fewest, fewest)
        return Limits(*(np.clip(end, 0.0, 1.0) for end in found))
    variance = sum(float(of.var(ddof=1)) / of.size for of in (of_above, of_below))
    half = Z95 * np.sqrt(variance) / (area * (1 - area))
    low, high = (1 / (1 + np.exp(sign * half) * (1 - area) / area) for sign in (1, -1))
    return Limits(*map(np.asarray, (area, low, high)))


def _shares_below(scores: Floats, others: Floats) -> Floats:
    """Return which share of others each score is above; equal ones count half."""
    ordered = np.sort(others)
    under = np.searchsorted(ordered, scores, "left") + np.searchsorted(ordered, scores, "right")
    shares: Floats = under / (2 * others.size)
    return shares


def calibration_error(label: ArrayLike, logit: ArrayLike) -> Limits | None:
    """Return the expected calibration error of probabilities; None where there is no row.

    It is the mean distance, over rows, of their bin's mean probability from its share of class 1
    (Guo et al., On Calibration of Modern Neural Networks, ICML 2017).

    Notes
    -----
    Distances are absolute values, which chance alone makes larger than 0, and resampling makes
    larger once more. But the error is off by no more than the bins' signed distances are off in
    all, and of those resamples show the size: the interval is as wide as that, and at least 95%
    sure.
    """
    truth = np.asarray(label, dtype=np.float64)
    if not truth.size:
        return None
    probability, place = binned(logit)
    # What a bin's rows of either class add; probabilities within it differ by a tenth at most.
    cells = 2 * place + (truth == 1)
    counts = np.bincount(cells, minlength=2 * BINS)
    excess = np.bincount(cells, truth - probability, 2 * BINS) / np.maximum(counts, 1)
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(truth.size, counts / truth.size, size=DRAWS)
    value = float(_size(counts * excess) / truth.size)
    half = float(np.percentile(_size((drawn - counts) * excess) / truth.size, 95))
    return Limits(*map(np.asarray, (value, max(value - half, 0.0), min(value + half, 1.0))))


def binned(logit: ArrayLike) -> tuple[Floats, NDArray[np.intp]]:
    """Return the probabilities of class 1, and which of `BINS` each is in; shape (n,) both."""
    probability: Floats = np.exp(-np.logaddexp(0, -np.asarray(logit, dtype=np.float64)))
    return probability, np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], probability)


def _size(excess: Floats) -> Floats:
    """Add up the bins' distances, of what their rows of either class add; shape (…, cells)."""
    by_bin = excess.reshape(*excess.shape[:-1], BINS, 2).sum(axis=-1)
    size: Floats = np.abs(by_bin).sum(axis=-1)
    return size


def in_words(found: Any, gap: float) -> str | None:
    """Say what a gap between accuracies hides, where it hides something beyond chance."""
    told: Sequence[str] = [
        f"the network {verb} {found['women'][rate]:.0%} of the women {whom} and "
        f"{found['men'][rate]:.0%} of the men"
        for rate, verb, whom in (
            ("tpr", "finds", "of class 1"),
            ("fpr", "wrongly labels", "of class 0"),
        )
        if _apart(found["women"][f"{rate}_ci95"], found["men"][f"{rate}_ci95"])
    ]
    if not told:
        return None
    return f"On test, with a gap of {gap:.3f} between the accuracies, {', and '.join(told)}."


def _apart(one: list[float] | None, other: list[float] | None) -> bool:
    return bool(one and other and (one[1] < other[0] or other[1] < one[0]))
