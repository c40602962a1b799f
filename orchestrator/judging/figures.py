"""All figures of one set of faces: accuracies, the fair metric and rates, with their intervals."""

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from orchestrator.judging.fairness import count_correct, group_metrics
from orchestrator.judging.intervals import of_fair, of_gap, wilson
from orchestrator.judging.rates import rates
from orchestrator.judging.thresholds import Thresholds


def figures(
    label: ArrayLike,
    gender: ArrayLike,
    logit: ArrayLike,
    thresholds: Thresholds,
    fair_lambda: float = 2.0,
) -> dict[str, Any]:
    """Return what a network's logits of labelled faces come to.

    Parameters
    ----------
    label, gender, logit
        Shape (n,): 0 or 1; -1 for a woman or 1 for a man; float.
    thresholds
        What the probability has to exceed for label 1.
    fair_lambda
        The weight of the gap in the fair metric.

    Returns
    -------
    The values of `orchestrator.judging.fairness.GroupMetrics`, with 95% intervals of accuracies,
    gap and fair as ``…_ci95``, and under ``rates`` what `orchestrator.judging.rates.rates` gives.

    Raises
    ------
    InputError
        A gender has no row.
    """
    predicted = thresholds.labels(logit, gender)
    metrics = group_metrics(label, predicted, gender, fair_lambda)
    correct, seen = count_correct(label, predicted, gender)
    women, men = map(wilson, correct.sum(axis=1), seen.sum(axis=1))
    intervals = {
        "accuracy": wilson(correct.sum(), seen.sum()),
        "acc_women": women,
        "acc_men": men,
        "gap": of_gap(women, men),
        "fair": of_fair(women, men, fair_lambda),
    }
    ends = {f"{name}_ci95": [float(of.low), float(of.high)] for name, of in intervals.items()}
    return {**asdict(metrics), **ends, "rates": rates(label, logit, gender, np.asarray(predicted))}
