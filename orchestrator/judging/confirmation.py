"""What the retraining of the finalists came to: pooled figures of each, and the winner.

Every figure is of pooled counts: each face of train and val is judged by networks that were not
trained on it, what they get right is added up, and the metrics are computed once.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property, partial
from typing import Any

from orchestrator.config.settings import Config
from orchestrator.judging.fairness import metrics_from_counts
from orchestrator.judging.intervals import Limits, fair_from, folded
from orchestrator.judging.judge import Evaluated, PassedOver, is_plain
from orchestrator.judging.paired_change import NO_CHANGE, Change, change_of
from orchestrator.judging.pooled import measure, worse_served
from orchestrator.judging.race import (
    Key,
    Race,
    Retrained,
    by_fair,
    finalists,
    order_by_pool,
    pooled_metrics,
    read_retrained,
    rounds,
    run_race,
)
from orchestrator.run.directory import Run
from orchestrator.run.trial import EVALUATED

WOMEN, MEN, NOBODY = (1.0, 0.0), (1.0, 0.0), (0.0, 0.0)


class Confirmation:
    """The finalists of a run and their retrainings.

    Parameters
    ----------
    run, evaluated
        The run and its complete trials.
    config
        How many finalists, seeds and folds; by default the run's own.

    Raises
    ------
    InputError
        As `orchestrator.judging.race.read_retrained` does.
    """

    def __init__(
        self, run: Run, evaluated: Sequence[Evaluated], config: Config | None = None
    ) -> None:
        config = config or run.config
        self._lambda, self._may_lose = config.fair_lambda, config.sweep.may_lose
        wanted = {one.id for one in finalists(evaluated, config)}
        every = read_retrained(run, config, evaluated)
        self.retrained = {one.trial.id: one for one in every if one.networks or one.failed}
        members = [one for one in every if one.trial.id in wanted or one.trial.id in self.retrained]
        course = rounds(config) if wanted else _as_it_was(list(self.retrained.values()))
        self.wanted = frozenset(wanted)
        """The ids of those that are to be retrained."""
        self.course = course
        self.race: Race = run_race(members, course, sorted(wanted), self._lambda)

    @cached_property
    def order(self) -> list[Retrained]:
        """Those that are left, the best by pooled counts first; none until the race has ended."""
        if self.race.missing or not self.race.keys:
            return []
        return order_by_pool(self.race.left, self.race.keys, self._lambda, self._may_lose)

    @property
    def winner(self) -> Retrained | None:
        """The best, once the race has ended."""
        return next(iter(self.order), None)

    def best_of(self, ids: Container[str]) -> Evaluated | None:
        """Return the best of some, once the race has ended."""
        return next((one.trial for one in self.order if one.trial.id in ids), None)

    @property
    def passed_over(self) -> PassedOver | None:
        """The one with the highest fair metric, where it did not win."""
        first = min(self.order, key=by_fair(self.race.keys, self._lambda), default=None)
        if first is None or first is self.winner:
            return None
        plain = max((one for one in self.order if is_plain(one.trial)), key=self._worst)
        served = worse_served(first.judged("val", self.race.keys, plain))
        fair = pooled_metrics(first, self.race.keys, self._lambda).fair
        return PassedOver(first.trial.id, fair, plain.trial.id, served)

    def _worst(self, one: Retrained) -> float:
        return pooled_metrics(one, self.race.keys, self._lambda).worst_gender

    def changes(self, one_id: str, other_id: str) -> dict[str, Change] | None:
        """Compare trials on the same faces, by split; None where they were not retrained on any."""
        one, other = self.retrained.get(one_id), self.retrained.get(other_id)
        if one is None or other is None:
            return None
        if one is other:
            return dict.fromkeys(EVALUATED, NO_CHANGE) if one.networks else None
        keys = [key for key in one.networks if key in other.networks]
        if not keys:
            return None
        return {
            split: change_of(one.judged(split, keys, other), self._lambda) for split in EVALUATED
        }

    def faces(self, trial_id: str) -> int:
        """Count the validation faces that a trial's networks judged."""
        one = self.retrained[trial_id]
        return sum(group.women.size for group in one.judged("val", list(one.networks)))

    def summary(self, plain: Evaluated | None) -> dict[str, Any] | None:
        """Say what ``summary.json`` holds under ``confirmed``; null when nothing was retrained.

        Returns
        -------
        ``trials`` holds an entry for each retrained trial (see `_entry`); ``best`` is the id of the
        one with the highest fair metric of the pooled counts, null until all have ended; ``out``
        says, by id, why others were given up.
        """
        trained = {name: one for name, one in self.retrained.items() if one.networks}
        if not trained:
            return None
        best = self.winner
        return {
            "best": best.trial.id if best else None,
            "ended": not self.race.missing,
            "out": dict(self.race.out),
            "trials": {name: self._entry(one, plain) for name, one in trained.items()},
        }

    def _entry(self, one: Retrained, plain: Evaluated | None) -> dict[str, Any]:
        """Say all about one trial's retrainings.

        ``val`` are the metrics of the faces that each network was not trained on, of all folds
        together, ``test`` of the same test faces for all; ``change_vs_plain`` compares, by split,
        with plain's networks of the same seeds and folds.
        """
        changes = self.changes(one.trial.id, plain.id) if plain else None
        return {
            "trial_id": one.trial.id,
            "recipe": one.trial.result.recipe,
            "params": dict(one.trial.params),
            "retrainings": [key._asdict() for key in one.networks],
            "failed": [key._asdict() for key in sorted(one.failed, key=str)],
            **{split: self._figures(one, split) for split in EVALUATED},
            "change_vs_plain": changes and {split: asdict(of) for split, of in changes.items()},
        }

    def _figures(self, one: Retrained, split: str) -> dict[str, Any]:
        keys = list(one.networks)
        groups = one.judged(split, keys)
        women = sum(int(group.women.sum()) for group in groups)
        metrics = replace(
            metrics_from_counts(*one.counts(split, keys), self._lambda),
            n_women=women,
            n_men=sum(group.women.size for group in groups) - women,
        )
        intervals = {
            "acc_women": measure(groups, WOMEN, NOBODY),
            "acc_men": measure(groups, NOBODY, MEN),
            "fair": fair_from(partial(measure, groups), self._lambda),
            "gap": folded(measure(groups, WOMEN, (-1.0, 0.0))),
        }
        least = {"fair": -self._lambda}
        return asdict(metrics) | {
            f"{name}_ci95": [max(low, least.get(name, 0.0)), min(high, 1.0)]  # few folds say little
            for name, (low, high) in ((name, ends(of)) for name, of in intervals.items())
        }


def _as_it_was(retrained: Sequence[Retrained]) -> list[list[Key]]:
    """Return, by fold or seed, what trials were retrained on that are not retrained any more."""
    keys = {key for one in retrained for key in {*one.networks, *one.failed}}
    by_round: dict[int, list[Key]] = {}
    for key in sorted(keys, key=lambda key: (key.seed, -1 if key.fold is None else key.fold)):
        by_round.setdefault(key.seed if key.fold is None else key.fold, []).append(key)
    return [by_round[number] for number in sorted(by_round)]


def ends(of: Limits) -> list[float]:
    """Return an interval as a file has it."""
    return [float(of.low), float(of.high)]


def trained_on(entry: Mapping[str, Any]) -> str:
    """Say on how many seeds and folds an entry's networks were trained."""
    seeds, folds = ({one[key] for one in entry["retrainings"]} for key in ("seed", "fold"))
    parts = [f"{len(seeds)} new seed{'s' * (len(seeds) > 1)}"]
    if None not in folds:
        parts.insert(0, f"{len(folds)} fold{'s' * (len(folds) > 1)}")
    text = " and ".join(parts)
    trained, failed = len(entry["retrainings"]), len(entry["failed"])
    if trained != len(seeds) * len(folds):  # not each seed on each fold
        text += f" ({trained} trainings)"
    return text + (f", {failed} of which failed" if failed else "")
