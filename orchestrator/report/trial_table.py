"""``trials.csv``: a row a trial that ended."""

from collections.abc import Container, Mapping, Sequence
from typing import Any

import pandas as pd

from orchestrator.judging.fairness import GroupMetrics
from orchestrator.judging.judge import Evaluated
from orchestrator.run.trial import EVALUATED, TrialResult

SHARED = ("fair", "acc_women", "acc_men", "gap")
"""What the table says of the shared threshold."""


def trial_table(
    results: Sequence[TrialResult],
    params: Mapping[str, Mapping[str, Any]],
    evaluated: Sequence[Evaluated],
    test_of: Container[str],
) -> pd.DataFrame:
    """Make a row a trial that ended: how, with which parameters, and every metric.

    Parameters
    ----------
    results
        Of all trials that ended, by id.
    params
        The searched parameters, by trial id.
    evaluated
        The complete ones; the metrics of the others stay empty.
    test_of
        The ids of those whose metrics on test are told, too.
    """
    names = sorted({name for found in params.values() for name in found})
    judged = {one.id: one for one in evaluated}
    metrics = [f"{s}_{name}" for s in EVALUATED for name in ("mean_accuracy", *_metric_names())]
    shared = [f"shared_{split}_{name}" for split in EVALUATED for name in SHARED]
    ends = ("epochs", "kept_epoch", "seconds", "images_per_second", "device", "reason")
    rows = [
        {
            **result.model_dump(include={"trial_id", "state", "recipe", *ends}),
            **{f"params.{name}": value for name, value in params[result.trial_id].items()},
            **_metric_columns(judged.get(result.trial_id), test=result.trial_id in test_of),
        }
        for result in results
    ]
    columns = ["trial_id", "state", "recipe", *(f"params.{n}" for n in names), *metrics]
    columns += ["threshold_shared", *shared, *ends]
    return pd.DataFrame(rows, columns=columns, dtype=object)  # ints stay ints beside missing ones


def _metric_names() -> list[str]:
    return list(GroupMetrics.__dataclass_fields__)


def _metric_columns(one: Evaluated | None, *, test: bool) -> dict[str, float]:
    if one is None:
        return {}
    fixed, shared = one.judged["fixed"], one.judged["shared"]
    told = EVALUATED if test else ("val",)
    return {
        f"{split}_{name}": getattr(metrics, name)
        for split, metrics in fixed.metrics.items()
        if split in told
        for name in ("mean_accuracy", *_metric_names())
    } | {
        "threshold_shared": shared.thresholds.women,
        **{
            f"shared_{split}_{name}": getattr(metrics, name)
            for split, metrics in shared.metrics.items()
            if split in told
            for name in SHARED
        },
    }
