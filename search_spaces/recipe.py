"""How to train: learning rate, batch, epochs, augmentation, regularisation.

A trial's `epochs` are the length of its learning rate's schedule, and so a setting of its own;
``--epochs`` is the most (10: give more to try all of them). Where a scheduler stops trials by their
score after so many epochs, short ones have the advantage of a learning rate that has fallen
further: leave that out (``--set sweep.halving=false``) when long training is what you want to know
about.

`ema` 0 is none; the others average weights over about 100 and 500 steps, and over no more than a
tenth of those taken. An epoch has 47 steps where 6,000 faces come in batches of 128, and 3,600
where 115,000 come in batches of 32.
"""

from typing import Any

from optuna.trial import BaseTrial

POINTS: dict[str, dict[str, Any]] = {
    "plain": {
        "lr": 1e-3,
        "batch_size": 32,
        "epochs": 10,
        "weight_decay": 0.0,
        "ema": 0.0,
        "flip": True,
        "shift": 0,
        "colour": 0.0,
        "erase": 0.0,
        "dropout": 0.5,
    }
}
"""What `plain` takes from the configuration's defaults. The published recipe is not here: it lies
apart in its loss and its weights, which this space leaves alone."""


def suggest(trial: BaseTrial) -> dict[str, Any]:
    """Choose how a trial trains, and for how long."""
    return {"train.epochs": trial.suggest_int("epochs", 4, 15), **of_any_length(trial)}


def of_any_length(trial: BaseTrial) -> dict[str, Any]:
    """Choose how a trial trains, and leave its epochs to the run."""
    overrides = learning_rate(trial) | {
        "train.batch_size": trial.suggest_categorical("batch_size", [32, 64, 128]),
        # Linear, to have 0. At 0.1 and a rate of 1e-3, ten epochs of 36,000 faces in batches of 32
        # leave 0.57 of a weight that nothing else moves.
        "train.weight_decay": trial.suggest_float("weight_decay", 0.0, 0.1),
        "train.ema": trial.suggest_categorical("ema", [0.0, 0.99, 0.998]) or None,
    }
    return overrides | augmentation(trial) | dropout(trial)


def learning_rate(trial: BaseTrial) -> dict[str, Any]:
    """Choose the learning rate."""
    return {"train.lr": trial.suggest_float("lr", 1e-4, 3e-3, log=True)}


def augmentation(trial: BaseTrial) -> dict[str, Any]:
    """Choose how faces are changed; shift is in pixels, of 80 a side."""
    # One number for all three changes of colour keeps the space small. That 0 is among its values
    # matters more: colour tells blond hair.
    colour = trial.suggest_float("colour", 0.0, 0.4)
    return {
        "augment.flip": trial.suggest_categorical("flip", [True, False]),
        "augment.shift": trial.suggest_int("shift", 0, 6),
        "augment.brightness": colour,
        "augment.contrast": colour,
        "augment.saturation": colour,
        "augment.erase": trial.suggest_float("erase", 0.0, 0.5),
    }


def dropout(trial: BaseTrial) -> dict[str, Any]:
    """Choose the share of the last layer's inputs that are dropped."""
    return {"model.dropout": trial.suggest_float("dropout", 0.0, 0.7)}
