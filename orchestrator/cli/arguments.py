"""From parsed arguments to what they name: the options, the configuration, the data and the run."""

import argparse
from typing import Any, Literal

from orchestrator.base.errors import InputError
from orchestrator.base.files import parse_uri
from orchestrator.config.layers import resolve, with_overrides, with_settings
from orchestrator.config.settings import Config
from orchestrator.data.store.store import Store
from orchestrator.run.directory import Run, about_data
from orchestrator.run.progress import RESUMED_AS, read

SETTINGS = {
    "workers": "workers",
    "min_workers": "min_workers",
    "epochs": "train.epochs",
    "space": "sweep.space",
    "trials": "sweep.trials",
    "objective": "sweep.objective",
    "sampler": "sweep.sampler",
    "hours": "sweep.hours",
    "confirm": "sweep.confirm",
    "concurrent": "sweep.concurrent",
}
"""Options of `train` and `sweep` that are settings by another name."""

Command = Literal["train", "sweep"]
FIXED = ("config", "recipe", "epochs", "space", "objective", "sampler", "warm_start")
"""Options that cannot change when a run goes on."""
FREE = {
    "train": ("train.checkpoint_seconds", "train.max_failures"),
    "sweep": tuple(
        f"sweep.{name}" for name in ("epoch_budget", "patience", "max_failed", "confirm_folds")
    ),
}
"""Settings that can, beside options."""


def begin_training(arguments: argparse.Namespace) -> tuple[Run, Config, Store]:
    """Make the run of a new training."""
    config = configure(arguments, arguments.recipe or "default")
    store = open_data(arguments.data)
    check_model(config, store)
    return Run.create(arguments.out, config, about_data(store)), config, store


def begin_sweep(arguments: argparse.Namespace) -> tuple[Run, Config, Store]:
    """Make the run of a new sweep."""
    from orchestrator.search.space_settings import check_space
    from orchestrator.search.sweep import keep_space
    from search_spaces import get

    config = configure(arguments, "default")
    check_space(get(config.sweep.space), config)  # one that is wrong must leave no run behind
    store = open_data(arguments.data)
    check_model(config, store)
    run = Run.create(arguments.out, config, about_data(store))
    keep_space(run, config)
    return run, config, store


def resume(arguments: argparse.Namespace, command: Command) -> tuple[Run, Config, Store]:
    """Open the run of a command that goes on; `InputError` for what cannot change.

    Nothing is written: another process may be at work on the run.
    """
    fixed, free = (
        (FIXED, "--workers")
        if command == "train"
        else ((*FIXED, "workers"), "--trials, --hours, --concurrent, --confirm")
    )
    changed = [
        f"--{name.replace('_', '-')}"
        for name in fixed
        if getattr(arguments, name, None) not in (None, [])
    ]
    keys = [setting.partition("=")[0].strip() for setting in arguments.set]
    changed += [f"--set {key}" for key in keys if key not in FREE[command]]
    if changed:
        raise InputError(
            f"{changed[0]} cannot change with --resume (only {free} and --set "
            f"{', '.join(FREE[command])} can); start a new run with another --out"
        )
    run = Run.open(arguments.out)
    before = read(run)
    if before is not None and RESUMED_AS.get(before.command, before.command) != command:
        raise InputError(
            f"{arguments.out}: a run of fairfront {before.command}; go on with that, not {command}"
        )
    store = open_data(arguments.data or run.data["path"])
    if store.meta.fingerprint != run.data["fingerprint"]:
        raise InputError(
            f"--data {store.path}: not the data that {arguments.out} was begun with "
            f"({run.data['path']}); give that, or start a new run with another --out"
        )
    config = with_settings(with_overrides(run.config, settings(arguments)), arguments.set)
    done = len(run.ended())
    if command == "sweep" and config.sweep.trials < done:
        raise InputError(f"--trials {config.sweep.trials}: the run has {done} already; give more")
    return run, config, store


def configure(arguments: argparse.Namespace, recipe: str) -> Config:
    """Build the configuration from a recipe, the file, the settings and the options."""
    file = parse_uri(arguments.config) if arguments.config else None
    return resolve(recipe, file, arguments.set, settings(arguments))


def check_model(config: Config, store: Store) -> None:
    """Find here, not in a worker, that a model or its weights cannot be had."""
    import models

    models.build(config.model, store.meta.image_size)


def settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the options given that are settings by another name, by their keys."""
    given = {key: getattr(arguments, name, None) for name, key in SETTINGS.items()}
    workers = given["workers"] is not None  # which says, too, that there is no least number
    return {k: v for k, v in given.items() if v is not None or (workers and k == "min_workers")}


def fractions(text: str) -> tuple[float, float, float]:
    """Read the option ``--split``."""
    try:
        train, val, test = (float(part) for part in text.split(","))
    except ValueError:
        raise InputError(
            f"--split {text}: give three shares that sum to 1, as 0.6,0.2,0.2"
        ) from None
    return train, val, test


def open_data(data: str | None) -> Store:
    """Open a data set; without one `InputError` asks for it."""
    if not data:
        raise InputError("--data is missing; give a data set that fairfront prepare made")
    return Store.open(data)
