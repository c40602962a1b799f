"""Recipes: settings by name, from which a configuration starts."""

from typing import Any

PLAIN: dict[str, Any] = {
    "loss.name": "focal",
    "loss.gamma": 0.0,
    "loss.class_balancing": False,
    "loss.smoothing": 0.0,
    "loss.teacher": None,
    "method.name": "erm",
    "balance.policy": "none",
    "balance.weight_women": 1.0,
    "balance.weight_men": 1.0,
    "last_layer.held_out": 0.0,
}
REFERENCE: dict[str, Any] = {
    **PLAIN,
    "loss.gamma": 5.0,
    "balance.policy": "undersample",
    "balance.over": "gender",
    "balance.redraw": False,
    "model.name": "cnn",
    "model.depth": 3,
    "model.width": 32,
    "model.batch_norm": False,
    "model.head": "flatten",
    "model.hidden": 512,
    "model.dropout": 0.5,
    "augment.flip": False,
    "augment.shift": 0,
    "augment.brightness": 0.0,
    "augment.contrast": 0.0,
    "augment.saturation": 0.0,
    "augment.erase": 0.0,
    "train.optimiser": "adam",
    "train.epochs": 10,
    "train.batch_size": 32,
    "train.lr": 1e-3,
    "train.weight_decay": 0.0,
    "train.schedule": "constant",
    "train.clip_norm": None,
    "train.ema": None,
    "train.monitor": "val_loss",
    "train.patience": 1,
    "train.keep": "last",
}
RECIPES: dict[str, dict[str, Any]] = {
    # The sweep's trials start from here.
    "default": {},
    # Cross-entropy, no weights, no balancing: what one would train by hand.
    "plain": PLAIN,
    # The published recipe, with its gender weights; docs/decisions.md lists what it left open.
    "reference": {**REFERENCE, "balance.weight_men": 0.1},
    # The published recipe before its gender weights.
    "reference-unweighted": REFERENCE,
    # One method each over `plain`; docs/results.md compares them.
    "focal": {**PLAIN, "loss.gamma": 2.0},
    "strata-weights": {**PLAIN, "balance.policy": "weights", "balance.over": "gender_class"},
    "strata-oversample": {**PLAIN, "balance.policy": "oversample", "balance.over": "gender_class"},
    "group-dro": {**PLAIN, "method.name": "group_dro"},
    "gap-penalty": {**PLAIN, "method.name": "gap_penalty"},
    "label-smoothing": {**PLAIN, "loss.smoothing": 0.1},
    "gce": {**PLAIN, "loss.name": "gce"},
    # Heads of a frozen network, fitted at once; for `--space heads`.
    "head": {
        **PLAIN,
        "model.head": "stages",
        "model.hidden": 0,
        "model.dropout": 0.0,
        "augment.flip": False,
        "train.optimiser": "lbfgs",
        "train.epochs": 1,
    },
    "last-layer": {**PLAIN, "last_layer.held_out": 0.2},
}
