"""The report as one page, and the words in which it draws its conclusions."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from orchestrator.base.files import read_text
from orchestrator.base.words import duration, first_line
from orchestrator.judging.fairness import GroupMetrics, metrics_from_counts
from orchestrator.report.front_plot import FrontPlot
from orchestrator.report.plots import front_svg, genders_svg
from orchestrator.report.words import threshold_words, verdict
from orchestrator.run.directory import Run

Summary = Mapping[str, Any]


def page(run: Run, summary: Summary, table: pd.DataFrame, plot: FrontPlot) -> str:
    """Write the report as HTML that needs no other file.

    Parameters
    ----------
    run
        Its name, configuration and versions are shown.
    summary, table, plot
        As `orchestrator.report.report` makes them.
    """
    environment = Environment(
        loader=PackageLoader("orchestrator.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "params": _params,
        "duration": duration,
        "first_line": first_line,
        "short": _short,
        "signed": _signed,
    }
    shown = _shown(summary)
    trials = _records(table)
    return environment.get_template("report.html.j2").render(
        name=run.path.name,
        summary=summary,
        shown=shown,
        plain=summary["baselines"]["plain"],
        verdict=verdict(summary),
        threshold_words=threshold_words(summary["best"]) if summary["best"] else [],
        retrained=retrained(summary),
        plain_retrained=_plain_retrained(summary),
        trials=trials,
        params=[name for name in table.columns if name.startswith("params.")],
        front_plot=Markup(front_svg(plot)),
        genders_plot=Markup(genders_svg(shown)) if shown else None,
        always_no=_always_no(summary),
        faces=_train_rows(run.data) | (summary["rows"] or {}),
        data=[(key, value) for key, value in run.data.items() if key != "counts"],
        versions=run.recorded["versions"],
        tips={row["trial_id"]: _tip(row) for row in trials if row["state"] == "complete"},
        config=read_text(run.path / "config.yaml"),
    )


def retrained(summary: Summary) -> list[tuple[str, Mapping[str, Any]]]:
    """List the retrained trials' entries, each after its roles, the best first."""
    if summary["confirmed"] is None:
        return []
    trials, best = summary["confirmed"]["trials"], summary["confirmed"]["best"]
    named = {"best": best, "best of the search": summary["searched_best"]} | {
        recipe: entry["trial_id"] for recipe, entry in summary["baselines"].items() if entry
    }
    order = sorted(trials, key=lambda name: (name != best, -trials[name]["val"]["fair"]))
    return [
        (" = ".join(role for role, named_id in named.items() if named_id == name), trials[name])
        for name in order
    ]


def _plain_retrained(summary: Summary) -> Mapping[str, Any] | None:
    plain, confirmed = summary["baselines"]["plain"], summary["confirmed"]
    return confirmed["trials"].get(plain["trial_id"]) if plain and confirmed else None


def _shown(summary: Summary) -> dict[str, Mapping[str, Any]]:
    """The entries to compare, by role; a trial with two roles once."""
    shown: dict[str, Mapping[str, Any]] = {}
    for role, entry in (*summary["baselines"].items(), ("best", summary["best"])):
        if entry:
            names = [
                name for name, other in shown.items() if other["trial_id"] == entry["trial_id"]
            ]
            for name in names:
                del shown[name]
            shown[" = ".join([*names, role])] = entry
    return shown


def _always_no(summary: Summary) -> GroupMetrics | None:
    """What answering 0 for every test face would score: a figure that a network must beat."""
    if not summary["rows"]:
        return None
    women, men = summary["rows"]["test"]["women"], summary["rows"]["test"]["men"]
    correct = [[women[0], 0], [men[0], 0]]
    return metrics_from_counts(correct, [women, men], summary["fair_lambda"])


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The table's rows; what is missing is None, which a template can ask for."""
    cleaned = table.astype(object).where(table.notna(), None)
    return [dict(zip(table.columns, row, strict=True)) for row in cleaned.itertuples(index=False)]


def _tip(row: Mapping[str, Any]) -> str:
    """What a mark of the plot says when pointed at."""
    names = (name for name in row if name.startswith("params.") and row[name] is not None)
    figures = (
        f"fair {row['val_fair']:.4f}, gap {row['val_gap']:.4f}\n"
        f"women {row['val_acc_women']:.4f}, men {row['val_acc_men']:.4f}\n"
    )
    return f"{row['trial_id']} ({row['recipe']}), validation\n{figures}" + _params(
        {name.removeprefix("params."): row[name] for name in names}
    )


def _train_rows(data: Mapping[str, Any]) -> dict[str, dict[str, list[int]]]:
    """Rows of the training split by gender, of class 0 and 1, where the run recorded them."""
    train = data.get("counts", {}).get("train")
    if train is None:
        return {}
    return {"train": {who: [n for _, n in sorted(train[who].items())] for who in ("women", "men")}}


def _params(params: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_short(value)}" for name, value in params.items())


def _short(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _signed(change: float) -> str:
    return f"{change:+.3f}".replace("-0.000", "+0.000")
