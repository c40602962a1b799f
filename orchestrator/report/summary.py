"""``summary.json``: what a run came to, as others read it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from orchestrator.config.settings import Config
from orchestrator.data.splits import GENDERS, describe_empty
from orchestrator.judging.confirmation import Confirmation, trained_on
from orchestrator.judging.ensemble import members_of, together
from orchestrator.judging.fairness import WOMAN, count_correct
from orchestrator.judging.frontier import hypervolume
from orchestrator.judging.intervals import of_fair, of_gap, wilson
from orchestrator.judging.judge import (
    Evaluated,
    Kind,
    evaluate_trial,
    is_plain,
    objectives,
    passed_over,
    ranked,
    select_best,
    select_front,
)
from orchestrator.judging.paired_change import NO_CHANGE, Change, paired_change
from orchestrator.judging.rates import in_words, rates
from orchestrator.judging.verdict import Claim, verdict
from orchestrator.report.beyond import other_faces, where_it_fails
from orchestrator.run.cost import in_summary
from orchestrator.run.directory import Run
from orchestrator.run.progress import BASELINES, read
from orchestrator.run.trial import ENSEMBLE, EVALUATED, TrialResult

REFERENCE_POINT = (0.5, 0.5)
"""The mean accuracy and the gap from which the front's hypervolume is measured."""
AGAINST = ("plain_tuned", "plain")
"""The baselines that a verdict compares with: the first that there is."""
Bases = Mapping[str, Evaluated | None]
"""The baselines that every entry is compared with, by role."""


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
    ``best``, ``baselines`` and ``pareto`` hold entries (see `_entry`) at threshold 0.5, null where
    there is none; under ``rates`` each split has rates by gender at 0.5 (see `rates`), and under
    ``thresholds`` each has what other thresholds would make of the trial.
    ``pareto_shared`` is the front of trials at their shared thresholds and ``pareto_by_gender``
    that at their pairs. ``best`` is what the finalists' retraining chose, once that has ended, and
    ``searched_best`` what the search did; ``confirmed`` is `Confirmation.summary`'s, ``verdict``
    that of `orchestrator.judging.verdict.verdict`, ``ensembles`` that of `_ensembles`, and
    ``optimism`` how much higher the fair metric of the search's best was on the faces that chose it
    than on those of the folds, null where it was not retrained.
    ``failures`` and ``evaluations`` are those of `orchestrator.report.beyond`; ``notes`` are
    sentences on what the figures cannot say.
    ``seconds`` adds up the time of the search's trials in training; ``wall_seconds`` is how long
    the run took, and ``wall_search_seconds`` the search alone, null when it left no
    ``progress.json``; ``images_per_second`` is the median over complete trials, null without one.
    """
    searched, confirmation = select_best(evaluated), Confirmation(run, evaluated)
    won, may_lose = confirmation.winner, run.config.sweep.may_lose
    best = won.trial if won else next(iter(ranked(evaluated, may_lose)), None)
    passed = confirmation.passed_over if won else passed_over(evaluated, may_lose)
    baselines = {
        recipe: next((one for one in evaluated if one.result.recipe == recipe), None)
        for recipe in BASELINES
    }
    baselines["plain_tuned"] = _tuned(confirmation, evaluated)
    plain, fair_lambda = baselines["plain"], run.config.fair_lambda
    bases = {role: baselines[role] for role in ("plain", "plain_tuned")}

    def entry(one: Evaluated | None) -> dict[str, Any] | None:
        return None if one is None else _full_entry(one, bases, fair_lambda)

    def front(kind: Kind) -> list[dict[str, Any]]:
        return [_entry(one, kind, bases, fair_lambda) for one in select_front(evaluated, kind)]

    confirmed, progress = confirmation.summary(plain), read(run)
    speeds = [one.result.images_per_second for one in evaluated]
    rows, shown = _row_counts(evaluated[0]) if evaluated else None, entry(best)
    ensembles = _ensembles(run, confirmation, baselines, fair_lambda)
    use = ensembles["recommended"] if ensembles else shown
    hidden = in_words(use["test"]["rates"], use["test"]["gap"]) if use else None
    return {
        "best": shown,
        "ensembles": ensembles,
        "baselines": {recipe: entry(one) for recipe, one in baselines.items()},
        "pareto": [entry(one) for one in select_front(evaluated)],
        "pareto_shared": front("shared"),
        "pareto_by_gender": front("by_gender"),
        "searched_best": searched.id if searched else None,
        "confirmed": confirmed,
        "optimism": _optimism(searched, confirmed),
        "verdict": verdict(
            use["trial_id"] if use else None,
            _claim(run.config, confirmation, evaluated, baselines),
            trained_on(confirmed["trials"][won.trial.id]) if won and confirmed else None,
            use["members"] if use else 1,
            passed,
        ),
        "failures": where_it_fails(run, use["trial_id"]) if use else None,
        "evaluations": other_faces(run),
        "fair_lambda": fair_lambda,
        "hypervolume": hypervolume(*objectives(evaluated), REFERENCE_POINT),
        "hypervolume_shared": hypervolume(*objectives(evaluated, "shared"), REFERENCE_POINT),
        "hypervolume_reference": {
            "mean_accuracy": REFERENCE_POINT[0],
            "gap": REFERENCE_POINT[1],
        },
        "trials": _states(run, results),
        "rows": rows,
        "notes": [*_empty_strata(run, rows or {}), *([hidden] if hidden else [])],
        "seconds": sum(result.seconds for result in results),
        "wall_seconds": progress.seconds() if progress else None,
        "wall_search_seconds": progress.searched_seconds() if progress else None,
        "images_per_second": float(np.median(speeds)) if speeds else None,
        "cost": in_summary(progress.cost, progress.seconds(), results) if progress else None,
    }


def _ensembles(
    run: Run, confirmation: Confirmation, roles: Mapping[str, Evaluated | None], fair_lambda: float
) -> dict[str, Any] | None:
    """Say what the winner's networks come to as one, and those of the baselines that had as many.

    Their changes are against the baselines' ensembles. ``val`` is of all faces of train and val,
    each judged by the networks that were not trained on it. None where no such ensemble is kept, as
    in a run whose finalists have not ended.
    """
    won = confirmation.winner
    if won is None:
        return None
    kept = run.trial(won.trial.id + ENSEMBLE)
    wanted = [member.id for member in members_of(run, won)]
    if not kept.has_ended or kept.result.members != wanted:
        return None
    judged: dict[str, Evaluated | None] = {}
    for role, one in roles.items():
        trained = confirmation.retrained.get(one.id) if one else None
        full = trained and {*confirmation.race.keys} <= {*trained.networks}
        judged[role] = together(run, trained, fair_lambda) if trained and full else None
    bases = {role: judged[role] for role in ("plain", "plain_tuned")}
    judged["recommended"] = evaluate_trial(kept, fair_lambda)
    return {
        role: None if one is None else _full_entry(one, bases, fair_lambda)
        for role, one in judged.items()
    }


def _tuned(confirmation: Confirmation, evaluated: Sequence[Evaluated]) -> Evaluated | None:
    """Return the best of plain and the trials that tuned it; None where none did."""
    plain = [one for one in evaluated if is_plain(one)]
    if all(one.result.recipe == "plain" for one in plain):
        return None
    return confirmation.best_of({one.id for one in plain}) or select_best(plain)


def _claim(
    config: Config,
    confirmation: Confirmation,
    evaluated: Sequence[Evaluated],
    baselines: Mapping[str, Evaluated | None],
) -> Claim | None:
    """Return what the verdict is of: the best of the search's own trials against the baseline."""
    role, base = next(
        ((role, baselines[role]) for role in AGAINST if baselines.get(role)), ("", None)
    )
    known = {one.id for one in baselines.values() if one}
    others = [one for one in evaluated if one.id not in known and not is_plain(one)]
    ids = {one.id for one in others}
    order = ranked(evaluated, config.sweep.may_lose)
    challenger = confirmation.best_of(ids) or next((o for o in order if o.id in ids), None)
    if base is None or challenger is None:
        return None
    faces = {split: one.label.size for split, one in challenger.rows.items()}
    changes = confirmation.changes(challenger.id, base.id) if confirmation.winner else None
    if changes is None:
        single = Change(**_change(challenger, "fixed", base, config.fair_lambda))
        return Claim(challenger.id, role, {"test": single}, {"test": faces["test"]})
    faces["val"] = confirmation.faces(challenger.id)
    return Claim(challenger.id, role, changes, faces)


def _optimism(searched: Evaluated | None, confirmed: Mapping[str, Any] | None) -> float | None:
    """Say how much the search flattered its best: on its faces less on those of the folds."""
    if searched is None or confirmed is None or searched.id not in confirmed["trials"]:
        return None
    pooled: float = confirmed["trials"][searched.id]["val"]["fair"]
    return searched.judged["fixed"].val.fair - pooled


def _full_entry(one: Evaluated, bases: Bases, fair_lambda: float) -> dict[str, Any]:
    """Say all about one trial at 0.5, and what other thresholds change about it on test."""
    others: tuple[Kind, Kind] = ("shared", "by_gender")
    entry = _entry(one, "fixed", bases, fair_lambda)
    for split, rows in one.rows.items():
        predicted = one.judged["fixed"].predicted[split]
        entry[split]["rates"] = rates(rows.label, rows.logit, rows.gender, predicted)
    return entry | {
        "thresholds": {
            kind: _judged(one, kind, fair_lambda)
            | {"change_vs_fixed": _change(one, kind, one, fair_lambda)}
            for kind in others
        }
    }


def _entry(one: Evaluated, kind: Kind, bases: Bases, fair_lambda: float) -> dict[str, Any]:
    """Say what one trial is and does; its changes on test are against baselines at 0.5."""
    return {
        "trial_id": one.id,
        "recipe": one.result.recipe,
        "members": max(1, len(one.result.members)),
        "params": dict(one.params),
        **_judged(one, kind, fair_lambda),
        **{
            f"change_vs_{role}": None if base is None else _change(one, kind, base, fair_lambda)
            for role, base in bases.items()
        },
    }


def _judged(one: Evaluated, kind: Kind, fair_lambda: float) -> dict[str, Any]:
    """Give the threshold, or the two by gender, and the metrics on both splits."""
    women, men = one.judged[kind].thresholds
    threshold = (
        {"threshold_women": women, "threshold_men": men}
        if kind == "by_gender"
        else {"threshold": women}
    )
    return threshold | {split: _split_entry(one, kind, split, fair_lambda) for split in EVALUATED}


def _split_entry(one: Evaluated, kind: Kind, split: str, fair_lambda: float) -> dict[str, Any]:
    rows, judged = one.rows[split], one.judged[kind]
    correct, seen = count_correct(rows.label, judged.predicted[split], rows.gender)
    women, men = map(wilson, correct.sum(axis=1), seen.sum(axis=1))
    intervals = {
        "acc_women": women,
        "acc_men": men,
        "fair": of_fair(women, men, fair_lambda),
        "gap": of_gap(women, men),
    }
    ends = {f"{name}_ci95": [float(of.low), float(of.high)] for name, of in intervals.items()}
    return {**asdict(judged.metrics[split]), **ends}


def _change(one: Evaluated, kind: Kind, base: Evaluated, fair_lambda: float) -> dict[str, Any]:
    """Compare on test with another trial, or the same, at threshold 0.5."""
    if one is base and kind == "fixed":
        return asdict(NO_CHANGE)
    label, women = one.rows["test"].label, one.rows["test"].gender == WOMAN
    now, then = one.judged[kind].predicted["test"], base.judged["fixed"].predicted["test"]
    return asdict(paired_change(now == label, then == label, women, fair_lambda))


def _states(run: Run, results: Sequence[TrialResult]) -> dict[str, int]:
    counts = Counter(result.state for result in results)
    begun = len(run.begun())
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


def _empty_strata(run: Run, rows: Mapping[str, Mapping[str, Sequence[int]]]) -> list[str]:
    """Say which strata are empty, also of train where the run recorded its faces."""
    train = run.data.get("counts", {}).get("train")
    known = {"train": {who: (n["0"], n["1"]) for who, n in train.items()}} if train else {}
    return describe_empty(
        {
            split: {
                (GENDERS[who], label): n
                for who, by_class in by_gender.items()
                for label, n in enumerate(by_class)
            }
            for split, by_gender in {**known, **rows}.items()
        }
    )
