"""The weight of women against men, and nothing else."""

from typing import Any

from optuna.trial import BaseTrial

POINTS: dict[str, dict[str, Any]] = {"plain": {"women_men_ratio": 1.0}}


def suggest(trial: BaseTrial) -> dict[str, Any]:
    """Choose the ratio of the weights; on a log scale, so that neither gender is favoured."""
    ratio = trial.suggest_float("women_men_ratio", 0.1, 10.0, log=True)
    # The two weights have mean 1, so that the ratio leaves the scale of the loss to the others.
    return {
        "balance.weight_women": 2 * ratio / (1 + ratio),
        "balance.weight_men": 2 / (1 + ratio),
    }
