"""The sentences in which the page draws its conclusions."""

from collections.abc import Mapping
from typing import Any

from orchestrator.base.words import duration
from orchestrator.judging.confirmation import trained_on
from orchestrator.judging.paired_change import Change
from orchestrator.judging.verdict import (
    NOTHING_TO_COMPARE,
    PLACES,
    as_one,
    moved,
    passed_words,
    said_of,
)
from orchestrator.report import digits
from orchestrator.report.roles import recommended
from orchestrator.run.cost import Amount
from orchestrator.run.trial import ENSEMBLE

Summary = Mapping[str, Any]


def confirmed_words(summary: Summary) -> list[str]:
    """Say which trial is best once retrained, and how much the search flattered what it chose."""
    confirmed, searched = summary["confirmed"], summary["searched_best"]
    if confirmed["best"] is None:
        return ["The finalists have not all been retrained; --resume goes on with them."]
    entry = confirmed["trials"][confirmed["best"]]
    told = [
        f"Retrained on {trained_on(entry)}, {entry['trial_id']}{_of_recipe(entry)} has the highest "
        f"fair metric of {len(confirmed['trials'])} trials{_but(summary)}, "
        f"{_fair(entry, 'val')} on the "
        f"{entry['val']['n_women'] + entry['val']['n_men']:,} faces of train and validation, "
        f"and {_fair(entry)} on test."
    ]
    if ensembles := summary["ensembles"]:
        use, plain = ensembles["recommended"], ensembles["plain"]
        told.append(
            f"{use['trial_id']}, {as_one(entry['trial_id'], use['members'])}, reaches {_fair(use)} "
            f"on test{f', plain so {_fair(plain)}' if plain and plain is not use else ''}. Which "
            "of them was lucky need not be known; it takes their time, all together, to label a "
            "face."
        )
    if (by := summary["optimism"]) is not None:
        again = confirmed["trials"][searched]["val"]["fair"]
        told.append(
            f"{searched}, the best of the search, had {again + by:.3f} on the faces that chose it "
            f"and has {again:.3f} on those that its networks have not seen: a difference of "
            f"{by:+.3f}, by which the best of many trials flatters itself."
        )
    return told


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
        f"{_but(summary)}"
    )
    sentences = confirmed_words(summary) if summary["confirmed"] else []
    if not (summary["confirmed"] and summary["confirmed"]["best"]):
        sentences += [
            f"{best['trial_id']}{_of_recipe(best)} {place}; on test it reaches {_fair(best)}.",
            *_single_words(summary, complete),
        ]
    return [paragraph, *sentences, *summary["notes"]]


def _but(summary: Summary) -> str:
    """Say that some with a higher fair metric are not counted, where there are."""
    passed = summary["verdict"]["passed_over"]
    return " by which the worse-served gender does not lose" if passed else ""


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
    name = entry["trial_id"].removesuffix(ENSEMBLE)
    return "" if entry["recipe"] in ("default", name) else f" ({entry['recipe']})"


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


def in_short(summary: Summary) -> tuple[str, list[str]]:
    """Say which trial to use, and then why, in as few words as a first glance reads.

    The whole of it is the verdict's paragraph.
    """
    found = summary["verdict"]
    if found["trial_id"] is None:
        return "There is no trial to use yet.", verdict(summary)
    entry = recommended(summary)
    use = f"Use {found['trial_id']}{_of_recipe(entry)} at threshold {found['threshold']}."
    passed = [passed_words(found["passed_over"])] if found["passed_over"] else []
    if found["claim"] is None:
        return use, [NOTHING_TO_COMPARE, *passed]
    claim, role = found["claim"], found["against"].replace("_", " ")
    split, change = next(iter(found["change"].items()))
    said = said_of(found["word"], claim, role)
    by, ends = change["fair"], change["fair_ci95"]
    moves = moved(Change(**change)).replace("-", digits.MINUS)
    if entry["members"] > 1:
        of = entry["trial_id"].removesuffix(ENSEMBLE)
        said = f"It is {as_one(of, entry['members'])}. {said}"
    return use, [
        said,
        f"Against {role}, on {PLACES[split]}, its fair metric changes by {digits.change(by, ends)} "
        f"(95% interval {digits.limits(ends, '+')}), and {moves}.",
        *passed,
    ]


def price(summary: Summary) -> str:
    """Say in a line what the run took."""
    if summary["cost"]:
        took = Amount(**summary["cost"]["took"])
        return f"the search and the finalists took {took}"
    if summary["wall_seconds"] is not None:
        return f"it took {duration(summary['wall_seconds'])}"
    return f"{duration(summary['seconds'])} of training"


def cost_words(summary: Summary) -> list[tuple[str, str]]:
    """Say what the run cost, each figure after its name."""
    told = [("training, all trials of the search", duration(summary["seconds"]))]
    if summary["wall_seconds"] is not None:
        searched = summary["wall_search_seconds"]
        told.append(("the search, by the clock", duration(searched)))
        if summary["wall_seconds"] - searched >= 1:
            told.append(("the finalists", duration(summary["wall_seconds"] - searched)))
    if summary["images_per_second"] is not None:
        told.append(("speed of a trial", f"{summary['images_per_second']:,.0f} images/s"))
    if (cost := summary["cost"]) is None:
        return told
    took, expected = cost["took"], cost["expected"]
    told.append(("epochs, all trials of the search", f"{took['epochs']:,.0f}"))
    if images := cost.get("images"):
        told.append(("images trained on in them", f"{images:,.0f}"))
    told.append(("GPU-hours", f"{took['gpu_hours']:.3g}" if took["gpu_hours"] else "none, on CPUs"))
    told.append(("price", f"{took['price']:,.2f}" if took["price"] is not None else "not given"))
    if expected:
        told.append(("was expected, as it began", str(Amount(**expected))))
    return told
