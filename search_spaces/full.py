"""All at once, on CNNs: methods, women/men weight, recipe and CNN.

It is the sum of the spaces `methods`, `gender_weight`, `recipe` and the CNNs of `architecture`, so
``--epochs`` is the most that a trial may take here too. ResNet50 is left out for trials to end in a
reasonable time on a CPU; there is `architecture` for it. With so many parameters, the default of 20
trials is hardly more than random search.
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
        if name != "network"  # which is always the CNN
    }
}


def suggest(trial: BaseTrial) -> dict[str, Any]:
    """Choose all of a trial's configuration but the data."""
    return (
        methods.suggest(trial)
        | gender_weight.suggest(trial)
        | recipe.suggest(trial)
        | architecture.cnn(trial)
    )
