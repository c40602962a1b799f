"""Complete trials judged on validation and test, and what selection makes of them.

Selection looks at validation only.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orchestrator.errors import InputError
from orchestrator.fairness import GroupMetrics, group_metrics, predict_labels
from orchestrator.frontier import pareto_mask
from orchestrator.runs import EVALUATED, Run, Trial, TrialResult

THRESHOLD = 0.5
"""A face is labelled 1 when its probability exceeds this; to equal it is not enough."""


@dataclass(frozen=True)
class Rows:
    """The rows of one split as one trial labelled them; arrays of shape (n,), by file name."""

    label: NDArray[np.int8]
    predicted: NDArray[np.int8]
    gender: NDArray[np.int8]


@dataclass(frozen=True)
class Evaluated:
    """A complete trial, judged on both splits."""

    result: TrialResult
    params: Mapping[str, Any]
    rows: Mapping[str, Rows]
    metrics: Mapping[str, GroupMetrics]
    faces: str
    """A digest of the file names, genders and labels."""

    @property
    def id(self) -> str:
        """The trial's name."""
        return self.result.trial_id

    @property
    def val(self) -> GroupMetrics:
        """What selection looks at."""
        return self.metrics["val"]


def evaluate(run: Run) -> list[Evaluated]:
    """Judge every complete trial, by id; all of them on the same faces, or `InputError`."""
    ids = [trial.id for trial in run.complete()]
    # A trial keeps its predictions once read: each is opened anew, so that memory holds one table.
    evaluated = [_evaluate(run.trial(trial_id), run.config.fair_lambda) for trial_id in ids]
    for one in evaluated:
        if one.faces != evaluated[0].faces:
            raise InputError(
                f"{run.path}/trials/{one.id}/predictions.parquet: not the faces of trial "
                f"{evaluated[0].id}, so the two cannot be compared; remove one of the two folders"
            )
    return evaluated


def _evaluate(trial: Trial, fair_lambda: float) -> Evaluated:
    file = trial.path / "predictions.parquet"
    try:
        predictions = trial.predictions.sort_values(["split", "filename"], ignore_index=True)
        rows = {split: _rows(predictions[predictions["split"] == split]) for split in EVALUATED}
        metrics = {
            split: group_metrics(part.label, part.predicted, part.gender, fair_lambda)
            for split, part in rows.items()
        }
    except FileNotFoundError:
        raise InputError(f"{file}: no such file, though the trial is complete") from None
    except (ValueError, KeyError, InputError) as error:
        raise InputError(f"{file}: {error}") from None
    return Evaluated(trial.result, trial.params, rows, metrics, _digest(predictions))


def _rows(predictions: pd.DataFrame) -> Rows:
    return Rows(
        label=predictions["label"].to_numpy(),
        predicted=predict_labels(predictions["logit"].to_numpy(), THRESHOLD),
        gender=predictions["gender"].to_numpy(),
    )


def _digest(predictions: pd.DataFrame) -> str:
    faces = predictions[["filename", "split", "gender", "label"]]
    rows = pd.util.hash_pandas_object(faces, index=False).to_numpy()
    return hashlib.sha256(rows.tobytes()).hexdigest()


def select_best(evaluated: Sequence[Evaluated]) -> Evaluated | None:
    """Choose the highest fair metric on validation; of equals the smaller gap, then the id."""
    return min(evaluated, key=lambda one: (-one.val.fair, one.val.gap, one.id), default=None)


def select_front(evaluated: Sequence[Evaluated]) -> list[Evaluated]:
    """Choose the trials that no other dominates on validation, by growing gap."""
    mask = pareto_mask(*objectives(evaluated))
    front = [one for one, chosen in zip(evaluated, mask, strict=True) if chosen]
    return sorted(front, key=lambda one: (one.val.gap, one.val.mean_accuracy, one.id))


def objectives(evaluated: Sequence[Evaluated]) -> tuple[list[float], list[float]]:
    """Give what the front weighs up: mean accuracies and gaps, on validation."""
    return [one.val.mean_accuracy for one in evaluated], [one.val.gap for one in evaluated]
