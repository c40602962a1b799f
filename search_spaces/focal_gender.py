"""Focal loss, the weight of women against men, the balance policy and the learning rate."""

from typing import Any

from optuna.trial import BaseTrial

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
    overrides: dict[str, Any] = {
        "loss.gamma": trial.suggest_float("gamma", 0.0, 5.0),
        "loss.class_balancing": trial.suggest_categorical("class_balancing", [False, True]),
    }
    if overrides["loss.class_balancing"]:
        overrides["loss.alpha"] = trial.suggest_float("alpha", 0.05, 0.95)
    ratio = trial.suggest_float("women_men_ratio", 0.1, 10.0, log=True)
    # The two weights have mean 1, so that the ratio leaves the scale of the loss to the others.
    overrides["balance.weight_women"] = 2 * ratio / (1 + ratio)
    overrides["balance.weight_men"] = 2 / (1 + ratio)
    overrides["train.lr"] = trial.suggest_float("lr", 1e-4, 3e-3, log=True)
    overrides["balance.policy"] = trial.suggest_categorical(
        "policy", ["none", "undersample", "weights"]
    )
    if overrides["balance.policy"] == "weights":
        overrides["balance.over"] = "gender_class"
        overrides["balance.tau"] = trial.suggest_float("tau", 0.0, 1.0)
    return overrides
