"""The epochs of a trial as they come: its metrics, TensorBoard's events, and its checkpoint."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Self

import pandas as pd

from orchestrator.base.here import copy_out, folder_here
from orchestrator.run.trial import Trial
from orchestrator.training.checkpoint import Checkpoints
from orchestrator.training.early_stopping import EpochMetrics
from orchestrator.training.events import Events
from orchestrator.training.loop import Training


class EpochRecord:
    """The epochs of a trial: written as they come by the first worker, and gone on with.

    Parameters
    ----------
    trial
        Where to write; its parameters are there.
    training
        Brought to where the trial's checkpoint was, if it has one.
    writes
        Whether this worker writes.
    leaving
        Tells whether the machine is about to be taken away.
    """

    def __init__(
        self, trial: Trial, training: Training, *, writes: bool, leaving: Callable[[], bool]
    ) -> None:
        self._trial, self._training, self._writes = trial, training, writes
        self._leaving = leaving
        self._stack = ExitStack()
        self.checkpoints = Checkpoints(trial.path, training.config)
        self.epochs: list[EpochMetrics] = []
        self._before, self._started = 0.0, time.perf_counter()
        if saved := self.checkpoints.load():
            training.load_state_dict(saved["training"])
            self.epochs = [EpochMetrics.of(epoch) for epoch in saved["epochs"]]
            self._before = saved["seconds"]

    @property
    def seconds(self) -> float:
        """Of training and validation, also before it was interrupted."""
        return self._before + time.perf_counter() - self._started

    def __enter__(self) -> Self:
        if self._writes:
            # Their writer adds to a file, which no object store can.
            self._folder = self._stack.enter_context(folder_here(self._trial.path))
            recipe, params = self._training.config.recipe, self._trial.params
            events = Events(self._folder, recipe, params, len(self.epochs))
            self._events = self._stack.enter_context(events)
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def add(self, metrics: EpochMetrics) -> None:
        """Take an epoch in."""
        self.epochs.append(metrics)
        if not self._writes:
            return
        epochs = [epoch.as_row() for epoch in self.epochs]
        self._trial.write_metrics(pd.DataFrame(epochs))
        self._events.add(metrics, self._training.kept)
        if self._folder != self._trial.path:
            copy_out(self._folder.iterdir(), self._trial.path)
        if self.checkpoints.due() or self._leaving():
            self.checkpoints.write(
                {
                    "training": self._training.state_dict(),
                    "epochs": epochs,
                    "seconds": self.seconds,
                }
            )
