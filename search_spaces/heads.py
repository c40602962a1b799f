"""Linear heads of a frozen network: whom they weigh, loss and penalty.

For frozen networks, as ``--set model.name=timm:tf_efficientnet_lite0``. It starts from the recipe
`head`, which fits a linear head to what the network makes of the faces, in about a second.
`weight_decay` is named as the recipe's, since plain is tuned by it, and is the l2 of the fit. `tau`
weighs gender and class: 1 is DFR's (Kirichenko, Izmailov and Wilson, ICLR 2023), all four groups
alike. Weights by gender alone are no part of it: on real faces they did not help (docs/results.md).
"""

from typing import Any

from optuna.trial import BaseTrial

RECIPE = "head"
POINTS: dict[str, dict[str, Any]] = {
    "plain": {"weight_decay": 0.03, "tau": 0.0, "gamma": 0.0, "smoothing": 0.0, "penalty": 0.0}
}


def suggest(trial: BaseTrial) -> dict[str, Any]:
    """Choose how a head is fitted; what is off at 0 is left out there, as plain has it."""
    tau = trial.suggest_float("tau", 0.0, 1.0)
    overrides: dict[str, Any] = {
        "fit.l2": trial.suggest_float("weight_decay", 1e-3, 1.0, log=True),
        "balance.policy": "weights" if tau else "none",
        "balance.over": "gender_class",
        "balance.tau": tau,
        "loss.gamma": trial.suggest_float("gamma", 0.0, 3.0),
        "loss.smoothing": trial.suggest_float("smoothing", 0.0, 0.3),
    }
    if penalty := trial.suggest_float("penalty", 0.0, 3.0):
        overrides |= {"method.name": "gap_penalty", "method.penalty": penalty}
    return overrides
