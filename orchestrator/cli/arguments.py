"""From parsed arguments to what they name: the options, the configuration, the data and the run."""

import argparse
from typing import TYPE_CHECKING, Any, Literal

from orchestrator.base.errors import InputError
from orchestrator.base.files import parse_uri, refuse_existing, refuse_unreachable
from orchestrator.config.layers import resolve, value_at, with_overrides, with_settings
from orchestrator.config.settings import Config
from orchestrator.data.store.store import Store
from orchestrator.run.directory import Run, about_data
from orchestrator.run.progress import RESUMED_AS, read

if TYPE_CHECKING:
    from orchestrator.data.prepare.rows import Options

SETTINGS = {
    "workers": "workers",
    "min_workers": "min_workers",
    "epochs": "train.epochs",
    "space": "sweep.space",
    "trials": "sweep.trials",
    "objective": "sweep.objective",
    "sampler": "sweep.sampler",
    "hours": "sweep.hours",
    "finalists": "sweep.finalists",
    "confirm": "sweep.confirm",
    "concurrent": "sweep.concurrent",
    "price_per_hour": "sweep.price_per_hour",
    "gpus_per_trial": "resources.gpus",
    "cpus_per_trial": "resources.cpus",
    "accelerator_type": "resources.accelerator_type",
}
"""Options of `train` and `sweep` that are settings by another name."""

Command = Literal["train", "sweep"]
FIXED = ("config", "recipe", "epochs", "space", "objective", "sampler", "warm_start")
"""Options that cannot change when a run goes on."""
_RESOURCES = ("resources.gpus", "resources.cpus", "resources.accelerator_type")
FREE = {
    "train": (
        *("workers", "min_workers", "train.checkpoint_seconds", "train.max_failures"),
        *_RESOURCES,
    ),
    "sweep": (
        *(f"sweep.{name}" for name in ("trials", "hours", "concurrent", "finalists", "confirm")),
        *("sweep.price_per_hour", "sweep.may_lose"),
        *(f"sweep.{name}" for name in ("epoch_budget", "patience", "max_failed", "confirm_folds")),
        *_RESOURCES,
    ),
}
"""Settings that can."""


def begin_training(arguments: argparse.Namespace) -> tuple[Run, Config, Store]:
    """Make the run of a new training."""
    config = configure(arguments, recipe_of(arguments))
    _refuse_taken(arguments.out)
    store = open_data(arguments.data)
    check_model(config, store)
    return Run.create(arguments.out, config, about_data(store)), config, store


def begin_sweep(arguments: argparse.Namespace) -> tuple[Run, Config, Store]:
    """Make the run of a new sweep."""
    config = configure(arguments, recipe_of(arguments))
    _refuse_taken(arguments.out)

    from orchestrator.search.space_settings import check_space, keep_space
    from search_spaces import get

    check_space(get(config.sweep.space), config)  # one that is wrong must leave no run behind
    store = open_data(arguments.data)
    check_model(config, store)
    run = Run.create(arguments.out, config, about_data(store))
    keep_space(run, config)
    return run, config, store


def _refuse_taken(out: str) -> None:
    """Refuse a run's place at once, as `Run.create` does after seconds of imports and checks."""
    refuse_unreachable(parse_uri(out))
    refuse_existing(parse_uri(out), "a run")


def resume(arguments: argparse.Namespace, command: Command) -> tuple[Run, Config, Store]:
    """Open the run of a command that goes on; `InputError` for what cannot change.

    A value that is the run's already changes nothing, as in the last line of a shell's history.
    Nothing is written: another process may be at work on the run.
    """
    run = Run.open(arguments.out)
    if changed := _changed(arguments, run, command):
        free = (name for name, key in SETTINGS.items() if key in FREE[command])
        options = [
            f"--{name.replace('_', '-')}" for name in free if name != "min_workers"
        ]  # --workers MIN-MAX has it
        others = [key for key in FREE[command] if key not in SETTINGS.values()]
        raise InputError(
            f"{changed} cannot change with --resume (only {', '.join(options)} and --set "
            f"{', '.join(others)} can); start a new run with another --out"
        )
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


def _changed(arguments: argparse.Namespace, run: Run, command: Command) -> str | None:
    """Name an option that would change what cannot change in a run; None: there is none."""
    config = run.config
    fixed = FIXED if command == "train" else (*FIXED, "workers")
    for name in fixed:
        given = getattr(arguments, name, None)
        if given not in (None, []) and not _is_so_already(name, given, arguments, run, command):
            return f"--{name.replace('_', '-')}"
    for setting in arguments.set:
        key = setting.partition("=")[0].strip()
        if key not in FREE[command] and with_settings(config, [setting]) != config:
            return f"--set {key}"
    return None


def _is_so_already(
    name: str, given: Any, arguments: argparse.Namespace, run: Run, command: Command
) -> bool:
    """Tell whether an option says what the run has been begun with."""
    config = run.config
    if name == "recipe":
        return bool(given == config.recipe)
    if name == "warm_start":
        from orchestrator.search.warm_start import warm_started

        return [str(parse_uri(one)) for one in given] == warm_started(run)
    try:
        if name == "config":
            free = {key: value_at(config, key) for key in FREE[command]}
            asked = configure(arguments, recipe_of(arguments))
            return with_overrides(asked, free) == config
        overrides = {SETTINGS[name]: given}
        if name == "workers":
            overrides["min_workers"] = arguments.min_workers
        return with_overrides(config, overrides) == config
    except InputError:
        return False


def configure(arguments: argparse.Namespace, recipe: str) -> Config:
    """Build the configuration from a recipe, the file, the settings and the options."""
    file = parse_uri(arguments.config) if arguments.config else None
    return resolve(recipe, file, arguments.set, settings(arguments))


def recipe_of(arguments: argparse.Namespace) -> str:
    """Return the recipe that a command line begins from: its own, or that of the space it names."""
    if (name := getattr(arguments, "space", None)) is not None:
        from search_spaces import SPACES  # Optuna takes its time to import

        return SPACES[name].recipe if name in SPACES else "default"
    return getattr(arguments, "recipe", None) or "default"


def check_model(config: Config, store: Store) -> None:
    """Find here, not in a worker, that a model, its weights or its teacher cannot be had."""
    import models

    models.build(config.model, store.meta.image_size)
    if config.loss.teacher:
        import pyarrow as pa

        from orchestrator.training.teacher import targets

        shards = store.meta.shards["train"] + store.meta.shards["val"]  # which folds train on, too
        rows = pa.concat_tables(store.read_shard(one, ["filename", "label"]) for one in shards)
        names = rows["filename"].cast(pa.large_string()).combine_chunks()
        targets(config.loss, rows["label"].to_numpy(), names)


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


def prepare_options(arguments: argparse.Namespace) -> "Options":
    """Return what `prepare` is to make of its faces; not checked."""
    from orchestrator.data.prepare.rows import Options

    return Options(
        image_size=arguments.image_size,
        fractions=fractions(arguments.split),
        split_by=arguments.split_by,
        seed=arguments.seed,
        limit=arguments.limit,
        max_bad=arguments.max_bad,
    )


def open_data(data: str | None) -> Store:
    """Open a data set; without one `InputError` asks for it."""
    if not data:
        raise InputError("--data is missing; give a data set that fairfront prepare made")
    return Store.open(data)
