"""The short table that ends a run, on the terminal."""

from collections.abc import Mapping
from typing import Any, TextIO

from rich.console import Console
from rich.table import Table

from orchestrator.base.console import new_table, open_console
from orchestrator.judging.confirmation import trained_on
from orchestrator.report.roles import by_role

HEADS = ("women", "men", "gap", "worse", "fair", "fair 95%")
METRICS = ("acc_women", "acc_men", "gap", "worst_gender", "fair")


def print_summary(summary: Mapping[str, Any], stream: TextIO) -> None:
    """Print best, plain and reference with each gender's accuracy on test.

    Parameters
    ----------
    summary
        What ``summary.json`` holds.
    stream
        A terminal, or any other text stream.
    """
    entries = by_role(summary)
    if not entries:
        return
    console = open_console(stream)
    if summary["confirmed"]:
        _print_confirmed(summary, console)
    table = _table("On test faces, threshold 0.5 (chosen on validation faces)")
    for role, entry in sorted(entries.items(), key=lambda of: of[0] != "recommended"):
        name = "best" if role == "recommended" else role
        table.add_row(name, entry["trial_id"], *_cells(entry["test"]))
    console.print(table)
    for line in (
        *summary["notes"],
        *_settings(entries["recommended"]),
        summary["verdict"]["paragraph"],
    ):
        console.print(line, soft_wrap=not stream.isatty())  # who reads a pipe wraps it


def _print_confirmed(summary: Mapping[str, Any], console: Console) -> None:
    """Print the best, the search's best and the baselines, retrained."""
    trials = summary["confirmed"]["trials"]
    ids = {"best": summary["best"]["trial_id"]}
    if summary["searched_best"] != ids["best"]:
        ids["searched"] = summary["searched_best"]
    ids |= {name: entry["trial_id"] for name, entry in summary["baselines"].items() if entry}
    shown = {name: trials[trial_id] for name, trial_id in ids.items() if trial_id in trials}
    if not shown:
        return
    on = trained_on(next(iter(shown.values())))
    table = _table(f"Faces not trained on, threshold 0.5: {on}")
    for name, entry in shown.items():
        table.add_row(name, entry["trial_id"], *_cells(entry["val"]))
    console.print(table)
    console.print()


def _table(title: str) -> Table:
    return new_table("", "trial", *HEADS, title=title, left=2)


def _cells(test: Mapping[str, Any]) -> list[str]:
    low, high = test["fair_ci95"]
    return [f"{test[name]:.4f}" for name in METRICS] + [f"{low:.3f} to {high:.3f}"]


def _settings(best: Mapping[str, Any]) -> list[str]:
    shown = {k: f"{v:.3g}" if isinstance(v, float) else v for k, v in best["params"].items()}
    settings = "  ".join(f"{name}={value}" for name, value in shown.items())
    lines = [f"Best: {settings}"] if settings else []
    change = best["change_vs_plain"]
    if change and best["recipe"] != "plain":
        lines.append(
            f"Against plain, on the same faces: fair {change['fair']:+.4f} "
            f"(95% {change['fair_ci95'][0]:+.3f} to {change['fair_ci95'][1]:+.3f}), "
            f"women {change['acc_women']:+.4f}, men {change['acc_men']:+.4f}"
            + ("; it levels down: the better gender lost" * change["levelled_down"])
        )
    return lines
