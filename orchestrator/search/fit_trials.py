"""A sweep of fitted heads: trial after trial in this process, where each takes about a second.

Tune's way from one trial to the next takes a good part of that. The trials, their files and what
the study learns of them are the same.
"""

import time

from orchestrator.config.settings import Config
from orchestrator.data.store.arrays import Arrays
from orchestrator.distributed.faults import OWN_FAULTS, MachineError, is_own
from orchestrator.distributed.one_worker import train_alone
from orchestrator.distributed.sharing import Shared
from orchestrator.run.progress import EndedTrial, RunningTrial
from orchestrator.run.screen import ProgressDisplay
from orchestrator.search.searcher import StudyTrials
from orchestrator.training.features.cache import basis
from orchestrator.training.trial import Assignment, run_trial, write_failure


def fits_heads(config: Config) -> bool:
    """Tell whether a sweep's trials, but for its baselines, are fits of a head."""
    return config.train.optimiser == "lbfgs"


def fit_all(config: Config, trials: StudyTrials, shared: Shared, display: ProgressDisplay) -> None:
    """Run the trials that the sweep still lacks, as `orchestrator.search.tune_trials.sweep` does.

    Ctrl-C ends it; the trial that it met is gone on with later.

    Parameters
    ----------
    config
        Of the sweep.
    trials
        Of the run's study.
    shared
        The data, as `share` made it.
    display
        Shows the trials as they begin and end.
    """
    limit, progress = config.sweep.hours, display.progress
    left = None if limit is None else limit * 3600 - progress.search_seconds(progress.started)
    trials.unseen = lambda trial: display.update(display.progress.with_ended(EndedTrial.of(trial)))
    begun = time.monotonic()
    splits = _Splits(shared)
    try:
        while left is None or time.monotonic() - begun < left:
            assignment = trials.next()
            if assignment is None:
                return
            name = assignment.trial.id
            try:
                _run(assignment, splits, display)
            except MachineError as error:  # which says nothing of the trial: --resume goes on
                trials.faults[name] = str(error)
                display.update(display.progress.without(name))
                return
            trials.ended(assignment)
            display.update(display.progress.with_ended(EndedTrial.of(assignment.trial)))
    except KeyboardInterrupt:
        return


class _Splits:
    """The data of trials, read anew only where one has other features than the last."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self._of: tuple[object, ...] | None = None
        self._last: dict[str, Arrays] = {}

    def get(self, config: Config) -> dict[str, Arrays]:
        """Return the splits for a trial, which are those of the last one if they can be."""
        ours = basis(config)
        if not self._last or ours != self._of:
            self._last, self._of = self.shared.get(config), ours
        return self._last


def _run(assignment: Assignment, splits: _Splits, display: ProgressDisplay) -> None:
    """Fit a head here; a baseline that is none, as the published recipe, in its own process."""
    config, trial = assignment.config, assignment.trial
    if trial.has_ended:  # and its session was killed before the study heard so
        return
    running = RunningTrial(trial_id=trial.id, epochs=config.train.epochs)
    display.update(display.progress.with_running(running))
    try:
        if fits_heads(config):
            run_trial(assignment, splits.get(config))
        else:
            train_alone(assignment, splits.shared, display.say)
    except OWN_FAULTS as error:
        if not is_own(error):
            raise
        write_failure(assignment, str(error))
