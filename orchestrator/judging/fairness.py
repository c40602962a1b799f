"""Accuracy by gender, and the fair metric: pure functions on counts and arrays.

The fair metric is ``fair = (acc_women + acc_men) / 2 - fair_lambda * |acc_women - acc_men|``. It
also rises when the better group is made worse, which is why every record of it here carries both
accuracies, the gap and the accuracy of the worse gender and of the worst gender × class.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orchestrator.base.errors import InputError

WOMAN = -1
MAN = 1

Accuracy = TypeVar("Accuracy", float, NDArray[np.float64])


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracies:
    """How well predictions do, overall and by gender: shares in [0, 1]."""

    accuracy: float
    """Of all rows, so the more numerous gender counts more."""
    acc_women: float
    acc_men: float
    gap: float
    """``|acc_women - acc_men|``: fairlearn's difference of accuracy between the genders."""
    fair: float
    fair_lambda1: float
    """The published variant of `fair` that weighs the gap by 1."""
    worst_gender: float
    """The accuracy of the worse gender."""
    worst_group: float
    """The accuracy of the worst gender × class, of those that there are."""

    @property
    def mean_accuracy(self) -> float:
        """The mean of the two genders' accuracies: what the front maximises."""
        return (self.acc_women + self.acc_men) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupMetrics(Accuracies):
    """Accuracies, and of how many rows."""

    n_women: int
    n_men: int


def with_worst_gender(written: Mapping[str, Any]) -> dict[str, Any]:
    """Read metrics that fairfront 0.1 wrote: it called the worse gender the worst group."""
    values = dict(written)
    if "worst_gender" not in values:
        values |= {"worst_gender": values["worst_group"], "worst_group": math.nan}
    return values


def group_metrics(
    label: ArrayLike, predicted: ArrayLike, gender: ArrayLike, fair_lambda: float = 2.0
) -> GroupMetrics:
    """Compute the metrics of predictions.

    Parameters
    ----------
    label, predicted
        Shape (n,), 0 or 1.
    gender
        Shape (n,), -1 for a woman and 1 for a man.
    fair_lambda
        The weight of the gap in `GroupMetrics.fair`.

    Raises
    ------
    InputError
        A gender has no row: its accuracy, and so the fair metric, is undefined.
    ValueError
        The arrays differ in length or hold other values.
    """
    return metrics_from_counts(*count_correct(label, predicted, gender), fair_lambda)


def metrics_from_counts(
    correct: ArrayLike, rows: ArrayLike, fair_lambda: float = 2.0
) -> GroupMetrics:
    """Compute the metrics from counts of rows, which workers can add up where accuracies cannot.

    Parameters
    ----------
    correct, rows
        Shape (2, 2): how many are right, and all, of women and men by class 0 and 1.
    fair_lambda
        The weight of the gap in `GroupMetrics.fair`.

    Raises
    ------
    InputError
        A gender has no row.
    """
    right, there = np.asarray(correct), np.asarray(rows)
    by_gender = there.sum(axis=1)
    for who, n in zip(("women", "men"), by_gender, strict=True):
        if n == 0:
            raise InputError(
                f"no {who} among {by_gender.sum()} rows: the fair metric compares women and men "
                "(gender -1 and 1), so give data with both"
            )
    acc_women, acc_men = (right.sum(axis=1) / by_gender).tolist()
    return GroupMetrics(
        accuracy=float(right.sum() / there.sum()),
        acc_women=acc_women,
        acc_men=acc_men,
        gap=abs(acc_women - acc_men),
        fair=fair_of(acc_women, acc_men, fair_lambda),
        fair_lambda1=fair_of(acc_women, acc_men, 1.0),
        worst_gender=min(acc_women, acc_men),
        worst_group=float((right[there > 0] / there[there > 0]).min()),
        n_women=int(by_gender[0]),
        n_men=int(by_gender[1]),
    )


def predict_labels(logit: ArrayLike, threshold: float = 0.5) -> NDArray[np.int8]:
    """Label 1 where the probability, the sigmoid of `logit`, exceeds `threshold`; else 0.

    The threshold is mapped to a logit instead of the logits to probabilities, so that nothing
    overflows and large logits, whose probabilities round to 1, stay apart.

    Parameters
    ----------
    logit
        Shape (n,), float.
    threshold
        A probability in [0, 1].

    Raises
    ------
    ValueError
        A logit is NaN, or the threshold is no probability.
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"The threshold is a probability in [0, 1], but it is {threshold}.")
    values = np.asarray(logit, dtype=np.float64)  # a float32 would round the threshold to itself
    if np.isnan(values).any():
        raise ValueError(f"{np.isnan(values).sum()} of {values.size} logits are NaN.")
    if threshold in (0, 1):
        cut = -math.inf if threshold == 0 else math.inf
    else:
        cut = math.log(threshold) - math.log1p(-threshold)
    return (values > cut).astype(np.int8)


def count_correct(
    label: ArrayLike, predicted: ArrayLike, gender: ArrayLike
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count the rows that are right, and all, of women and men by class; each of shape (2, 2)."""
    truth, guess = _checked(label, "label", (0, 1)), _checked(predicted, "predicted", (0, 1))
    group = _checked(gender, "gender", (WOMAN, MAN))
    if not truth.shape == guess.shape == group.shape:
        raise ValueError(
            "label, predicted and gender are of the same length, but they have "
            f"{truth.size}, {guess.size} and {group.size} rows."
        )
    stratum = 2 * (group == MAN) + (truth == 1)
    right = np.bincount(stratum[truth == guess], minlength=4)
    return right.reshape(2, 2), np.bincount(stratum, minlength=4).reshape(2, 2)


def _checked(values: ArrayLike, name: str, allowed: tuple[int, int]) -> NDArray[Any]:
    array = np.asarray(values)
    if array.ndim != 1 or not np.isin(array, allowed).all():
        raise ValueError(f"{name} is a flat array of {allowed[0]} and {allowed[1]}.")
    return array


def fair_of(acc_women: Accuracy, acc_men: Accuracy, fair_lambda: float) -> Accuracy:
    """Compute the fair metric from the accuracies of both genders, numbers or arrays of them."""
    return (acc_women + acc_men) / 2 - fair_lambda * abs(acc_women - acc_men)
