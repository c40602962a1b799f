"""Ray Tune around the training loop: many trials, one shared copy of the data.

A trial on one device runs the loop straight in a Tune actor that later trials reuse; a trial of
several workers starts a `TorchTrainer` (docs/decisions.md has the measured reason).
"""

import os
from collections.abc import Mapping
from typing import Any

import ray
import torch
from ray import tune
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.integration.ray_train import TuneReportCallback
from typing_extensions import override

from orchestrator.config import Config
from orchestrator.display import Display
from orchestrator.progress import EndedTrial, RunningTrial, Score
from orchestrator.runs import Run
from orchestrator.study import StudySearch, open_study
from orchestrator.trainer import Shared, report_row, train_on_workers
from orchestrator.trial import Assignment, run_trial, write_failure
from search_spaces import Space

MOST_CPU_TRIALS = 4


def sweep(
    run: Run,
    config: Config,
    space: Space,
    shared: Shared,
    display: Display,
) -> bool:
    """Run the trials that the sweep still lacks; return whether all of them ended.

    One Ctrl-C stops the running trials, keeps what finished, and returns False.

    Parameters
    ----------
    run
        The run directory; it holds the study.
    config
        ``config.sweep.trials`` counts those of earlier sessions too.
    space
        What the trials vary.
    shared
        The data, as `share` made it.
    display
        Shows the trials as they run and end.
    """
    search = StudySearch(open_study(run, config, space), space, config, run)
    if not search.remaining:
        return True
    resources, concurrent = plan(config, ray.cluster_resources())
    # The trial writes its own metrics and events; Tune's would repeat them.
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    tune.Tuner(
        tune.with_resources(tune.with_parameters(_tune_trial, shared=shared), resources),
        tune_config=tune.TuneConfig(
            search_alg=search,
            num_samples=search.remaining,
            max_concurrent_trials=concurrent,
            trial_dirname_creator=lambda trial: trial.trial_id,
            reuse_actors=True,  # a new actor costs seconds of imports
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(run.logs_path),
            callbacks=[_Follower(search, display)],
            verbose=0,
        ),
    ).fit()
    if search.remaining:
        display.update(display.progress.model_copy(update={"state": "interrupted"}))
    return not search.remaining


def plan(config: Config, cluster: Mapping[str, float]) -> tuple[dict[str, float], int]:
    """Choose what a trial reserves and how many run at a time.

    One trial a GPU; on CPUs one a core, since two trials of one thread train 1.14 times as many
    images as one of two (benchmarks/concurrency.py), but few enough for the search to learn.
    """
    cpus, gpus = int(cluster.get("CPU", 1)), int(cluster.get("GPU", 0))
    wanted = config.sweep.concurrent
    if config.workers > 1:  # the workers reserve devices themselves; their trial must take none
        concurrent = wanted or max(1, (gpus or cpus) // config.workers)
        return {"memory": 1}, concurrent  # Tune wants something to be reserved
    if gpus:
        concurrent = wanted or gpus
        share_of_gpu = min(1.0, gpus / concurrent)
        return {"CPU": max(1, cpus // concurrent), "GPU": share_of_gpu}, concurrent
    concurrent = min(wanted or MOST_CPU_TRIALS, cpus)
    return {"CPU": cpus // concurrent}, concurrent


class _Follower(tune.Callback):
    """Shows the trials as they run and end, and writes down why one failed."""

    def __init__(self, search: StudySearch, display: Display) -> None:
        self._assignments, self._display = search.assignments, display

    def __getstate__(self) -> dict[str, Any]:
        """Leave the display out of Tune's saved state, which is not what a resumed sweep reads."""
        return {}

    @override
    def on_trial_start(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any
    ) -> None:
        self._running(trial, epoch=0)

    @override
    def on_trial_result(
        self,
        iteration: int,
        trials: list[TuneTrial],
        trial: TuneTrial,
        result: dict[str, Any],
        **info: Any,
    ) -> None:
        self._running(
            trial,
            epoch=result["epoch"],
            score=Score.of(result["kept"]),
            images_per_second=result["images_per_second"],
        )

    @override
    def on_trial_complete(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any
    ) -> None:
        self._ended(trial)

    @override
    def on_trial_error(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any
    ) -> None:
        assignment = self._assignments[trial.trial_id]
        if not assignment.trial.has_ended:  # what failed in Python has said so itself
            write_failure(assignment, "the trial's process died; it may have run out of memory")
        self._ended(trial)

    def _running(self, trial: TuneTrial, **state: Any) -> None:
        assignment = self._assignments[trial.trial_id]
        running = RunningTrial(
            trial_id=assignment.trial.id, epochs=assignment.config.train.epochs, **state
        )
        self._display.update(self._display.progress.with_running(running))

    def _ended(self, trial: TuneTrial) -> None:
        ended = EndedTrial.of(self._assignments[trial.trial_id].trial)
        self._display.update(self._display.progress.with_ended(ended))


def _tune_trial(config: dict[str, Any], shared: Shared) -> None:
    assignment = Assignment.unpack(config)
    try:
        if assignment.config.workers > 1:
            train_on_workers(assignment, shared, [TuneReportCallback()])
        else:
            _run_here(assignment, shared)
    except Exception as error:
        write_failure(assignment, f"{type(error).__name__}: {error}")
        raise


def _run_here(assignment: Assignment, shared: Shared) -> None:
    torch.set_num_threads(int(tune.get_context().get_trial_resources().head_cpus))
    data = shared.get(assignment.config)
    run_trial(assignment, data, lambda metrics, kept: tune.report(report_row(metrics, kept)))
