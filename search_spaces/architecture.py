"""The network: a CNN by depth, width and head, or ResNet50, frozen or not.

ResNet50 begins with the weights of ``model.weights``, which this space leaves as the run has it:
by default they come from torchvision's hub, and without a connection to it those trials fail. Fetch
the file where there is one and give it with ``--set model.weights=FILE``; ``resnet50_scratch`` is
trained from random weights and needs none. ``resnet50_reference`` is frozen under the published
head: the whole map of features, and 512 hidden units. The others have a linear head on pooled
features, and nothing of ResNet50 is unfrozen, or its last stage, or all.

ResNet50 wants a GPU. The first trial with a frozen one makes its features, and later ones train on
them, as long as nothing but flips augments and a tenth of the memory holds them. With ``--set
model.name=resnet50 model.head=pooled`` Ray Data makes those of `resnet50_pooled` on all devices
before the sweep, and all trials share them. `full` has the CNNs alone.

Images of fewer than 46 pixels a side are too small for four stages.
"""

from typing import Any

from optuna.trial import BaseTrial

from search_spaces import recipe

POINTS: dict[str, dict[str, Any]] = {
    "plain": {
        "network": "cnn",
        "depth": 3,
        "width": 32,
        "batch_norm": False,
        "head": "flatten",
        "hidden": 512,
        "dropout": 0.5,
    }
}
"""The published recipe has this network too, and is apart in its loss and its weights."""

POOLED: dict[str, Any] = {"model.head": "pooled", "model.hidden": 0}
RESNETS: dict[str, dict[str, Any]] = {
    "resnet50_reference": {
        "model.head": "flatten",
        "model.hidden": 512,
        "model.unfreeze": "none",
    },
    "resnet50_pooled": POOLED | {"model.unfreeze": "none"},
    "resnet50_last_stage": POOLED | {"model.unfreeze": "last_stage"},
    "resnet50_all": POOLED | {"model.unfreeze": "all"},
    "resnet50_scratch": POOLED | {"model.unfreeze": "all", "model.weights": "random"},
}
FINE_TUNED = ("resnet50_last_stage", "resnet50_all")


def suggest(trial: BaseTrial) -> dict[str, Any]:
    """Choose a network; each family has parameters of its own."""
    network = trial.suggest_categorical("network", ["cnn", *RESNETS])
    if network == "cnn":
        return cnn(trial)
    overrides = {"model.name": "resnet50"} | RESNETS[network] | recipe.dropout(trial)
    if network in FINE_TUNED:
        overrides["model.lr_backbone"] = trial.suggest_float("lr_backbone", 0.01, 1.0, log=True)
    return overrides


def cnn(trial: BaseTrial) -> dict[str, Any]:
    """Choose a CNN of the published one's family; 0 hidden units are none."""
    return {
        "model.name": "cnn",
        "model.depth": trial.suggest_int("depth", 2, 4),
        "model.width": trial.suggest_int("width", 16, 64, step=16),
        "model.batch_norm": trial.suggest_categorical("batch_norm", [False, True]),
        "model.head": trial.suggest_categorical("head", ["flatten", "pooled"]),
        "model.hidden": trial.suggest_int("hidden", 0, 512, step=128),
        **recipe.dropout(trial),
    }
