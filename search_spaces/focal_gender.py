"""Focal loss, women/men weight, balance policy and learning rate."""

from typing import Any

from optuna.trial import BaseTrial

from search_spaces import focal, gender_weight, methods, recipe

POINTS: dict[str, dict[str, Any]] = {
    "plain": {
        "gamma": 0.0,
        "class_balancing": False,
        "women_men_ratio": 1.0,
        "lr": 1e-3,
        "policy": "none",
    },
    "reference": {
        "gamma": 5.0,
        "class_balancing": False,
        "women_men_ratio": 10.0,
        "lr": 1e-3,
        "policy": "undersample",
    },
}


def suggest(trial: BaseTrial) -> dict[str, Any]:
    """Choose a trial's configuration, define-by-run: alpha and tau only where they act."""
    overrides = focal.suggest(trial) | gender_weight.suggest(trial) | recipe.learning_rate(trial)
    policy = trial.suggest_categorical("policy", ["none", "undersample", "weights"])
    if policy == "weights":
        return overrides | methods.strata_weights(trial)
    return overrides | {"balance.policy": policy}
