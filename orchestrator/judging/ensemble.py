"""Retrained networks of a trial as one: what they make of faces together."""

from collections.abc import Sequence

import numpy as np

from orchestrator.base.errors import InputError
from orchestrator.judging.judge import Evaluated, evaluate_rows
from orchestrator.judging.race import Retrained
from orchestrator.run.directory import Run
from orchestrator.run.trial import ENSEMBLE, EVALUATED, PredictedRows, Trial, TrialResult

FEWEST = 2
"""Networks that are an ensemble."""


def members_of(run: Run, one: Retrained) -> list[Trial]:
    """Return the retrainings that a trial's ensemble has, by fold and seed."""
    folder = run.confirm_path / one.trial.id
    return [Trial(folder / network.id) for network in one.networks.values()]


def mean_logits(parts: Sequence[PredictedRows]) -> PredictedRows:
    """Return all faces that any network judged, by file name, each with its mean logit.

    A network predicts the faces that it was not trained on, so no face is judged by one that was:
    of train and val those of its fold alone, of test all.
    """
    names, first, face = np.unique(
        np.concatenate([part.filename for part in parts]), return_index=True, return_inverse=True
    )
    logit = np.concatenate([part.logit for part in parts])
    total = np.bincount(face, weights=logit, minlength=len(names))
    label, gender = (
        np.concatenate([getattr(part, column) for part in parts])[first]
        for column in ("label", "gender")
    )
    mean = total / np.bincount(face, minlength=len(names))
    return PredictedRows(names, label, gender, mean.astype(np.float32))


def predicted_together(members: Sequence[Trial]) -> dict[str, PredictedRows]:
    """Return what networks predict together, by split; see `mean_logits`."""
    each = [member.predicted() for member in members]
    return {split: mean_logits([of[split] for of in each]) for split in EVALUATED}


def result_together(one: Evaluated, members: Sequence[Trial]) -> TrialResult:
    """Return how an ensemble of a trial's retrainings came about: with the costs of all of them.

    Its configuration is the first one's, but for the seed.
    """
    results = [member.result for member in members]
    precisions = {result.precision for result in results}
    return one.result.model_copy(
        update={
            "trial_id": one.id + ENSEMBLE,
            "epochs": sum(result.epochs for result in results),
            "kept_epoch": 0,
            "seconds": sum(result.seconds for result in results),
            "images_per_second": float(np.median([r.images_per_second for r in results])),
            "device": results[0].device,
            "precision": "bf16" if precisions == {"bf16"} else "fp32",
            "restarts": 0,
            "config": results[0].config.model_copy(update={"seed": one.result.config.seed}),
            "members": [member.id for member in members],
        }
    )


def together(run: Run, one: Retrained, fair_lambda: float) -> Evaluated | None:
    """Judge a trial's retrained networks as one; None where there is one alone, or none."""
    members = members_of(run, one)
    if len(members) < FEWEST:
        return None
    try:
        predicted = predicted_together(members)
    except (FileNotFoundError, ValueError, KeyError) as error:
        raise InputError(f"{members[0].path.parent}: a retraining is damaged: {error}") from None
    result = result_together(one.trial, members)
    return evaluate_rows(result.trial_id, result, one.trial.params, predicted, fair_lambda)
