"""What commands say on the terminal: the short table that ends a run, and counts of faces."""

from collections.abc import Mapping
from typing import Any, TextIO

from rich.console import Console
from rich.table import Table

from orchestrator.balance import BalanceConfig, expected_counts
from orchestrator.confirmation import count, spread
from orchestrator.splits import GENDERS, Counts
from orchestrator.store import DROPPED, Store

ROWS = ("best", "plain", "reference")
METRICS = ("acc_women", "acc_men", "gap", "worst_group", "fair")


def print_summary(summary: Mapping[str, Any], stream: TextIO) -> None:
    """Print best, plain and reference with each gender's accuracy on test.

    Parameters
    ----------
    summary
        What ``summary.json`` holds.
    stream
        A terminal, or any other text stream.
    """
    entries = {"best": summary["best"], **summary["baselines"]}
    rows = [(name, entries[name]) for name in ROWS if entries.get(name)]
    if not rows:
        return
    console = Console(file=stream, highlight=False, width=None if stream.isatty() else 100)
    if summary["confirmed"]:
        _print_confirmed(summary, console)
    table = _table("On test faces, threshold 0.5 (chosen on validation faces)")
    for name, entry in rows:
        table.add_row(name, entry["trial_id"], *_cells(entry["test"]))
    console.print(table)
    for line in _settings(summary["best"]):
        console.print(line, soft_wrap=True)


def _print_confirmed(summary: Mapping[str, Any], console: Console) -> None:
    """Print the confirmed best, the search's best and the baselines over new seeds."""
    confirmed = summary["confirmed"]
    best = confirmed["trials"][confirmed["best"]]
    ids = {"confirmed": confirmed["best"], "best": summary["best"]["trial_id"]} | {
        name: entry["trial_id"] for name, entry in summary["baselines"].items() if entry
    }
    table = _table(f"On test faces, threshold 0.5, means over {count(best)} (fair: ± sd)")
    for name, trial_id in ids.items():
        if entry := confirmed["trials"].get(trial_id):
            low, high = entry["fair_ci95"]
            means = [f"{entry['test'][metric]['mean']:.4f}" for metric in METRICS[:-1]]
            table.add_row(name, trial_id, *means, spread(entry), f"{low:.3f} to {high:.3f}")
    console.print(table)
    console.print(confirmed["sentence"], soft_wrap=True)
    console.print()


def _table(title: str) -> Table:
    table = Table(
        title=title,
        title_justify="left",
        title_style="",
        box=None,
        padding=(0, 2, 0, 0),
        header_style="bold",
    )
    table.add_column("", no_wrap=True)
    table.add_column("trial", no_wrap=True)
    for name in ("women", "men", "gap", "worst", "fair", "fair 95%"):
        table.add_column(name, justify="right", no_wrap=True)
    return table


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
            + ("; it levels down: the better gender lost" if change["levelled_down"] else "")
        )
    return lines


def describe_store(store: Store) -> str:
    """Say what `prepare` made."""
    meta = store.meta
    lines = [f"{store.path}: {meta.rows:,} faces of {meta.image_size}x{meta.image_size}"]
    lines += [f"  {split:5} {_kinds(meta.strata(split))}" for split in meta.counts]
    if meta.dropped:
        lines.append(f"  {meta.dropped:,} dropped, listed in {store.path / DROPPED}")
    return "\n".join(lines)


def describe_draw(config: BalanceConfig, counts: Counts) -> str:
    """Say how many faces of each kind an epoch draws from a split with such counts."""
    drawn = expected_counts(config, counts)
    total = sum(drawn.values())
    return f"balance {name_policy(config)}: {total:,} faces an epoch; {_kinds(drawn)}"


def name_policy(config: BalanceConfig) -> str:
    """Name a balance policy and the groups that it looks at."""
    return config.policy if config.policy == "none" else f"{config.policy} over {config.over}"


def _kinds(counts: Counts) -> str:
    return "; ".join(
        f"{name} {counts[code, 0]:,} of class 0, {counts[code, 1]:,} of class 1"
        for name, code in GENDERS.items()
    )
