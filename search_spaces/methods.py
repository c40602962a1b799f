"""Focal loss, strata weights, group DRO or a gap penalty, label smoothing.

`method` is what is minimised: the mean loss (erm), that of the worst-served gender and class (group
DRO), or the mean loss with a penalty on the gap. The others are numbers that are off at 0, so that
every sampler can tell how near two trials are. There is no alpha: weights by gender and class,
whose exponent is tau, balance the classes too. Group DRO finds the weights of gender and class by
itself, and has no tau.
"""

from typing import Any

from optuna.trial import BaseTrial

from search_spaces import focal

POINTS: dict[str, dict[str, Any]] = {
    "plain": {"method": "erm", "gamma": 0.0, "tau": 0.0, "smoothing": 0.0}
}

UNWEIGHTED: dict[str, Any] = {
    "balance.policy": "weights",
    "balance.over": "gender_class",
    "balance.tau": 0.0,
}


def suggest(trial: BaseTrial) -> dict[str, Any]:
    """Choose the objective, the loss and the weights; what one objective has, only there."""
    overrides: dict[str, Any] = {
        "method.name": trial.suggest_categorical("method", ["erm", "group_dro", "gap_penalty"])
    }
    if overrides["method.name"] == "group_dro":
        overrides["method.step"] = trial.suggest_float("dro_step", 1e-3, 0.1, log=True)
    if overrides["method.name"] == "gap_penalty":
        overrides["method.penalty"] = trial.suggest_float("penalty", 0.1, 10.0, log=True)
    overrides["loss.smoothing"] = trial.suggest_float("smoothing", 0.0, 0.3)
    return (
        overrides
        | focal.gamma(trial)
        | (strata_weights(trial) if weights_act(overrides["method.name"]) else UNWEIGHTED)
    )


def strata_weights(trial: BaseTrial) -> dict[str, Any]:
    """Weigh genders and classes by their size: tau 0 weighs all faces, 1 all four groups alike."""
    tau = trial.suggest_float("tau", 0.0, 1.0)
    # At 0 no face weighs more than another, which is plain's policy, by which it is known.
    return UNWEIGHTED | {"balance.policy": "weights" if tau else "none", "balance.tau": tau}


def weights_act(method: str) -> bool:
    """Tell whether weights by gender or class do anything: group DRO has its own."""
    return method != "group_dro"
