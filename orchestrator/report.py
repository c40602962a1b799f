"""What a run came to: tables, summary, plot and page, a pure function of the run's files.

Test figures are computed for the report and choose nothing.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from orchestrator.comparison import paired_change
from orchestrator.evaluation import (
    THRESHOLD,
    Evaluated,
    evaluate,
    objectives,
    select_best,
    select_front,
)
from orchestrator.fairness import WOMAN, GroupMetrics, bootstrap_ci95
from orchestrator.files import write_json, write_text, writing
from orchestrator.frontier import hypervolume
from orchestrator.page import page
from orchestrator.plots import FrontPlot, front_png
from orchestrator.progress import BASELINES, read
from orchestrator.runs import EVALUATED, Run, TrialResult

REFERENCE_POINT = (0.5, 0.5)
"""The mean accuracy and the gap from which the front's hypervolume is measured."""


def write_report(run: Run) -> dict[str, Any]:
    """Write ``trials.csv``, ``pareto.csv``, ``pareto.png``, ``report.html`` and ``summary.json``.

    The same files give the same report, byte for byte. A run without a complete trial gets a
    report that says so.

    Parameters
    ----------
    run
        A run, ended or not; trials that still run are counted as unfinished.

    Returns
    -------
    What ``summary.json`` holds; see `summarise`.

    Raises
    ------
    InputError
        A complete trial's files are damaged, or trials were judged on different faces.
    """
    ended = run.ended()
    results = [trial.result for trial in ended]
    params = {trial.id: trial.params for trial in ended}
    evaluated = evaluate(run)
    summary = summarise(run, results, evaluated)
    table = trial_table(results, params, evaluated)
    front = [entry["trial_id"] for entry in summary["pareto"]]
    _write_csv(run, "trials.csv", table)
    _write_csv(run, "pareto.csv", table.set_index("trial_id", drop=False).loc[front])
    plot = FrontPlot.of(summary, table)
    with writing(run.path / "pareto.png") as file:
        file.write(front_png(plot))
    write_text(run.path / "report.html", page(run, summary, table, plot))
    write_json(run.path / "summary.json", summary)
    return summary


def summarise(
    run: Run, results: Sequence[TrialResult], evaluated: Sequence[Evaluated]
) -> dict[str, Any]:
    """Put together what ``summary.json`` holds.

    Parameters
    ----------
    run
        The run.
    results
        Of all trials that ended.
    evaluated
        The complete ones.

    Returns
    -------
    ``best``, ``baselines`` and ``pareto`` hold entries (see `_entry`), null where there is none.
    ``seconds`` adds up the trials' time in training; ``wall_seconds`` is how long the run took,
    null when it left no ``progress.json``; ``images_per_second`` is the median over complete
    trials, null without one.
    """
    best, front = select_best(evaluated), select_front(evaluated)
    baselines = {
        recipe: next((one for one in evaluated if one.result.recipe == recipe), None)
        for recipe in BASELINES
    }
    plain, fair_lambda = baselines["plain"], run.config.fair_lambda

    def entry(one: Evaluated | None) -> dict[str, Any] | None:
        return None if one is None else _entry(one, plain, fair_lambda)

    progress = read(run)
    speeds = [one.result.images_per_second for one in evaluated]
    return {
        "best": entry(best),
        "baselines": {recipe: entry(one) for recipe, one in baselines.items()},
        "pareto": [entry(one) for one in front],
        "fair_lambda": fair_lambda,
        "hypervolume": hypervolume(*objectives(evaluated), REFERENCE_POINT),
        "hypervolume_reference": {
            "mean_accuracy": REFERENCE_POINT[0],
            "gap": REFERENCE_POINT[1],
        },
        "trials": _states(run, results),
        "rows": _row_counts(evaluated[0]) if evaluated else None,
        "seconds": sum(result.seconds for result in results),
        "wall_seconds": progress.seconds() if progress else None,
        "images_per_second": float(np.median(speeds)) if speeds else None,
    }


def _entry(one: Evaluated, plain: Evaluated | None, fair_lambda: float) -> dict[str, Any]:
    """Say all about one trial: id, parameters, both splits, and its change against plain (test)."""
    return {
        "trial_id": one.id,
        "recipe": one.result.recipe,
        "params": dict(one.params),
        "threshold": THRESHOLD,
        **{split: _split_entry(one, split, fair_lambda) for split in EVALUATED},
        "change_vs_plain": None if plain is None else _change(one, plain, fair_lambda),
    }


def _split_entry(one: Evaluated, split: str, fair_lambda: float) -> dict[str, Any]:
    rows = one.rows[split]
    intervals = bootstrap_ci95(rows.label, rows.predicted, rows.gender, fair_lambda)
    return {
        **asdict(one.metrics[split]),
        "fair_ci95": list(intervals.fair),
        "gap_ci95": list(intervals.gap),
    }


def _change(one: Evaluated, plain: Evaluated, fair_lambda: float) -> dict[str, Any]:
    now, then = one.rows["test"], plain.rows["test"]
    change = paired_change(
        now.predicted == now.label, then.predicted == then.label, now.gender == WOMAN, fair_lambda
    )
    return asdict(change)


def _states(run: Run, results: Sequence[TrialResult]) -> dict[str, int]:
    counts = Counter(result.state for result in results)
    begun = sum(path.is_dir() for path in run.trials_path.iterdir())
    return {
        "complete": counts["complete"],
        "failed": counts["failed"],
        "pruned": counts["pruned"],
        "unfinished": begun - len(results),
    }


def _row_counts(one: Evaluated) -> dict[str, dict[str, list[int]]]:
    """Rows by split and gender, of class 0 and class 1."""
    return {
        split: {
            who: [int(np.sum(rows.label[rows.gender == gender] == label)) for label in (0, 1)]
            for who, gender in (("women", WOMAN), ("men", -WOMAN))
        }
        for split, rows in one.rows.items()
    }


def trial_table(
    results: Sequence[TrialResult],
    params: Mapping[str, Mapping[str, Any]],
    evaluated: Sequence[Evaluated],
) -> pd.DataFrame:
    """Make a row a trial that ended: how, with which parameters, and every metric on both splits.

    Parameters
    ----------
    results
        Of all trials that ended, by id.
    params
        The searched parameters, by trial id.
    evaluated
        The complete ones; the metrics of the others stay empty.
    """
    names = sorted({name for found in params.values() for name in found})
    judged = {one.id: one for one in evaluated}
    metrics = [f"{s}_{name}" for s in EVALUATED for name in ("mean_accuracy", *_metric_names())]
    ends = ("epochs", "kept_epoch", "seconds", "images_per_second", "device", "reason")
    rows = [
        {
            **result.model_dump(include={"trial_id", "state", "recipe", *ends}),
            **{f"params.{name}": value for name, value in params[result.trial_id].items()},
            **_metric_columns(judged.get(result.trial_id)),
        }
        for result in results
    ]
    columns = ["trial_id", "state", "recipe", *(f"params.{n}" for n in names), *metrics, *ends]
    return pd.DataFrame(rows, columns=columns, dtype=object)  # ints stay ints beside missing ones


def _metric_names() -> list[str]:
    return list(GroupMetrics.__dataclass_fields__)


def _metric_columns(one: Evaluated | None) -> dict[str, float]:
    if one is None:
        return {}
    return {
        f"{split}_{name}": getattr(metrics, name)
        for split, metrics in one.metrics.items()
        for name in ("mean_accuracy", *_metric_names())
    }


def _write_csv(run: Run, name: str, table: pd.DataFrame) -> None:
    with writing(run.path / name, "w", encoding="utf-8", newline="") as file:
        table.to_csv(file, index=False, lineterminator="\n")
