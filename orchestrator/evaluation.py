"""Complete trials judged on validation and test, and what selection makes of them.

Selection looks at validation only. Each trial is judged at the fixed threshold 0.5, at the best
threshold that all faces share, and at the best pair by gender, both found on validation.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orchestrator.errors import InputError
from orchestrator.fairness import GroupMetrics, group_metrics
from orchestrator.frontier import pareto_mask
from orchestrator.runs import EVALUATED, Run, Trial, TrialResult
from orchestrator.thresholds import FIXED, Thresholds, best_pair, best_shared

Kind = Literal["fixed", "shared", "by_gender"]
"""Threshold 0.5; the best one for all faces; the best of women and of men, for which a face's
gender has to be known."""
FINDERS: dict[Kind, Callable[..., Thresholds]] = {"shared": best_shared, "by_gender": best_pair}


@dataclass(frozen=True)
class Rows:
    """The rows of one split; arrays of shape (n,), by file name."""

    label: NDArray[np.int8]
    gender: NDArray[np.int8]


@dataclass(frozen=True)
class Judged:
    """What a trial's thresholds come to, by split."""

    thresholds: Thresholds
    predicted: Mapping[str, NDArray[np.int8]]
    """Labels; shape (n,), by file name."""
    metrics: Mapping[str, GroupMetrics]

    @property
    def val(self) -> GroupMetrics:
        """What selection looks at."""
        return self.metrics["val"]


@dataclass(frozen=True)
class Evaluated:
    """A complete trial, judged with each kind of threshold."""

    id: str
    """The trial's name."""
    result: TrialResult
    params: Mapping[str, Any]
    rows: Mapping[str, Rows]
    faces: Mapping[str, str]
    """A digest of the file names, genders and labels, by split."""
    judged: Mapping[Kind, Judged]


def evaluate(run: Run) -> list[Evaluated]:
    """Judge every complete trial, by id; all of them on the same faces, or `InputError`."""
    ids = [trial.id for trial in run.complete()]
    # A trial keeps its predictions once read: each is opened anew, so that memory holds one table.
    evaluated = [evaluate_trial(run.trial(trial_id), run.config.fair_lambda) for trial_id in ids]
    for one in evaluated:
        if one.faces != evaluated[0].faces:
            raise InputError(
                f"{run.path}/trials/{one.id}/predictions.parquet: not the faces of trial "
                f"{evaluated[0].id}, so the two cannot be compared; remove one of the two folders"
            )
    return evaluated


def evaluate_trial(trial: Trial, fair_lambda: float) -> Evaluated:
    """Judge one trial that left predictions; `InputError` names their file if they are damaged."""
    file = trial.path / "predictions.parquet"
    try:
        predictions = trial.predictions.sort_values(["split", "filename"], ignore_index=True)
        faces = {split: predictions[predictions["split"] == split] for split in EVALUATED}
        judged: dict[Kind, Judged] = {"fixed": _judge(faces, FIXED, fair_lambda)}
        logit, label, gender = _columns(faces["val"])
        for kind, find in FINDERS.items():
            judged[kind] = _judge(faces, find(logit, label, gender, fair_lambda), fair_lambda)
        return Evaluated(
            id=trial.id,
            result=trial.result,
            params=trial.params,
            rows={
                split: Rows(label=part["label"].to_numpy(), gender=part["gender"].to_numpy())
                for split, part in faces.items()
            },
            faces={split: _digest(part) for split, part in faces.items()},
            judged=judged,
        )
    except FileNotFoundError:
        raise InputError(f"{file}: no such file, though the trial is complete") from None
    except (ValueError, KeyError, InputError) as error:
        raise InputError(f"{file}: {error}") from None


def _judge(faces: Mapping[str, pd.DataFrame], thresholds: Thresholds, fair_lambda: float) -> Judged:
    predicted, metrics = {}, {}
    for split, part in faces.items():
        logit, label, gender = _columns(part)
        predicted[split] = thresholds.labels(logit, gender)
        metrics[split] = group_metrics(label, predicted[split], gender, fair_lambda)
    return Judged(thresholds, predicted, metrics)


def _columns(part: pd.DataFrame) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    return part["logit"].to_numpy(), part["label"].to_numpy(), part["gender"].to_numpy()


def _digest(predictions: pd.DataFrame) -> str:
    faces = predictions[["filename", "split", "gender", "label"]]
    rows = pd.util.hash_pandas_object(faces, index=False).to_numpy()
    return hashlib.sha256(rows.tobytes()).hexdigest()


def select_best(evaluated: Sequence[Evaluated]) -> Evaluated | None:
    """Choose the highest fair metric on validation at 0.5; of equals the smaller gap, then the id.

    The other kinds are no candidates: the best of thousands of thresholds flatters itself.
    """

    def rank(one: Evaluated) -> tuple[float, float, str]:
        val = one.judged["fixed"].val
        return -val.fair, val.gap, one.id

    return min(evaluated, key=rank, default=None)


def select_front(evaluated: Sequence[Evaluated], kind: Kind = "fixed") -> list[Evaluated]:
    """Choose the trials that no other dominates on validation, by growing gap."""
    accuracies, gaps = objectives(evaluated, kind)
    mask = pareto_mask(accuracies, gaps)
    order = sorted(range(len(gaps)), key=lambda n: (gaps[n], accuracies[n], evaluated[n].id))
    return [evaluated[n] for n in order if mask[n]]


def objectives(
    evaluated: Sequence[Evaluated], kind: Kind = "fixed"
) -> tuple[list[float], list[float]]:
    """Give what the front weighs up: mean accuracies and gaps, on validation."""
    vals = [one.judged[kind].val for one in evaluated]
    return [val.mean_accuracy for val in vals], [val.gap for val in vals]
