"""The report as one page, and the words in which it draws its conclusions."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from orchestrator.base.files import read_text
from orchestrator.base.words import duration, first_line
from orchestrator.judging.confirmation import trained_on
from orchestrator.judging.fairness import GroupMetrics, metrics_from_counts
from orchestrator.report.front_plot import FrontPlot
from orchestrator.report.plots import front_svg, genders_svg
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


def confirmed_words(summary: Summary) -> list[str]:
    """Say which trial is best once retrained, and how much the search flattered what it chose."""
    confirmed, searched = summary["confirmed"], summary["searched_best"]
    if confirmed["best"] is None:
        return ["The finalists have not all been retrained; --resume goes on with them."]
    entry = confirmed["trials"][confirmed["best"]]
    told = [
        f"Retrained on {trained_on(entry)}, {entry['trial_id']}{_of_recipe(entry)} has the highest "
        f"fair metric of {len(confirmed['trials'])} trials, {_fair(entry, 'val')} on the "
        f"{entry['val']['n_women'] + entry['val']['n_men']:,} faces of train and validation, "
        f"and {_fair(entry)} on test."
    ]
    if (by := summary["optimism"]) is not None:
        again = confirmed["trials"][searched]["val"]["fair"]
        told.append(
            f"{searched}, the best of the search, had {again + by:.3f} on the faces that chose it "
            f"and has {again:.3f} on those that its networks have not seen: a difference of "
            f"{by:+.3f}, by which the best of many trials flatters itself."
        )
    return told


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


def verdict(summary: Summary) -> list[str]:
    """Say what the run found, in sentences, the most important first."""
    best = summary["best"]
    if best is None:
        counts = ", ".join(f"{n} {state}" for state, n in summary["trials"].items() if n)
        return [
            f"No trial is complete, so there is nothing to choose from ({counts or 'no trials'})."
        ]
    paragraph = summary["verdict"]["paragraph"]
    complete = summary["trials"]["complete"]
    place = (
        "is the only complete trial"
        if complete == 1
        else f"has the highest fair metric on validation of {complete} complete trials"
    )
    sentences = confirmed_words(summary) if summary["confirmed"] else []
    if not (summary["confirmed"] and summary["confirmed"]["best"]):
        sentences += [
            f"{best['trial_id']}{_of_recipe(best)} {place}; on test it reaches {_fair(best)}.",
            *_single_words(summary, complete),
        ]
    return [paragraph, *sentences, *summary["notes"]]


def _single_words(summary: Summary, complete: int) -> list[str]:
    """Compare single trainings on test, where none was retrained."""
    best, plain, sentences = summary["best"], summary["baselines"]["plain"], []
    if plain is None:
        sentences.append("No plain trial is complete, so it cannot be said who gained or lost.")
    elif plain["trial_id"] != best["trial_id"]:
        sentences.append(f"{_against(best, plain, 'plain')} {_paired(best['change_vs_plain'])}")
        sentences.append(levelling(best["change_vs_plain"], plain["test"]))
    elif complete > 1:
        sentences.append("No other trial has a higher fair metric on validation than plain.")
    reference = summary["baselines"]["reference"]
    if reference and reference["trial_id"] != best["trial_id"]:
        sentences.append(_against(best, reference, "reference"))
        if plain:
            sentences[-1] += " " + levelling(reference["change_vs_plain"], plain["test"])
    return sentences


def _of_recipe(entry: Mapping[str, Any]) -> str:
    return "" if entry["recipe"] in ("default", entry["trial_id"]) else f" ({entry['recipe']})"


def _fair(entry: Mapping[str, Any], split: str = "test") -> str:
    low, high = entry[split]["fair_ci95"]
    return f"{entry[split]['fair']:.3f} (95% interval {low:.3f} to {high:.3f})"


def _against(best: Mapping[str, Any], other: Mapping[str, Any], recipe: str) -> str:
    (low, high), (other_low, other_high) = best["test"]["fair_ci95"], other["test"]["fair_ci95"]
    overlap = "overlap" if low <= other_high and other_low <= high else "do not overlap"
    return f"The {recipe} recipe reaches {_fair(other)}; the two intervals {overlap}."


def _paired(change: Mapping[str, Any]) -> str:
    low, high = change["fair_ci95"]
    chance = "contains 0: it may be chance" if low <= 0 <= high else "excludes 0"
    return (
        f"Compared face by face, the difference is {change['fair']:+.3f}, with a 95% interval of "
        f"{low:+.3f} to {high:+.3f} that {chance}."
    )


def threshold_words(entry: Mapping[str, Any]) -> list[str]:
    """Say what a shared threshold and a pair by gender would make of a trial on test."""
    shared, pair = (entry["thresholds"][kind] for kind in ("shared", "by_gender"))
    if shared["threshold"] == entry["threshold"]:
        first = f"No threshold for all is better than 0.5 on validation for {entry['trial_id']}."
    else:
        first = (
            f"One threshold of {shared['threshold']:.3g} for all, the best on validation, takes "
            f"{entry['trial_id']}'s fair metric on test from {entry['test']['fair']:.3f} to "
            f"{shared['test']['fair']:.3f}. {_moves(shared['change_vs_fixed'])}"
        )
    second = (
        f"The best pair, {pair['threshold_women']:.3g} for women and {pair['threshold_men']:.3g} "
        f"for men, takes it to {pair['test']['fair']:.3f}. {_moves(pair['change_vs_fixed'])}"
    )
    return [first, second]


def _moves(change: Mapping[str, Any]) -> str:
    lost = " That is levelling down: the better-off gender pays." if change["levelled_down"] else ""
    women, men = (_moved(who, change) for who in ("women", "men"))
    return f"{_paired(change)} Against 0.5, {women} and {men}.{lost}"


def levelling(change: Mapping[str, Any], plain: Mapping[str, Any]) -> str:
    """Say what each gender gained or lost, and whether that is levelling down.

    Parameters
    ----------
    change
        Of a trial against the plain baseline, on test.
    plain
        The baseline's metrics on test.
    """
    better, worse = ("women", "men") if plain["acc_women"] > plain["acc_men"] else ("men", "women")
    told = f"Against plain, {_moved(worse, change)} and {_moved(better, change)}"
    if change["fair"] <= 0:
        return f"{told}: the fair metric did not rise."
    if change["levelled_down"]:
        both = change[f"acc_{worse}_ci95"][1] < 0
        how = "since both became less accurate" if both else f"paid for by {better}"
        return f"{told}: levelling down, {how}."
    if change[f"acc_{better}"] < 0:
        return f"{told}: whether {better}, the better-off gender, pay for it is within chance."
    return f"{told}: this is no levelling down."


def _moved(who: str, change: Mapping[str, Any]) -> str:
    points = 100 * change[f"acc_{who}"]
    low, high = (100 * end for end in change[f"acc_{who}_ci95"])
    if points == 0:
        return f"{who} stay as accurate"
    return (
        f"{who} {'gain' if points > 0 else 'lose'} {_amount(abs(points))} points of accuracy "
        f"(95% interval {low:+.1f} to {high:+.1f})"
    )


def _amount(points: float) -> str:
    return f"{points:.1f}" if points >= 0.05 else "under 0.05"


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
