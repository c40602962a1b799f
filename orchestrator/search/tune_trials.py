"""Ray Tune around the training loop: many trials, one shared copy of the data.

A trial on one device runs the loop straight in a Tune actor that later trials reuse; a trial of
several workers starts a `TorchTrainer` (docs/decisions.md has the measured reason).
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ray import cloudpickle, tune
from ray.tune.experiment import Trial as TuneTrial
from typing_extensions import override

from orchestrator.base.here import folder_here
from orchestrator.config.settings import Config
from orchestrator.distributed import devices
from orchestrator.distributed.devices import Node
from orchestrator.distributed.faults import fault_of
from orchestrator.distributed.sharing import Shared
from orchestrator.run.directory import Run
from orchestrator.run.progress import EndedTrial, RunningTrial, Score
from orchestrator.run.screen import ProgressDisplay
from orchestrator.run.trial import Trial
from orchestrator.search.halving import Halving, Rungs, restore
from orchestrator.search.halving_scheduler import HalvingScheduler
from orchestrator.search.killed_for_memory import taken_for_dead
from orchestrator.search.record import OBJECTIVES
from orchestrator.search.searcher import StudyTrials
from orchestrator.search.train_trial import train_trial
from orchestrator.search.trials import ListedTrials, Trials
from orchestrator.training.trial import Assignment

MOST_CPU_TRIALS = 4
LOW = "its process was ended, since its machine was low on memory"


def sweep(
    run: Run, config: Config, trials: StudyTrials, shared: Shared, display: ProgressDisplay
) -> None:
    """Run the trials that the sweep still lacks, until they have ended or it has had enough.

    One Ctrl-C stops the running trials and keeps what finished; what did not is resumed later.

    Parameters
    ----------
    run
        The run directory.
    config
        ``config.sweep.trials`` counts those of earlier sessions too.
    trials
        Of the run's study.
    shared
        The data, as `share` made it.
    display
        Shows the trials as they run and end.
    """
    if not trials.remaining:
        return
    scheduler, halving, seconds = None, None, None
    if config.sweep.halving:
        rungs = Rungs(config.train.epochs, config.sweep.grace, config.sweep.reduction)
        halving = Halving(OBJECTIVES[config.sweep.objective], rungs)
        restore(run, halving)
        scheduler = HalvingScheduler(halving, trials.assignments)
        trials.stopped = scheduler.stopped
    trials.unseen = lambda trial: _take_in(trial, display, halving)
    if config.sweep.hours is not None:
        progress = display.progress
        seconds = config.sweep.hours * 3600 - progress.search_seconds(progress.started)
        if seconds <= 0:
            return
    more = {"scheduler": scheduler, "num_samples": trials.remaining, "time_budget_s": seconds}
    _run(run, config, trials, shared, display, **more)


def _take_in(trial: Trial, display: ProgressDisplay, halving: Halving | None) -> None:
    """Show a trial that Tune knows nothing of, and have others compared with it."""
    display.update(display.progress.with_ended(EndedTrial.of(trial)))
    if halving:
        halving.recall(trial, trial.result.config)


def retrain(
    run: Run,
    config: Config,
    assignments: Sequence[Assignment],
    shared: Shared,
    display: ProgressDisplay,
) -> dict[str, str]:
    """Train given trials, but for those that have ended; return what the machine failed of."""
    listed = ListedTrials(assignments)
    if listed.left:
        _run(run, config, listed, shared, display, num_samples=listed.left)
    return listed.faults


def _run(
    run: Run,
    config: Config,
    trials: Trials,
    shared: Shared,
    display: ProgressDisplay,
    **more: Any,
) -> None:
    """Have Tune run trials; `more` goes into its configuration."""
    resources = plan(config, devices.nodes())
    trials.limit = lambda: at_a_time(config, resources, devices.nodes())  # which may join
    # As many as that may wait for their nodes: it is what an autoscaler brings them for.
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(config.sweep.trials)
    # The trial writes its own metrics and events; Tune's would repeat them.
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    tune_config = tune.TuneConfig(
        search_alg=trials,
        trial_dirname_creator=lambda trial: trial.trial_id,
        # A new actor costs seconds of imports. That of several workers waits for them in Ray
        # Train, never hears that it was stopped, and would fail the next trial.
        reuse_actors=config.workers == 1,
        **more,
    )
    with folder_here(run.logs_path) as folder, taken_for_dead():
        tune.Tuner(
            tune.with_resources(tune.with_parameters(train_trial, shared=shared), resources),
            tune_config=tune_config,
            run_config=tune.RunConfig(
                name="tune",
                storage_path=str(folder),  # of which we read nothing
                # A trial whose process died goes on from its checkpoint.
                failure_config=tune.FailureConfig(max_failures=config.train.max_failures),
                callbacks=[_Follower(trials, display)],
                verbose=0,
            ),
        ).fit()


def plan(config: Config, nodes: Sequence[Node]) -> dict[str, float]:
    """Choose what a trial reserves.

    One trial a GPU; on CPUs one a core, since two trials of one thread train 1.14 times as many
    images as one of two (benchmarks/concurrency.py), but few enough for the search to learn.
    """
    if config.workers > 1:  # the workers reserve devices themselves; their trial must take none
        return {"memory": 1}  # Tune wants something to be reserved
    there = devices.training_nodes(nodes, config.resources)
    cpus, gpus = sum(node.cpus for node in there), sum(node.gpus for node in there)
    processes = config.sweep.concurrent or gpus or _on_cpus(there)
    return devices.share(nodes, config.resources, processes if gpus else min(processes, cpus))


def at_a_time(config: Config, each: Mapping[str, float], nodes: Sequence[Node]) -> int:
    """Choose how many trials, of which each reserves so much, run at a time on the nodes there are.

    As many as there is room for, but on CPUs few enough for the search to learn, unless it was
    said how many CPUs a trial takes. Those that ``sweep.concurrent`` asks for may wait for nodes.
    """
    wanted, most = config.resources, config.sweep.concurrent
    there = devices.training_nodes(nodes, wanted)
    if config.workers > 1:
        gpus, cpus = sum(node.gpus for node in there), sum(node.cpus for node in there)
        return most or max(1, (gpus or cpus) // config.workers)
    if most and wanted.asked and devices.may_grow():
        return most
    fit = max(1, devices.room(nodes, wanted, each))
    if most or "GPU" in each or wanted.cpus:
        return min(most or fit, fit)
    return min(_on_cpus(there), fit)


def _on_cpus(nodes: Sequence[Node]) -> int:
    """Return how many trials are few enough to learn from; one a node, since none has two."""
    return max(MOST_CPU_TRIALS, len(nodes))


class _Follower(tune.Callback):
    """Shows the trials as they run and end."""

    def __init__(self, trials: Trials, display: ProgressDisplay) -> None:
        self._trials, self._display = trials, display

    def __getstate__(self) -> dict[str, Any]:
        """Leave the display out of Tune's saved state, which is not what a resumed sweep reads."""
        return {}

    @override
    def on_trial_start(self, iteration: int, trials: Any, trial: TuneTrial, **info: Any) -> None:
        self._running(trial, epoch=0)

    @override
    def on_trial_recover(self, iteration: int, trials: Any, trial: TuneTrial, **info: Any) -> None:
        name = self._trials.assignments[trial.trial_id].trial.id
        error = _error_of(trial)
        why = fault_of(error) or (LOW if "low on memory" in str(error) else "its process died")
        self._display.say(f"{name}: {why}; it goes on from its checkpoint")

    @override
    def on_trial_result(
        self, iteration: int, trials: Any, trial: TuneTrial, result: dict[str, Any], **info: Any
    ) -> None:
        if "epoch" in result:  # not when the trial failed before its first
            self._running(
                trial,
                epoch=result["epoch"],
                score=Score.of(result["kept"]),
                images_per_second=result["images_per_second"],
            )

    @override
    def on_trial_complete(self, iteration: int, trials: Any, trial: TuneTrial, **info: Any) -> None:
        self._ended(self._trials.settle(trial.trial_id))

    @override
    def on_trial_error(self, iteration: int, trials: Any, trial: TuneTrial, **info: Any) -> None:
        assignment = self._trials.failed(trial.trial_id, _error_of(trial))
        self._ended(assignment)
        if fault := self._trials.faults.get(assignment.trial.id):
            self._display.update(self._display.progress.without(assignment.trial.id))
            self._display.say(f"{assignment.trial.id}: {fault}; it is left for --resume")

    def _running(self, trial: TuneTrial, **state: Any) -> None:
        assignment = self._trials.assignments[trial.trial_id]
        running = RunningTrial(
            trial_id=assignment.trial.id, epochs=assignment.config.train.epochs, **state
        )
        self._display.update(self._display.progress.with_running(running))

    def _ended(self, assignment: Assignment) -> None:
        if assignment.trial.has_ended:  # else it was interrupted
            ended = EndedTrial.of(assignment.trial)
            self._display.update(self._display.progress.with_ended(ended))


def _error_of(trial: TuneTrial) -> BaseException | None:
    """Return what a trial ended with, the last time; its callbacks are not told."""
    with suppress(Exception):  # whatever its reader stumbles on
        content = Path(trial.pickled_error_file).read_bytes()
        error: BaseException = cloudpickle.loads(content)
        return error
    return None
