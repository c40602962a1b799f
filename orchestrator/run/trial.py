"""A trial: the files that it leaves in a run, each written whole or not at all."""

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field, ValidationError, model_validator

from orchestrator.base.errors import InputError
from orchestrator.base.files import (
    Anywhere,
    append_line,
    make_folder,
    parse_json,
    read_bytes,
    read_json,
    read_text,
    write_json,
    writing,
)
from orchestrator.base.strict import Strict
from orchestrator.config.layers import (
    as_written_now,
    first_fault,
)
from orchestrator.config.settings import Config

EVALUATED = ("val", "test")
"""The splits whose rows a trial's predictions hold."""
PREDICTION_COLUMNS = ("filename", "split", "gender", "label", "logit")

State = Literal["complete", "failed", "pruned"]


ENSEMBLE = "-ensemble"
"""After a trial's id: its retrained networks as one, which is no trial of the search."""
FORMAT = 2
"""Of what a run records of its configuration; see `as_written_now`."""


class TrialResult(Strict):
    """How a trial ended: ``trials/<id>/result.json``."""

    format: int = 1
    trial_id: str
    state: State
    recipe: str
    """``default`` for a searched trial; ``plain`` and ``reference`` are the baselines."""
    epochs: int
    """Epochs trained."""
    kept_epoch: int
    """The epoch, from 1, whose weights were kept; 0 when none finished."""
    seconds: float
    """Time in the training loop, validation included."""
    images_per_second: float
    """Training images through the loop per second of training, the median over epochs."""
    device: str
    precision: str | None = None
    """bf16 or fp32: what ``train.precision`` came to; null where nothing was kept."""
    reason: str | None = None
    """Why it failed or was pruned."""
    restarts: int = 0
    """How often it was begun again, from its last checkpoint if it had one."""
    members: list[str] = Field(default_factory=list)
    """Of an ensemble: the retrainings of its trial whose logits are averaged."""
    config: Config

    @model_validator(mode="before")
    @classmethod
    def _as_written_now(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("config"), dict):
            config = as_written_now(values["config"], values.get("format", 1))
            return {**values, "config": config}
        return values


@dataclass(frozen=True)
class PredictedRows:
    """What a trial predicted of a split; arrays of shape (n,), by file name."""

    filename: NDArray[np.object_]
    label: NDArray[np.int8]
    gender: NDArray[np.int8]
    logit: NDArray[np.float32]


@dataclass(frozen=True)
class Trial:
    """A trial on disk; every file is read when it is first asked for."""

    path: Anywhere

    @property
    def id(self) -> str:
        """The trial's name, also its folder's."""
        return self.path.name

    @property
    def run_path(self) -> Anywhere:
        """The run that it belongs to."""
        return next(parent for parent in self.path.parents if (parent / "config.yaml").exists())

    @property
    def has_ended(self) -> bool:
        """Whether it is known how the trial ended; once it is, nobody is asked again."""
        try:
            return self._ending is not None
        except FileNotFoundError:
            return False

    @cached_property
    def _ending(self) -> bytes:
        """What says how it ended: to read it is one request, as to ask whether it is there."""
        return read_bytes(self.path / "result.json")

    @cached_property
    def result(self) -> TrialResult:
        """How it ended; `InputError` when another version of fairfront wrote it."""
        path = self.path / "result.json"
        if not self.has_ended:
            raise InputError(f"{path}: no such file")
        try:
            return TrialResult.model_validate(parse_json(self._ending, path))
        except ValidationError as error:
            raise InputError(
                f"{path}: {first_fault(error)}; it was edited, or is of another version of "
                "fairfront: use that, or move the trial's folder out of the run"
            ) from None

    @cached_property
    def ended_at(self) -> int:
        """When it ended, in nanoseconds since 1970 by the clock of the file system."""
        return (self.path / "result.json").stat().st_mtime_ns

    @cached_property
    def params(self) -> dict[str, Any]:
        """The parameters that were searched, as Optuna names them."""
        return dict(read_json(self.path / "params.json"))

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """A row an epoch; the columns are those of `EpochMetrics` in `orchestrator.training`."""
        return pd.read_csv(io.BytesIO(read_bytes(self.path / "metrics.csv")))

    @property
    def predictions(self) -> pd.DataFrame:
        """The logits of every val and test row; columns `PREDICTION_COLUMNS`; read anew."""
        return pd.read_parquet(io.BytesIO(read_bytes(self.path / "predictions.parquet")))

    def predicted(self) -> dict[str, PredictedRows]:
        """Give the rows of val and of test, by file name.

        Raises
        ------
        FileNotFoundError, ValueError, KeyError
            The file is missing or damaged, or lacks a column.
        """
        table = self.predictions.sort_values("filename")
        return {
            split: PredictedRows(
                **{name: rows[name].to_numpy() for name in ("filename", "label", "gender", "logit")}
            )
            for split in EVALUATED
            for rows in [table[table["split"] == split]]
        }

    @property
    def starts(self) -> int:
        """How often it was begun."""
        try:
            return len(read_text(self.path / "starts.txt").splitlines())
        except FileNotFoundError:
            return 0

    def note_start(self) -> None:
        """Write down that it is begun, perhaps again."""
        make_folder(self.path)
        append_line(self.path / "starts.txt", datetime.now(UTC).isoformat(timespec="seconds"))

    def write_params(self, params: Mapping[str, Any]) -> None:
        """Make the trial's folder and write what it was asked to try."""
        make_folder(self.path)
        write_json(self.path / "params.json", dict(params))

    def write_metrics(self, rows: pd.DataFrame) -> None:
        """Write the epochs so far."""
        with writing(self.path / "metrics.csv", "w", encoding="utf-8", newline="") as file:
            rows.to_csv(file, index=False)

    def write_predictions(self, predictions: pd.DataFrame) -> None:
        """Write the logits of val and test."""
        with writing(self.path / "predictions.parquet") as file:
            predictions[list(PREDICTION_COLUMNS)].to_parquet(file, index=False)

    def write_predicted(self, predicted: Mapping[str, PredictedRows]) -> None:
        """Write the logits of val and test, from what `predicted` gives."""
        parts = [pd.DataFrame({"split": split, **vars(rows)}) for split, rows in predicted.items()]
        self.write_predictions(pd.concat(parts, ignore_index=True))

    def write_result(self, result: TrialResult) -> None:
        """Write how the trial ended: the last file, so a trial that has it has them all."""
        write_json(self.path / "result.json", {**result.model_dump(), "format": FORMAT})
        for known in ("_ending", "result", "ended_at"):  # of an ending before
            self.__dict__.pop(known, None)


def in_order_of_ending(trials: Iterable[Trial]) -> list[Trial]:
    """Sort trials that ended by when they did."""
    return sorted(trials, key=lambda trial: trial.ended_at)
