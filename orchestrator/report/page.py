"""The report as one page that needs no other file, and asks for none."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from orchestrator.base.files import read_text
from orchestrator.base.web import asset, source_of
from orchestrator.base.words import duration, first_line
from orchestrator.judging.fairness import GroupMetrics, metrics_from_counts
from orchestrator.judging.judge import Evaluated
from orchestrator.judging.paired_change import effect
from orchestrator.judging.reliability import FEWEST
from orchestrator.report import digits
from orchestrator.report.answerable import answerable
from orchestrator.report.beyond import explained
from orchestrator.report.course import ENOUGH, axes, course, importances, stopped_at
from orchestrator.report.dumbbells import dumbbells
from orchestrator.report.failing import failing
from orchestrator.report.live import live_data
from orchestrator.report.roles import recommended, shown_entries
from orchestrator.report.served import fails_most, served
from orchestrator.report.words import (
    cost_words,
    in_short,
    price,
    threshold_words,
    verdict,
)
from orchestrator.run.directory import Run
from orchestrator.run.trial import ENSEMBLE, Trial

Summary = Mapping[str, Any]
ROOM = "orchestrator.report"
SCRIPTS = ("chart.js", "front.js", "search.js", "reliability.js", "panel.js")


def page(
    run: Run,
    summary: Summary,
    table: pd.DataFrame,
    ended: Sequence[Trial],
    evaluated: Sequence[Evaluated],
    *,
    faces: bool = True,
) -> str:
    """Write the report as HTML that needs no other file.

    Its content security policy lets nothing be fetched, and runs the script that is in it alone.
    What a run's files say is shown as text, whatever it holds.

    Parameters
    ----------
    run
        Its name, configuration and versions are shown.
    summary, table
        As `orchestrator.report.report` makes them.
    ended, evaluated
        The trials that ended, and the complete ones.
    faces
        Whether faces of the data set are shown.
    """
    shown, trials = shown_entries(summary), _records(table)
    reference = summary["hypervolume_reference"]
    went = course(ended, evaluated, (reference["mean_accuracy"], reference["gap"]))
    style, *scripts = (asset(ROOM, f"templates/{name}") for name in ("style.css", *SCRIPTS))
    script = Markup("").join(scripts)
    fails = failing(run, summary["verdict"]["trial_id"], faces=faces) if shown else None
    mattered = importances(evaluated)
    complete = [trial for trial in trials if trial["state"] == "complete"]
    return environment().get_template("report.html.j2").render(
        name=run.path.name,
        summary=summary,
        short=in_short(summary),
        price=price(summary),
        served=served(summary),
        fails_most=fails_most(summary),
        fails=fails,
        faces_shown=faces,
        few=FEWEST,
        explained=explained(run, summary["verdict"]["trial_id"]) if shown else None,
        cost=cost_words(summary),
        shown=shown,
        single=shown_entries(summary, together=False),
        missing=_missing(summary) if shown else "",
        dumbbells=dumbbells(shown) if shown else None,
        verdict=verdict(summary),
        threshold_words=threshold_words(recommended(summary)) if summary["best"] else [],
        retrained=retrained(summary),
        complete=sorted(complete, key=lambda trial: -trial["val_fair"]),
        others=[trial for trial in trials if trial["state"] != "complete"],
        params=[name for name in table.columns if name.startswith("params.")],
        importances=mattered,
        enough=ENOUGH,
        stopped=stopped_at(ended),
        always_no=_always_no(summary),
        faces=_train_rows(run.data) | (summary["rows"] or {}),
        data_fingerprint=run.data.get("fingerprint"),
        data=[(key, value) for key, value in run.data.items() if key != "counts"],
        answer=answerable(run, summary),
        versions=run.recorded["versions"],
        live=live_data(run, evaluated, summary, fails)
        | {"course": went, "axes": axes(evaluated, mattered or {})},
        config=read_text(run.path / "config.yaml"),
        style=style,
        style_hash=source_of(style),
        script=script,
        script_hash=source_of(script),
    )  # fmt: skip


@cache
def environment() -> Environment:
    """Return what renders our pages, with the templates compiled; whatever they show is escaped."""
    environment = Environment(
        loader=PackageLoader(ROOM),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    environment.filters |= {
        "params": _params,
        "duration": duration,
        "first_line": first_line,
        "short": _short,
        "figure": digits.figure,
        "change": digits.change,
        "limits": digits.limits,
        "searched": lambda trial_id: trial_id.removesuffix(ENSEMBLE),
        "effect": lambda interval, who: effect(who, interval),
    }
    return environment


def _missing(summary: Summary) -> str:
    """Say which baselines the first table lacks."""
    lacks = [role for role, entry in summary["baselines"].items() if entry is None]
    told = {
        "plain": "No plain trial is complete.",
        "reference": "No reference trial is complete.",
        "plain_tuned": "No trial tuned plain, so there is no line of plain tuned.",
    }
    return " ".join(told[role] for role in lacks)


def retrained(summary: Summary) -> list[tuple[str, Mapping[str, Any]]]:
    """List the retrained trials' entries, each after its roles, the best first."""
    if summary["confirmed"] is None:
        return []
    trials, best = summary["confirmed"]["trials"], summary["confirmed"]["best"]
    named = {"recommended": best, "best of the search": summary["searched_best"]} | {
        recipe.replace("_", " "): entry["trial_id"]
        for recipe, entry in summary["baselines"].items()
        if entry
    }
    order = sorted(trials, key=lambda name: (name != best, -trials[name]["val"]["fair"]))
    return [
        (" = ".join(role for role, named_id in named.items() if named_id == name), trials[name])
        for name in order
    ]


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
