"""The focal loss: gamma, and class balancing with its alpha."""

from typing import Any

from optuna.trial import BaseTrial

POINTS: dict[str, dict[str, Any]] = {"plain": {"gamma": 0.0, "class_balancing": False}}


def suggest(trial: BaseTrial) -> dict[str, Any]:
    """Choose gamma, and whether alpha balances the classes: alpha only where it acts."""
    overrides = gamma(trial)
    overrides["loss.class_balancing"] = trial.suggest_categorical("class_balancing", [False, True])
    if overrides["loss.class_balancing"]:
        overrides["loss.alpha"] = trial.suggest_float("alpha", 0.05, 0.95)
    return overrides


def gamma(trial: BaseTrial) -> dict[str, Any]:
    """Choose gamma alone: 0 is cross-entropy, 5 the published recipe."""
    return {"loss.gamma": trial.suggest_float("gamma", 0.0, 5.0)}
