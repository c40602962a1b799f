"""The finalists of a search: who they are, what each is retrained on, and who cannot win any more.

A pure function of the trials and of ``RUN/confirm/<trial>/<name>/``, each with a trial's files, so
that nothing of a race is kept anywhere else: one that was interrupted goes on where it was.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from orchestrator.base.errors import InputError
from orchestrator.base.files import children
from orchestrator.config.settings import Config
from orchestrator.judging.fairness import WOMAN, GroupMetrics, count_correct, metrics_from_counts
from orchestrator.judging.intervals import Limits, fair_change_from
from orchestrator.judging.judge import (
    Evaluated,
    evaluate_trial,
    is_plain,
    score_rank,
    select_front,
    spared,
)
from orchestrator.judging.pooled import Judged, measure
from orchestrator.run.directory import Run
from orchestrator.run.progress import BASELINES
from orchestrator.run.trial import Trial

MARGIN = 2.0
"""How many half-widths of its 95% interval a trial has to be behind to be given up. One network a
trial and fold says nothing of the luck of training, which this leaves room for."""


class Key(NamedTuple):
    """What one retraining is told from another by."""

    seed: int
    fold: int | None
    """The fold of train and val that it is judged by; None: val itself."""


@dataclass(frozen=True)
class Retrained:
    """A trial and its retrainings."""

    trial: Evaluated
    networks: Mapping[Key, Evaluated]
    """The complete ones, by fold and seed."""
    failed: frozenset[Key]

    def judged(
        self, split: str, keys: Sequence[Key], other: "Retrained | None" = None
    ) -> list[Judged]:
        """Return what the networks of some keys got right at 0.5, and the other's of the same.

        Of ``val`` that is a group a fold; ``test`` is the same faces for all.

        Raises
        ------
        InputError
            Two that are to be compared did not judge the same faces.
        """
        by_fold: dict[int | None, list[Key]] = {}
        for key in keys:
            by_fold.setdefault(key.fold if split == "val" else None, []).append(key)
        return [self._group(split, group, other) for group in by_fold.values()]

    def _group(self, split: str, keys: Sequence[Key], other: "Retrained | None") -> Judged:
        ours = [self.networks[key] for key in keys]
        theirs = [other.networks[key] for key in keys] if other else []
        for one in (*ours, *theirs):
            if one.faces[split] != ours[0].faces[split]:
                raise InputError(
                    f"confirm: {one.id} and {ours[0].id} were not judged by the same {split} "
                    "faces, so they cannot be compared; remove one of the two folders"
                )
        women = ours[0].rows[split].gender == WOMAN
        return Judged(women, _right(ours, split), _right(theirs, split) if theirs else None)

    def counts(
        self, split: str, keys: Sequence[Key]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Add up what is right, and all, of women and men by class; each of shape (2, 2)."""
        found = [_counts(self.networks[key], split) for key in keys]
        return sum((right for right, _ in found), _NONE), sum((rows for _, rows in found), _NONE)


_NONE = np.zeros((2, 2), dtype=np.int64)


def _counts(one: Evaluated, split: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    rows = one.rows[split]
    return count_correct(rows.label, one.judged["fixed"].predicted[split], rows.gender)


def _right(networks: Sequence[Evaluated], split: str) -> NDArray[np.bool_]:
    return np.array(
        [one.judged["fixed"].predicted[split] == one.rows[split].label for one in networks]
    )


def finalists(evaluated: Sequence[Evaluated], config: Config) -> list[Evaluated]:
    """Return the baselines and the best of the search by score; with `pareto` the front first.

    The best of those that tuned plain is a baseline, too.
    """
    if not (config.sweep.finalists and config.sweep.confirm):
        return []
    front = select_front(evaluated) if config.sweep.objective == "pareto" else ()
    first = {one.id for one in front}
    searched = [one for one in evaluated if one.result.recipe not in BASELINES]
    ranked = sorted(searched, key=lambda one: (one.id not in first, *score_rank(one)))
    baselines = [one for one in evaluated if one.result.recipe in BASELINES]
    tuned = next(filter(is_plain, sorted(searched, key=score_rank)), None)
    ranked = [one for one in ranked if one is not tuned]
    return [*baselines, *([tuned] if tuned else []), *ranked[: config.sweep.finalists]]


def rounds(config: Config) -> list[list[Key]]:
    """Return what each finalist is retrained on, by round: a fold each, or a seed without folds."""
    seeds = [config.seed + k for k in range(1, config.sweep.confirm + 1)]
    if config.sweep.confirm_folds is None:
        fold = config.data.fold if config.data.folds else None
        return [[Key(seed, fold)] for seed in seeds]
    return [[Key(seed, fold) for seed in seeds] for fold in range(config.sweep.confirm_folds)]


def read_retrained(run: Run, config: Config, evaluated: Sequence[Evaluated]) -> list[Retrained]:
    """Read the retrainings of complete trials, by the trials' ids.

    Those that were dealt into another number of folds are of other faces and are left out; where
    none is to be retrained, the number is that of most.

    Raises
    ------
    InputError
        A retraining's files are damaged, or its test faces are others than the run's.
    """
    found = {one.id: _ended(run, one.id) for one in evaluated}
    folds = config.sweep.confirm_folds or config.data.folds
    dealt = [trial.result.config.data.folds for trials in found.values() for trial in trials]
    if dealt and not finalists(evaluated, config):
        folds = max(dict.fromkeys(dealt), key=dealt.count)
    return [_read(one, found[one.id], folds, config.fair_lambda) for one in evaluated]


def _ended(run: Run, trial_id: str) -> list[Trial]:
    folder = run.confirm_path / trial_id
    trials = list(map(Trial, children(folder)))
    return [trial for trial in trials if trial.has_ended]


def _read(
    one: Evaluated, trials: Sequence[Trial], folds: int | None, fair_lambda: float
) -> Retrained:
    networks, failed = {}, set()
    for trial in trials:
        config = trial.result.config
        if config.data.folds != folds:
            continue
        key = Key(config.seed, config.data.fold if folds else None)
        if trial.result.state != "complete":
            failed.add(key)
            continue
        networks[key] = again = evaluate_trial(trial, fair_lambda)
        # Folds differ in their validation faces; test is the same for all.
        if again.faces["test"] != one.faces["test"]:
            raise InputError(
                f"{trial.path}/predictions.parquet: not the test faces of trial {one.id}, so "
                "it confirms nothing; remove that folder"
            )
    ordered = sorted(networks, key=lambda key: (-1 if key.fold is None else key.fold, key.seed))
    return Retrained(one, {key: networks[key] for key in ordered}, frozenset(failed - {*networks}))


@dataclass(frozen=True)
class Race:
    """How far a race is."""

    left: Sequence[Retrained]
    """Those that are still in it, and the baselines, which others are compared with."""
    out: Mapping[str, str]
    """Why each of the others is not, by id."""
    missing: Mapping[str, Sequence[Key]]
    """What is to be trained next, by id; none: the race has ended."""
    keys: Sequence[Key]
    """What all that are left have behind them."""


def run_race(
    members: Sequence[Retrained],
    course: Sequence[Sequence[Key]],
    finalists: Sequence[str],
    fair_lambda: float,
) -> Race:
    """Say who is left after the rounds that are done, and what is to be trained next.

    After each round those are out whose fair metric of the pooled counts is behind the leader's on
    the same faces by more than chance explains; plain and what tuned it stay, since the change
    against them is the question.

    Parameters
    ----------
    members
        Trials with retrainings, and those that are to have some.
    course
        What each is retrained on, by round.
    finalists
        The ids of those that are retrained now; others have what they have.
    fair_lambda
        The weight of the gap.
    """
    left, done = list(members), list[Key]()
    out: dict[str, str] = {}
    for number, keys in enumerate(course, start=1):
        lacking = {
            one.trial.id: [key for key in keys if key not in {*one.networks, *one.failed}]
            for one in left
        }
        missing = {name: of for name, of in lacking.items() if of and name in finalists}
        if missing:
            return Race(left, out, missing, done)
        for one in left:
            if one.failed & {*keys}:
                out[one.trial.id] = "a retraining failed"
            elif lacking[one.trial.id]:
                out[one.trial.id] = "no finalist of this search"
        left, done = [one for one in left if one.trial.id not in out], [*done, *keys]
        if number < len(course):
            for one in _beaten(left, done, fair_lambda):
                out[one.trial.id] = f"out after round {number} of {len(course)}"
            left = [one for one in left if one.trial.id not in out]
    return Race(left, out, {}, done)


def _beaten(left: Sequence[Retrained], keys: Sequence[Key], fair_lambda: float) -> list[Retrained]:
    """Return those that cannot win any more.

    The leader is one by which nobody loses at all, or it might be passed over in the end and those
    that it beat be missed.
    """
    if not left:
        return []
    leader = order_by_pool(left, keys, fair_lambda, may_lose=0.0)[0]
    found = []
    for one in left:
        if one is leader or is_plain(one.trial):
            continue
        behind = fair_change(one, leader, "val", keys, fair_lambda)
        if behind.value + MARGIN * (behind.high - behind.value) < 0:
            found.append(one)
    return found


def fair_change(
    one: Retrained, other: Retrained, split: str, keys: Sequence[Key], fair_lambda: float
) -> Limits:
    """Return by how much the pooled fair metric of one is above another's, on the same faces."""
    groups = one.judged(split, keys, other)
    return fair_change_from(partial(measure, groups), fair_lambda)


def order_by_pool(
    left: Sequence[Retrained], keys: Sequence[Key], fair_lambda: float, may_lose: float
) -> list[Retrained]:
    """Sort by the highest fair metric of the pooled counts; of equals by the smaller gap.

    Those by which the worse-served gender loses are last: see `orchestrator.judging.judge.spared`.
    Test is not looked at.
    """
    order = sorted(left, key=by_fair(keys, fair_lambda))
    metrics = [pooled_metrics(one, keys, fair_lambda) for one in order]
    return spared(order, metrics, [one for one in order if is_plain(one.trial)], may_lose)


def pooled_metrics(one: Retrained, keys: Sequence[Key], fair_lambda: float) -> GroupMetrics:
    """Return the metrics of what a trial's networks get right of faces that they did not see."""
    return metrics_from_counts(*one.counts("val", keys), fair_lambda)


def by_fair(
    keys: Sequence[Key], fair_lambda: float
) -> Callable[[Retrained], tuple[float, float, str]]:
    """Return what sorts by the highest fair metric of pooled counts, then by gap and id."""

    def rank(one: Retrained) -> tuple[float, float, str]:
        pooled = pooled_metrics(one, keys, fair_lambda)
        return -pooled.fair, pooled.gap, one.trial.id

    return rank
