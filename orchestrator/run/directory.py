"""The run directory: what a run leaves behind, written whole or not at all.

::

    RUN/config.yaml              the resolved configuration, versions, commit, data fingerprint
    RUN/progress.json            what the progress display shows, for `watch`
    RUN/sessions/                of a joint sweep: who is alive, and the progress of each
    RUN/optuna.journal           the study (sweeps), or study.json, which says where it is
    RUN/submitted.json           what a job was submitted as, see `cluster.submission`
    RUN/space.py warm_start.json what a sweep varies, if not a space of ours; what it began with
    RUN/logs/                    Ray's own output
    RUN/.<what>.lock             what one process, or those of a joint sweep, may do at a time
    RUN/trials/<id>/params.json  metrics.csv (a row an epoch)  model.safetensors
                    predictions.parquet (filename, split, gender, label 0/1, logit; val and test)
                    starts.txt (when it was begun, and begun again)
                    checkpoint.pt (while it runs: what it can go on from)
                    result.json (how the trial ended; written last)
    RUN/confirm/<id>/            retrainings on new seeds, each with a trial's files
    RUN/trials.csv pareto.csv summary.json pareto.png report.html    made by `orchestrator.report`
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import ValidationError, model_validator

from orchestrator.base.errors import InputError
from orchestrator.base.files import (
    is_local,
    make_folder,
    parse_uri,
    read_json,
    refuse_existing,
    remove_tree,
    write_json,
    write_text,
    writing,
)
from orchestrator.base.locks import held
from orchestrator.base.strict import Strict
from orchestrator.base.versions import versions
from orchestrator.config.layers import (
    as_written_now,
    configuration_in,
    first_fault,
    read_yaml,
    to_yaml,
    validated,
)
from orchestrator.config.settings import Config, DataConfig
from orchestrator.data.store.store import Store

EVALUATED = ("val", "test")
"""The splits whose rows a trial's predictions hold."""
PREDICTION_COLUMNS = ("filename", "split", "gender", "label", "logit")

State = Literal["complete", "failed", "pruned"]


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

    path: Path

    @property
    def id(self) -> str:
        """The trial's name, also its folder's."""
        return self.path.name

    @property
    def run_path(self) -> Path:
        """The run that it belongs to."""
        return next(parent for parent in self.path.parents if (parent / "config.yaml").exists())

    @property
    def has_ended(self) -> bool:
        """Whether it is known how the trial ended."""
        return (self.path / "result.json").exists()

    @cached_property
    def result(self) -> TrialResult:
        """How it ended; `InputError` when another version of fairfront wrote it."""
        path = self.path / "result.json"
        try:
            return TrialResult.model_validate(read_json(path))
        except ValidationError as error:
            raise InputError(
                f"{path}: {first_fault(error)}; it was edited, or is of another version of "
                "fairfront: use that, or move the trial's folder out of the run"
            ) from None

    @cached_property
    def params(self) -> dict[str, Any]:
        """The parameters that were searched, as Optuna names them."""
        return dict(read_json(self.path / "params.json"))

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """A row an epoch; the columns are those of `EpochMetrics` in `orchestrator.training`."""
        return pd.read_csv(self.path / "metrics.csv")

    @property
    def predictions(self) -> pd.DataFrame:
        """The logits of every val and test row; columns `PREDICTION_COLUMNS`; read anew."""
        with (self.path / "predictions.parquet").open("rb") as file:
            return pd.read_parquet(file)

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
        path = self.path / "starts.txt"
        return len(path.read_text(encoding="utf-8").splitlines()) if path.exists() else 0

    def note_start(self) -> None:
        """Write down that it is begun, perhaps again."""
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "starts.txt").open("a", encoding="utf-8") as file:
            file.write(f"{datetime.now(UTC).isoformat(timespec='seconds')}\n")

    def write_params(self, params: Mapping[str, Any]) -> None:
        """Make the trial's folder and write what it was asked to try."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.path / "params.json", dict(params))

    def write_metrics(self, rows: pd.DataFrame) -> None:
        """Write the epochs so far."""
        with writing(self.path / "metrics.csv", "w", encoding="utf-8", newline="") as file:
            rows.to_csv(file, index=False)

    def write_predictions(self, predictions: pd.DataFrame) -> None:
        """Write the logits of val and test."""
        with writing(self.path / "predictions.parquet") as file:
            predictions[list(PREDICTION_COLUMNS)].to_parquet(file, index=False)

    def write_result(self, result: TrialResult) -> None:
        """Write how the trial ended: the last file, so a trial that has it has them all."""
        write_json(self.path / "result.json", {**result.model_dump(), "format": FORMAT})


@dataclass(frozen=True)
class Run:
    """A run directory."""

    path: Path

    @classmethod
    def create(cls, where: str, config: Config, data: Mapping[str, Any]) -> "Run":
        """Make a run directory and write its ``config.yaml``.

        Parameters
        ----------
        where
            A folder that does not exist, or is empty.
        data
            What identifies the data set: its place, fingerprint and image size.

        Raises
        ------
        InputError
            `where` is taken, is no mounted path, or has no locks.
        """
        run = cls(_mounted(where))
        refuse_existing(run.path, "a run")
        make_folder(run.trials_path)
        try:
            run.logs_path.mkdir()
            with held(run.lock("run")):  # where there are no locks, there must be no run
                run.record(config, data)
        except InputError:
            remove_tree(run.path)
            raise
        return run

    def record(self, config: Config, data: Mapping[str, Any]) -> None:
        """Write ``config.yaml``: the configuration, what identifies the data, and the versions.

        How the data are read and what they are have one key, ``data``. A run that goes on keeps the
        versions that it began with; others that it goes on with are added to ``history``.
        """
        values, file = config.model_dump(), self.path / "config.yaml"
        values |= {"data": {**values["data"], **data}, "format": FORMAT}
        with held(self.lock("config"), wait=True):  # of a joint sweep one at a time
            now, before = versions(), read_yaml(file) if file.exists() else {}
            history = before.get("history", [])
            began = before.get("versions") or now
            if (history[-1]["versions"] if history else began) != now:
                at = datetime.now(UTC).isoformat(timespec="seconds")
                history = [*history, {"resumed": at, "versions": now}]
            values |= {"versions": began} | ({"history": history} if history else {})
            write_text(file, to_yaml(values))

    @classmethod
    def open(cls, where: str) -> "Run":
        """Open a run directory; `InputError` when there is none at `where`."""
        run = cls(_mounted(where))
        if not (run.path / "config.yaml").exists():
            raise InputError(
                f"{where}: no run here (no config.yaml); give a folder that train or sweep made"
            )
        return run

    @cached_property
    def recorded(self) -> dict[str, Any]:
        """``config.yaml`` as it is: the configuration, ``data``, ``versions``, perhaps ``history``.

        Raises
        ------
        InputError
            It was edited, and is no such file any more.
        """
        recorded = read_yaml(self.path / "config.yaml")
        if not isinstance(recorded.get("data"), dict):
            raise InputError(f"{self.path}/config.yaml: lacks data; it is not as a run writes it")
        return recorded

    @property
    def config(self) -> Config:
        """The configuration of the run; a trial's own is in its result.

        Raises
        ------
        InputError
            It was edited, or is of another version of fairfront.
        """
        return validated(configuration_in(self.recorded), source=f"{self.path}/config.yaml")

    @property
    def data(self) -> dict[str, Any]:
        """The place, fingerprint, image size and counts of the run's data."""
        recorded = self.recorded["data"]
        return {k: v for k, v in recorded.items() if k not in DataConfig.model_fields}

    @property
    def trials_path(self) -> Path:
        """The folder of the trials."""
        return self.path / "trials"

    @property
    def confirm_path(self) -> Path:
        """The folder of the retrainings, which only a run that confirms has."""
        return self.path / "confirm"

    @property
    def logs_path(self) -> Path:
        """The folder of the log files."""
        return self.path / "logs"

    @property
    def is_joint(self) -> bool:
        """Whether its study is in a database, which several processes may work on."""
        return (self.path / "study.json").exists()

    def lock(self, what: Literal["run", "study", "confirm", "config"]) -> Path:
        """The file whose lock keeps others off a part of the run."""
        return self.path / f".{what}.lock"

    def trial(self, trial_id: str) -> Trial:
        """A trial by its id, whether or not it exists yet."""
        return Trial(self.trials_path / trial_id)

    def ended(self) -> list[Trial]:
        """The trials that ended, however they did, by id."""
        paths = sorted(self.trials_path.iterdir(), key=lambda path: path.name)
        return [trial for trial in map(Trial, paths) if trial.has_ended]

    def complete(self) -> list[Trial]:
        """The trials that ran to their end: the only ones that reach the front."""
        return [trial for trial in self.ended() if trial.result.state == "complete"]


def about_data(store: Store) -> dict[str, Any]:
    """Return what a run records of its data."""
    meta = store.meta
    return {
        "path": str(store.path),
        "fingerprint": meta.fingerprint,
        "image_size": meta.image_size,
        "counts": meta.counts,
    }


def in_order_of_ending(trials: Iterable[Trial]) -> list[Trial]:
    """Sort trials that ended by when they did."""
    return sorted(trials, key=lambda trial: (trial.path / "result.json").stat().st_mtime_ns)


def _mounted(where: str) -> Path:
    path = parse_uri(where)
    if not is_local(path):
        raise InputError(f"{where}: a run needs a path that every node mounts, not a URI")
    return Path(str(path))
