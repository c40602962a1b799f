"""Complete trials judged on validation and test, and what selection makes of them.

Selection looks at validation only. Each trial is judged at the fixed threshold 0.5, at the best
threshold that all faces share, and at the best pair by gender, both found on validation.
"""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from orchestrator.base.errors import InputError
from orchestrator.config.layers import value_at
from orchestrator.config.recipes import PLAIN
from orchestrator.judging import pooled
from orchestrator.judging.fairness import WOMAN, GroupMetrics, group_metrics
from orchestrator.judging.frontier import pareto_mask
from orchestrator.judging.thresholds import FIXED, Thresholds, best_pair, best_shared
from orchestrator.run.directory import Run
from orchestrator.run.progress import Score
from orchestrator.run.trial import PredictedRows, Trial, TrialResult

Kind = Literal["fixed", "shared", "by_gender"]
"""Threshold 0.5; the best one for all faces; the best of women and of men, for which a face's
gender has to be known."""
T = TypeVar("T")
FINDERS: dict[Kind, Callable[..., Thresholds]] = {"shared": best_shared, "by_gender": best_pair}


@dataclass(frozen=True)
class Rows:
    """The rows of one split; arrays of shape (n,), by file name."""

    label: NDArray[np.int8]
    gender: NDArray[np.int8]
    logit: NDArray[np.float32]


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
    out_of_fold: Score | None = None
    """Of a fitted head: of train and val, each face judged by a head that was not fitted to it."""


def evaluate(run: Run) -> list[Evaluated]:
    """Judge every complete trial, by id; all of them on the same faces, or `InputError`."""
    fair_lambda = run.config.fair_lambda
    evaluated = [evaluate_trial(trial, fair_lambda) for trial in run.complete()]
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
        judged = evaluate_rows(trial.id, trial.result, trial.params, trial.predicted(), fair_lambda)
        return replace(judged, out_of_fold=_out_of_fold(trial))
    except FileNotFoundError:
        raise InputError(f"{file}: no such file, though the trial is complete") from None
    except (ValueError, KeyError, InputError) as error:
        raise InputError(f"{file}: {error}") from None


def evaluate_rows(
    name: str,
    result: TrialResult,
    params: Mapping[str, Any],
    predicted: Mapping[str, PredictedRows],
    fair_lambda: float,
) -> Evaluated:
    """Judge what a network made of the rows of val and test; see `Evaluated`."""
    judged: dict[Kind, Judged] = {"fixed": _judge(predicted, FIXED, fair_lambda)}
    val = predicted["val"]
    for kind, find in FINDERS.items():
        found = find(val.logit, val.label, val.gender, fair_lambda)
        judged[kind] = _judge(predicted, found, fair_lambda)
    return Evaluated(
        id=name,
        result=result,
        params=params,
        rows={
            split: Rows(part.label, part.gender, part.logit) for split, part in predicted.items()
        },
        faces={split: _digest(part) for split, part in predicted.items()},
        judged=judged,
    )


def _out_of_fold(trial: Trial) -> Score | None:
    """Read what chose a fitted head in its search; None of other networks, and of one on a fold."""
    config = trial.result.config
    if config.train.optimiser != "lbfgs" or config.data.folds is not None:
        return None
    return Score.of(trial.metrics.iloc[-1])


def _judge(rows: Mapping[str, PredictedRows], thresholds: Thresholds, fair_lambda: float) -> Judged:
    predicted, metrics = {}, {}
    for split, part in rows.items():
        predicted[split] = thresholds.labels(part.logit, part.gender)
        metrics[split] = group_metrics(part.label, predicted[split], part.gender, fair_lambda)
    return Judged(thresholds, predicted, metrics)


def _digest(rows: PredictedRows) -> str:
    digest = hashlib.sha256("\n".join(rows.filename).encode())
    for column in (rows.gender, rows.label):
        digest.update(column.astype(np.int8).tobytes())
    return digest.hexdigest()


def select_best(evaluated: Sequence[Evaluated]) -> Evaluated | None:
    """Choose the first by `score_rank`.

    The other kinds of thresholds are no candidates: the best of thousands flatters itself.
    """
    return min(evaluated, key=score_rank, default=None)


def ranked(evaluated: Sequence[Evaluated], may_lose: float) -> list[Evaluated]:
    """Sort by `score_rank`, those last by which the worse-served gender loses; see `spared`."""
    order = sorted(evaluated, key=score_rank)
    return spared(order, [one.judged["fixed"].val for one in order], _plain(order), may_lose)


def spared(
    order: Sequence[T], metrics: Sequence[GroupMetrics], plain: Sequence[T], may_lose: float
) -> list[T]:
    """Sort those last that serve whom they serve worst worse than plain serves whom it does.

    The fair metric alone is raised by whatever serves both genders alike, and be it badly
    (Mittelstadt, Wachter and Russell, The Unfairness of Fair Machine Learning, 2023).

    Parameters
    ----------
    order
        The best first; otherwise it is kept.
    metrics
        Theirs.
    plain
        Those of them that are plain; the best of these for the worse-served gender counts.
    may_lose
        How much less accurate the worse-served gender may be than by that one.
    """
    worst = {id(one): of.worst_gender for one, of in zip(order, metrics, strict=True)}
    least = max((worst[id(one)] for one in plain), default=-math.inf) - may_lose
    return sorted(order, key=lambda one: worst[id(one)] < least)


def _plain(order: Sequence[Evaluated]) -> list[Evaluated]:
    """Return plain, and the first of those that tuned it: of all of them some are lucky."""
    plain = [one for one in order if is_plain(one)]
    return sorted(plain, key=lambda one: one.result.recipe != "plain")[:2]


class PassedOver(NamedTuple):
    """What has the highest fair metric and is not chosen, since some are served worse by it."""

    trial_id: str
    fair: float
    plain: str
    """The id of the plain trial that it is compared with."""
    served: pooled.WorseServed


def passed_over(evaluated: Sequence[Evaluated], may_lose: float) -> PassedOver | None:
    """Return the first by `score_rank`, where it is not the first by `ranked`."""
    first, order = select_best(evaluated), ranked(evaluated, may_lose)
    if first is None or first is order[0]:
        return None
    plain = max(
        _plain(sorted(evaluated, key=score_rank)),
        key=lambda one: one.judged["fixed"].val.worst_gender,
    )
    rows = plain.rows["val"]
    now, then = (of.judged["fixed"].predicted["val"] == rows.label for of in (first, plain))
    groups = [pooled.Judged(rows.gender == WOMAN, now[None], then[None])]
    fair = first.judged["fixed"].val.fair
    return PassedOver(first.id, fair, plain.id, pooled.worse_served(groups))


def score_rank(one: Evaluated) -> tuple[float, float, str]:
    """Sort by the highest fair metric on validation at 0.5; of equals the smaller gap, then id.

    Of fitted heads it is that of all folds, whose faces are some times as many.
    """
    score = one.out_of_fold or one.judged["fixed"].val
    return -score.fair, score.gap, one.id


def is_plain(one: Evaluated) -> bool:
    """Tell whether a trial is cross-entropy without weights, however it was trained otherwise."""
    config = one.result.config
    return all(value_at(config, key) == value for key, value in PLAIN.items())


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
