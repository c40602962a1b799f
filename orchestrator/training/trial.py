"""One trial, from its configuration to its files; runs anywhere, unaware of Ray.

With `torch.distributed` initialised every worker calls `run_trial`, and the first one writes.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

import models
from orchestrator.base.files import parse_uri
from orchestrator.base.here import copy_out, folder_here
from orchestrator.config.settings import Config
from orchestrator.data.store.arrays import Arrays
from orchestrator.run.trial import EVALUATED, State, Trial, TrialResult
from orchestrator.training.checkpoint import FILE as CHECKPOINT
from orchestrator.training.early_stopping import EpochMetrics, kept_so_far
from orchestrator.training.epoch_record import EpochRecord
from orchestrator.training.events import Events
from orchestrator.training.fitted_head import fit_head
from orchestrator.training.inference import computed_in, pick_device, rank_and_world
from orchestrator.training.loop import Training, TrainingError
from orchestrator.training.model_file import save_model

Leaving = Callable[[], bool]
"""Tells whether the machine is about to be taken away."""

Report = Callable[[EpochMetrics, EpochMetrics], None]
"""Called after each epoch with its metrics and those of the epoch kept so far."""


def report_row(metrics: EpochMetrics, kept: EpochMetrics) -> dict[str, Any]:
    """Return what a trial reports of an epoch; ``kept`` is of the epoch kept so far."""
    return {**asdict(metrics), "kept": {**asdict(kept), "mean_accuracy": kept.mean_accuracy}}


@dataclass(frozen=True)
class Assignment:
    """What one trial is asked to do, and where it leaves its files."""

    trial: Trial
    config: Config
    params: Mapping[str, Any]
    """The searched parameters, as Optuna names them."""

    def pack(self) -> dict[str, Any]:
        """Turn it into plain values, as Ray likes its configurations."""
        return {
            "path": str(self.trial.path),
            "config": self.config.model_dump(),
            "params": dict(self.params),
        }

    @classmethod
    def unpack(cls, packed: Mapping[str, Any]) -> "Assignment":
        """Turn what `pack` made back into an assignment."""
        config = Config.model_validate(packed["config"])
        return cls(Trial(parse_uri(packed["path"])), config, packed["params"])


def run_trial(
    assignment: Assignment,
    data: Mapping[str, Arrays],
    report: Report | None = None,
    leaving: Leaving = lambda: False,
) -> None:
    """Train, evaluate val and test once, and write the trial's files; ``result.json`` comes last.

    A trial that was interrupted goes on from its checkpoint, and ends as it would have ended.

    Parameters
    ----------
    assignment
        The trial.
    data
        The arrays of the splits train, val and test.
    report
        Called after every epoch, on every worker.
    leaving
        Asked after every epoch; then a checkpoint is written, however young the last one is.

    Raises
    ------
    TrainingError
        The loss is no number any more, or the memory of the device is too small.
    """
    with _naming_memory(assignment.config):
        if assignment.config.train.optimiser == "lbfgs":
            _fit_trial(assignment, data, report)
        else:
            _run_trial(assignment, data, report, leaving)


def _run_trial(
    assignment: Assignment, data: Mapping[str, Arrays], report: Report | None, leaving: Leaving
) -> None:
    config, trial = assignment.config, assignment.trial
    torch.manual_seed(config.seed)  # the same initial weights on every worker and in every trial
    image_size = data["train"].images.shape[1]
    model = models.build(config.model, image_size)
    training = Training(config, model, data["train"], data["val"])
    if first := rank_and_world()[0] == 0:
        trial.note_start()
        trial.write_params(assignment.params)
    with EpochRecord(trial, training, writes=first, leaving=leaving) as record:
        for metrics in training:
            record.add(metrics)
            if report and training.kept:
                report(metrics, training.kept)
    logits = {"val": training.kept_logit, "test": training.logits(data["test"])}
    if first and training.kept:
        trial.write_predictions(_predictions(data, logits))
        save_model(trial.path, model, config, image_size, training.device)
        _write_complete(assignment, record.epochs, training.kept, record.seconds, training.device)
        record.checkpoints.remove()


def _fit_trial(assignment: Assignment, data: Mapping[str, Arrays], report: Report | None) -> None:
    """Fit the head of a frozen network: one epoch, of all faces together."""
    config, trial = assignment.config, assignment.trial
    trial.note_start()
    trial.write_params(assignment.params)
    started = time.perf_counter()
    fitted = fit_head(config, data)
    trial.write_metrics(pd.DataFrame([fitted.metrics.as_row()]))
    with folder_here(trial.path) as folder:
        with Events(folder, config.recipe, assignment.params) as events:
            events.add(fitted.metrics, fitted.metrics)
        if folder != trial.path:
            copy_out(folder.iterdir(), trial.path)
    trial.write_predictions(_predictions(data, fitted.logits))
    device = torch.device("cpu")
    save_model(trial.path, fitted.model, config, data["train"].images.shape[1], device)
    if report:
        report(fitted.metrics, fitted.metrics)
    seconds = time.perf_counter() - started
    _write_complete(assignment, [fitted.metrics], fitted.metrics, seconds, device)


def _write_complete(
    assignment: Assignment,
    epochs: Sequence[EpochMetrics],
    kept: EpochMetrics,
    seconds: float,
    device: torch.device,
) -> None:
    """Record that a trial is complete."""
    config, trial = assignment.config, assignment.trial
    trial.write_result(
        TrialResult(
            trial_id=trial.id,
            state="complete",
            recipe=config.recipe,
            epochs=len(epochs),
            kept_epoch=kept.epoch,
            seconds=seconds,
            images_per_second=float(np.median([e.images_per_second for e in epochs])),
            device=_device_name(device),
            precision=computed_in(config.train.precision, device),
            restarts=trial.starts - 1,
            config=config,
        )
    )


@contextmanager
def _naming_memory(config: Config) -> Iterator[None]:
    """Say in a line what was too large for the memory."""
    try:
        yield
    except RuntimeError as error:  # which torch.OutOfMemoryError is one of
        # The CPU's allocator has no exception of its own.
        if not (isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)):
            raise
        raise TrainingError(
            f"out of memory on {pick_device()} with model.name={config.model.name} and "
            f"train.batch_size={config.train.batch_size} over {rank_and_world()[1]} workers; lower "
            "train.batch_size or choose a smaller model"
        ) from error


def write_failure(assignment: Assignment, reason: str) -> None:
    """Record that a trial failed, and why; what it wrote until then stays."""
    _write_end(assignment, "failed", reason)


def write_pruned(assignment: Assignment, reason: str) -> None:
    """Record that a trial was stopped before its last epoch, and why."""
    _write_end(assignment, "pruned", reason)
    (assignment.trial.path / CHECKPOINT).unlink(missing_ok=True)


def _write_end(assignment: Assignment, state: State, reason: str) -> None:
    """Record that a trial ended before it was complete."""
    trial = Trial(assignment.trial.path)  # reads anew
    trial.write_params(assignment.params)
    known = (trial.path / "metrics.csv").exists()
    epochs = trial.metrics if known else pd.DataFrame({"seconds": [], "images_per_second": []})
    kept = 0
    if len(epochs) and state == "pruned":
        *_, (_, last) = kept_so_far(epochs, assignment.config.train)
        kept = last.epoch
    trial.write_result(
        TrialResult(
            trial_id=trial.id,
            state=state,
            recipe=assignment.config.recipe,
            epochs=len(epochs),
            kept_epoch=kept,
            seconds=float(epochs["seconds"].sum()),
            images_per_second=float(epochs["images_per_second"].median()) if len(epochs) else 0.0,
            device="",
            reason=reason,
            restarts=max(0, trial.starts - 1),
            config=assignment.config,
        )
    )


def _predictions(
    data: Mapping[str, Arrays], logits: Mapping[str, NDArray[np.float32]]
) -> pd.DataFrame:
    parts = [
        pd.DataFrame(
            {
                "filename": data[split].filename.to_numpy(zero_copy_only=False),
                "split": split,
                "gender": data[split].gender,
                "label": data[split].label,
                "logit": logits[split],
            }
        )
        for split in EVALUATED
    ]
    return pd.concat(parts, ignore_index=True)


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
