"""Which trial comes next: what the study suggests, and what earlier sessions left."""

from collections.abc import Callable
from typing import Any

import optuna
from optuna.trial import TrialState
from typing_extensions import override

from orchestrator.base.errors import InputError
from orchestrator.config.layers import with_recipe
from orchestrator.config.settings import Config
from orchestrator.run.claims import part_held
from orchestrator.run.directory import Run
from orchestrator.run.progress import BASELINES, EndedTrial
from orchestrator.run.trial import Trial, in_order_of_ending
from orchestrator.search.record import ENDED, RECIPE, REPEAT, SESSION, is_numbered, own, tell
from orchestrator.search.space_settings import suggested
from orchestrator.search.study import is_alive
from orchestrator.search.sweep_limits import EXHAUSTED, MOST_REPEATS, why_enough
from orchestrator.search.trials import Trials
from orchestrator.training.trial import Assignment, write_failure
from search_spaces import Space

MODEL_REPEATS = 5
"""Suggestions that repeat others before some are drawn at random: a model may insist on its own."""


class StudyTrials(Trials):
    """Asks the study for trials until the run has as many as it was asked for.

    Those that a session left running when it was killed come first, with the parameters and the
    numbers that they had; what it had no time to tell the study is told from the files.

    Parameters
    ----------
    study, space, config, run
        The sweep's.
    session
        This process's name among those that work on the run.
    """

    def __init__(
        self, study: optuna.Study, space: Space, config: Config, run: Run, session: str
    ) -> None:
        super().__init__()
        self._study, self._space, self._config, self._run = study, space, config, run
        self._session = session
        self._numbers: dict[str, int] = {}
        """The study's number of a trial of ours, by the trial's id."""
        self._history: dict[str, EndedTrial] = {}
        """How the trials ended, by id, in the order of ending."""
        self._had: dict[str, str] = {}
        """Which trial has had some settings."""
        for trial in in_order_of_ending(run.ended()):
            self._remember(trial)
        self.enough: str | None = None
        """Why no more trials begin, though not all have ended."""
        self.unseen: Callable[[Trial], None] = lambda _: None
        """Called with each trial that ended and that Tune knows nothing of: in another session, or
        before it began."""
        with part_held(run.path, "study", wait=True):
            self._left_running = self._take_over()

    def __getstate__(self) -> dict[str, Any]:
        """Leave what shows the trials out of Tune's saved state, which nobody reads."""
        return {**super().__getstate__(), "unseen": None}

    @property
    def remaining(self) -> int:
        """How many trials are left to end."""
        ended = self._study.get_trials(deepcopy=False, states=ENDED)
        return max(0, self._config.sweep.trials - sum(map(own, ended)))

    @property
    def interrupted(self) -> int:
        """How many trials of ours were interrupted, once Tune has ended."""
        left = 0 if self.faults else len(self._left_running)
        return len(self._numbers) - len(self.faults) + left

    @property
    def elsewhere(self) -> int:
        """How many trials other sessions, which are alive, are at."""
        running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return sum(self._is_elsewhere(trial) for trial in running)

    @override
    def next(self) -> Assignment | None:
        if self._left_running:
            trial = self._left_running.pop(0)
            return self._assign(trial) or self.next()
        repeats = 0
        while repeats < MOST_REPEATS:
            self._catch_up()
            self.enough = why_enough(self._config.sweep, list(self._history.values()))
            if self.enough:
                return None
            with part_held(self._run.path, "study", wait=True):  # others that ask must see this one
                begun = sum(own(trial) for trial in self._study.get_trials(deepcopy=False))
                if begun >= self._config.sweep.trials:
                    return None
                if (fixed := self._space.untuned_plain) is not None and self._tunes_plain(begun):
                    self._study.enqueue_trial(fixed)  # the sampler suggests the rest
                assignment = self._ask(at_random=repeats >= MODEL_REPEATS)
                repeated = assignment is not None and self._passed_over(assignment)
            if assignment and not repeated:
                return assignment
            repeats = repeats + 1 if repeated else 0
        self.enough = EXHAUSTED
        return None

    def _tunes_plain(self, begun: int) -> bool:
        """Tell whether the trial after so many is one that tunes plain."""
        share, number = self._config.sweep.plain_share, begun - len(BASELINES)
        waiting = self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        return number >= 0 and not waiting and int((number + 1) * share) > int(number * share)

    def _ask(self, *, at_random: bool) -> Assignment | None:
        """Ask the study for a trial; None where the space gives no such one."""
        sampler = self._study.sampler
        if at_random:
            seed = (self._config.seed + len(self._study.get_trials(deepcopy=False))) % 2**32
            self._study.sampler = optuna.samplers.RandomSampler(seed=seed)
        try:
            trial = self._study.ask()
            trial.set_user_attr(SESSION, self._session)
            return self._assign(trial)
        finally:
            self._study.sampler = sampler

    def _passed_over(self, assignment: Assignment) -> bool:
        """Leave a trial out whose settings another has had: it would end with the same bytes.

        It is none of the sweep's trials then, and the study learns nothing of it. Only a new one
        can be, or those after it would change their numbers.
        """
        name = assignment.trial.id
        other, number = self._had[_settings(assignment.config)], self._numbers[name]
        frozen = self._study.get_trials(deepcopy=False)[number:]
        if other == name or len(frozen) > 1 or RECIPE in frozen[0].user_attrs:
            return False
        del self._numbers[name]
        optuna.Trial(self._study, frozen[0]._trial_id).set_user_attr(REPEAT, other)
        self._study.tell(number, state=TrialState.FAIL)
        return True

    def _remember(self, trial: Trial) -> None:
        """Take note of how a trial ended."""
        self._history[trial.id] = EndedTrial.of(trial)
        settings = _settings(trial.result.config)
        if trial.result.state != "failed":
            self._had.setdefault(settings, trial.id)
        elif self._had.get(settings) == trial.id:  # it may have been the machine's fault
            del self._had[settings]

    @override
    def ended(self, assignment: Assignment) -> None:
        number = self._numbers.pop(assignment.trial.id, None)
        if number is None:  # Tune says it twice of one that died
            return
        tell(self._study, number, assignment.trial, self._config)
        self._remember(assignment.trial)

    def _catch_up(self) -> None:
        """Take note of the trials that other sessions have ended."""
        if not self._run.is_joint:
            return
        unknown = [trial for trial in self._run.ended() if trial.id not in self._history]
        for trial in in_order_of_ending(unknown):
            if trial.id not in self._numbers:  # of ours, Tune will say so
                self._remember(trial)
                self.unseen(trial)

    def _take_over(self) -> list[optuna.Trial]:
        """Return the trials that sessions left behind; tell the study of those that had ended."""
        left = []
        for frozen in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if self._is_elsewhere(frozen):
                continue
            if not is_numbered(frozen):  # killed as it left a repeated one out
                self._study.tell(frozen.number, state=TrialState.FAIL)
                continue
            trial = self._run.trial(self._id(frozen.number))
            if trial.has_ended:
                tell(self._study, frozen.number, trial, self._config)
                continue
            taken = optuna.Trial(self._study, frozen._trial_id)
            taken.set_user_attr(SESSION, self._session)
            left.append(taken)
        return left

    def _is_elsewhere(self, trial: optuna.trial.FrozenTrial) -> bool:
        session = trial.user_attrs.get(SESSION, "")
        others = self._run.is_joint and session not in ("", self._session)
        return others and is_alive(self._run, session)

    def _assign(self, trial: optuna.Trial) -> Assignment | None:
        """Turn a trial of the study into one of ours; None where the space gives no such one."""
        trial_id = self._id(trial.number)
        self._numbers[trial_id] = trial.number
        recipe = trial.user_attrs.get(RECIPE)
        config = self._config
        try:
            if recipe is None or recipe in self._space.points:  # so that the study learns from it
                config = suggested(self._space, config, trial)
            if recipe is not None:
                config = with_recipe(config, recipe)
        except InputError as error:
            failed = Assignment(self._run.trial(trial_id), self._config, trial.params)
            write_failure(failed, str(error))
            self.ended(failed)
            self.unseen(failed.trial)
            return None
        self._had.setdefault(_settings(config), trial_id)
        return Assignment(self._run.trial(trial_id), config, trial.params)

    def _id(self, number: int) -> str:
        """Return the name of a trial: its place among the sweep's own."""
        before = self._study.get_trials(deepcopy=False)[:number]
        return f"t{sum(map(is_numbered, before)):03d}"


def _settings(config: Config) -> str:
    """Return what decides a trial's result, given the data, as a key."""
    return config.model_dump_json(exclude={"recipe", "resources", "sweep"})
