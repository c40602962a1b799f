"""What a run came to: tables, summary, plot and page, a pure function of the run's files.

Test figures are computed for the report and choose nothing.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from orchestrator.base.files import write_json, write_text, writing
from orchestrator.judging.judge import evaluate
from orchestrator.report.front_plot import FrontPlot
from orchestrator.report.page import page
from orchestrator.report.plots import front_png
from orchestrator.report.summary import summarise
from orchestrator.report.trial_table import trial_table
from orchestrator.run.directory import Run


def write_report(run: Run, *, faces: bool = True, all_test: bool = False) -> dict[str, Any]:
    """Write ``trials.csv``, ``pareto.csv``, ``pareto.png``, ``report.html`` and ``summary.json``.

    The same files give the same report, byte for byte. A run without a complete trial gets a
    report that says so.

    Parameters
    ----------
    run
        A run, ended or not; trials that still run are counted as unfinished.
    faces
        Whether the page shows faces of the data set, and names their files.
    all_test
        Have the tables tell the test figures of all trials, and not only of the recommended one,
        the baselines and the one that the verdict is of: whoever picks by those picks by test.

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
    told = [trial.id for trial in ended] if all_test else _judged_by_test(summary)
    table = trial_table(results, params, evaluated, told)
    front = [entry["trial_id"] for entry in summary["pareto"]]
    _write_csv(run, "trials.csv", table)
    _write_csv(run, "pareto.csv", table.set_index("trial_id", drop=False).loc[front])
    plot = FrontPlot.of(summary, table)
    with writing(run.path / "pareto.png") as file:
        file.write(front_png(plot))
    text = page(run, summary, table, ended, evaluated, faces=faces)
    write_text(run.path / "report.html", text)
    write_json(run.path / "summary.json", summary)
    return summary


def _judged_by_test(summary: Mapping[str, Any]) -> set[str]:
    """Return the ids of the trials that test is for."""
    entries = (summary["best"], *summary["baselines"].values())
    return {entry["trial_id"] for entry in entries if entry} | {summary["verdict"]["claim"]}


def _write_csv(run: Run, name: str, table: pd.DataFrame) -> None:
    with writing(run.path / name, "w", encoding="utf-8", newline="") as file:
        table.to_csv(file, index=False, lineterminator="\n")
