"""A sweep from its study to its last retraining, in one process of perhaps several."""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Self

import optuna

from orchestrator.base.errors import InputError
from orchestrator.base.files import (
    children,
    make_folder,
    parse_uri,
    read_bytes,
    write_json,
)
from orchestrator.config.layers import with_overrides
from orchestrator.config.settings import Config
from orchestrator.data.store.store import Store
from orchestrator.distributed.faults import MEND
from orchestrator.distributed.sharing import Shared, SharedData, share_data
from orchestrator.run import progress
from orchestrator.run.claims import part_held
from orchestrator.run.directory import Run
from orchestrator.run.screen import Screen
from orchestrator.run.trial import Trial
from orchestrator.search.expected_cost import cost_of
from orchestrator.search.fit_trials import fit_all, fits_heads
from orchestrator.search.halving import Rungs
from orchestrator.search.keep_ensemble import keep_ensemble
from orchestrator.search.record import WARM
from orchestrator.search.retrain_winners import next_round, words_before
from orchestrator.search.searcher import StudyTrials
from orchestrator.search.space_settings import OWN_SPACE, about_space, space_of
from orchestrator.search.study import open_study, working_on
from orchestrator.search.sweep_limits import EXHAUSTED
from orchestrator.search.tune_trials import retrain
from orchestrator.search.tune_trials import sweep as run_trials
from orchestrator.search.warm_start import WARM_RUNS, warm_start, warm_started
from search_spaces import Space


def _warm_start(
    study: optuna.Study, space: Space, config: Config, run: Run, others: Sequence[str]
) -> list[str]:
    """Take in other runs' trials; those of the beginning once more where the study was lost."""
    if any(WARM in trial.user_attrs for trial in study.get_trials()):
        return []
    known = warm_started(run)
    if others and not known:
        words = [warm_start(study, space, config, run, other) for other in map(Run.open, others)]
        write_json(run.path / WARM_RUNS, [str(parse_uri(other)) for other in others])
        return words
    words = []
    for other in known:
        try:
            words.append(warm_start(study, space, config, run, Run.open(other)))
        except InputError as error:
            words.append(f"what --warm-start took in is lost with the study: {error}")
    return words


def _edited_space(run: Run, config: Config) -> list[str]:
    """Say that the user's own space is another one by now than the run's copy of it."""
    own, theirs = run.path / OWN_SPACE, Path(config.sweep.space).expanduser()
    if not own.exists() or not theirs.is_file() or read_bytes(own) == theirs.read_bytes():
        return []
    return [
        f"{config.sweep.space}: edited since the run began, which goes on with its own copy, "
        f"{own}; for the new one start a new run with another --out"
    ]


class Outcome(NamedTuple):
    """How a session of a sweep ended."""

    done: bool
    """Whether it did what it was asked to; else it was interrupted."""
    why: str | None = None
    """Why trials are left nevertheless."""
    searched: bool = False
    """Whether no trial goes on here or elsewhere, so that there is a front to confirm."""
    faulted: bool = False
    """Whether the machine failed trials, which are left."""

    @classmethod
    def of_faults(cls, faults: Mapping[str, str]) -> "Outcome":
        """Say what the machine failed of, the last time, and that it was none of the trials'."""
        *_, (last, fault) = faults.items()
        others = (
            f" and {len(faults) - 1} more, which count" if len(faults) > 1 else ", which counts"
        )
        why = f"the machine failed {last}{others} as not ended: {fault}; {MEND}"
        return cls(done=True, why=why, faulted=True)


@dataclass
class Sweep:
    """A session of a sweep; while in the context, others know that it is alive."""

    run: Run
    config: Config
    store: Store
    space: Space
    study: optuna.Study
    words: list[str]
    """What there is to say as it begins."""
    _stack: ExitStack = field(default_factory=ExitStack)
    _session: str = ""

    @classmethod
    def open(
        cls, run: Run, config: Config, store: Store, url: str | None, others: Sequence[str]
    ) -> "Sweep":
        """Open or make the study; a new one takes in the trials of other runs.

        Raises
        ------
        InputError
            As `open_study` and `warm_start` do.
        """
        space = space_of(run, config)
        words = _edited_space(run, config)
        if not run.begun():
            words.append(about_space(space, config))
        study = open_study(run, config, space, url, words.append)
        words += _warm_start(study, space, config, run, others)
        return cls(run, config, store, space, study, words)

    def __enter__(self) -> Self:
        self._session = self._stack.enter_context(working_on(self.run))
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def go_on(self, screen: Screen) -> Outcome:
        """Run the trials that are left, and then the retrainings; Ray must run."""
        before = words_before(self.config)
        for word in (*self.store.meta.empty_strata(), *self.words, *([before] if before else [])):
            screen.say(word)
        try:
            data = share_data(self.store, self.config, screen)
            outcome = self._search(data, screen)
            if outcome.searched and self._retrains:
                outcome = self._confirm(outcome, data.splits, screen)
        except KeyboardInterrupt:  # before or after the trials; a search itself ends on it in peace
            return Outcome(done=False)
        return outcome

    def _search(self, data: SharedData, screen: Screen) -> Outcome:
        sweep = self.config.sweep
        rungs = Rungs(self.config.train.epochs, sweep.grace, sweep.reduction)
        begun = progress.begin(
            self.run,
            "sweep",
            sweep.trials,
            self.config.train.epochs,
            time.time(),
            seconds_limit=None if sweep.hours is None else sweep.hours * 3600,
            epochs_limit=sweep.epoch_budget,
            halved_epochs=rungs.mean_epochs if sweep.halving else None,
        )
        trials = StudyTrials(self.study, self.space, self.config, self.run, self._session)
        if trials.remaining:
            size = self.store.meta.image_size
            cost = cost_of(self.run, self.config, size, data.counts, begun)
            screen.say(str(cost))
            begun = begun.model_copy(update={"cost": cost})
        with screen.show(self.run, begun) as display:
            if fits_heads(self.config):
                fit_all(self.config, trials, data.splits, display)
            else:
                run_trials(self.run, self.config, trials, data.splits, display)
            outcome = self._outcome(trials, display.progress.search_seconds(time.time()))
            if not outcome.done or outcome.faulted:
                display.update(display.progress.model_copy(update={"state": "interrupted"}))
        return outcome

    def _outcome(self, trials: StudyTrials, seconds: float) -> Outcome:
        left = trials.remaining
        if not left:
            return Outcome(done=True, searched=True)
        if trials.faults and not trials.interrupted:
            return Outcome.of_faults(trials.faults)
        if elsewhere := trials.elsewhere:
            if left == elsewhere or (trials.enough and not trials.interrupted):
                return Outcome(done=True, why=f"{elsewhere} trials still run in other sessions")
        elif trials.enough and not trials.interrupted:
            more = "; --resume with --set and a larger one goes on"
            why = f"no more trials: {trials.enough}{more * (trials.enough != EXHAUSTED)}"
            return Outcome(done=True, why=why, searched=True)
        hours = self.config.sweep.hours
        if hours is not None and seconds >= hours * 3600:
            why = f"{hours:g} hours are over, and {left} trials left; a larger --hours goes on"
            return Outcome(done=True, why=why, searched=not elsewhere)
        return Outcome(done=False)

    @property
    def _retrains(self) -> bool:
        return bool(self.config.sweep.finalists and self.config.sweep.confirm)

    def _confirm(self, searched: Outcome, shared: Shared, screen: Screen) -> Outcome:
        """Retrain the finalists, unless another session does."""
        make_folder(self.run.confirm_path)
        with part_held(self.run.path, "confirm") as ours:
            if not ours:
                return Outcome(done=True, why="another session retrains what won")
            try:
                stopped = self._retrain(shared, screen)
                if stopped is None:
                    keep_ensemble(self.run, self.config)
                return stopped or searched
            except InputError as error:  # what was found stays found
                return Outcome(done=True, why=f"the finalists cannot be retrained: {error}")

    def _retrain(self, shared: Shared, screen: Screen) -> Outcome | None:
        """Retrain the finalists, round by round; return how that ended before its time."""
        following = next_round(self.run, self.config)
        if following is None:
            return None
        before = progress.read(self.run)
        folders = children(self.run.confirm_path)
        done = [one for at in folders for one in map(Trial, children(at)) if one.has_ended]
        every = [*done, *(one.trial for one in following.assignments)]
        total = len(done) + following.at_most
        begun = progress.begin(
            self.run, "confirm", total, self.config.train.epochs, time.time(), trials=every
        )
        if before:
            begun = begun.model_copy(update={"cost": before.cost})
        with screen.show(self.run, begun) as display:
            while following:
                ended = len(display.progress.ended)
                more = {"trials_total": ended + following.at_most}
                display.update(display.progress.model_copy(update=more))
                data = shared
                if following.fold is not None:
                    folds = self.config.sweep.confirm_folds
                    dealt = {"data.folds": folds, "data.fold": following.fold}
                    config = with_overrides(self.config, dealt)
                    data = share_data(self.store, config, screen).splits
                faults = retrain(self.run, self.config, following.assignments, data, display)
                if not all(one.trial.has_ended for one in following.assignments):
                    display.update(display.progress.model_copy(update={"state": "interrupted"}))
                    return Outcome.of_faults(faults) if faults else Outcome(done=False)
                following = next_round(self.run, self.config)
        return None
