"""The space `full` on the published network alone, whose trials end in minutes on a CPU.

`curves.csv` was drawn from it: methods, women/men weight, recipe, and of the network its dropout.
"""

from typing import Any

from optuna.trial import BaseTrial

from search_spaces import gender_weight, methods, recipe

POINTS: dict[str, dict[str, Any]] = {
    "plain": {
        name: value
        for part in (methods, gender_weight, recipe)
        for name, value in part.POINTS["plain"].items()
        if name != "epochs"
    }
}


def suggest(trial: BaseTrial) -> dict[str, Any]:
    """Choose all of a trial's configuration but the data, the network and the epochs."""
    overrides = methods.suggest(trial) | recipe.of_any_length(trial)
    if methods.weights_act(overrides["method.name"]):
        overrides |= gender_weight.suggest(trial)
    return overrides
