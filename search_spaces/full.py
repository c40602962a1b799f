"""All at once, on CNNs: methods, women/men weight, recipe and CNN.

It is the sum of the spaces `methods`, `gender_weight`, `recipe` and the CNNs of `architecture`, but
for `epochs`: every trial has those of the run, so that trials of the same epoch are equally far in
their schedules, and the scheduler that compares them there decides how long each one trains.
ResNet50 is left out for trials to end in a reasonable time on a CPU; there is `architecture` for
it. With so many parameters, the default of 20 trials is hardly more than random search.
"""

from typing import Any

from optuna.trial import BaseTrial

from search_spaces import architecture, gender_weight, methods, recipe

_PARTS = (methods, gender_weight, recipe, architecture)

POINTS: dict[str, dict[str, Any]] = {
    "plain": {
        name: value
        for part in _PARTS
        for name, value in part.POINTS["plain"].items()
        if name not in ("network", "epochs")  # the CNN, and as many as the run has
    }
}


def suggest(trial: BaseTrial) -> dict[str, Any]:
    """Choose all of a trial's configuration but the data and the epochs."""
    return but_for_network(trial) | architecture.cnn(trial)


def but_for_network(trial: BaseTrial) -> dict[str, Any]:
    """Choose the same without the network, but for its dropout."""
    overrides = methods.suggest(trial) | recipe.of_any_length(trial)
    if methods.weights_act(overrides["method.name"]):
        overrides |= gender_weight.suggest(trial)
    return overrides
