"""The one configuration of a run: typed, strict, and written whole into the run directory.

Each part is defined beside what it configures. A run's configuration is made in three layers, the
later ones winning: a recipe (a preset below), a YAML file, and ``--set key=value``.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from models.config import ModelConfig
from models.losses import LossConfig
from models.methods import MethodConfig
from orchestrator.augment import AugmentConfig
from orchestrator.balance import BalanceConfig
from orchestrator.data import DataConfig
from orchestrator.errors import InputError
from orchestrator.files import Anywhere, one_line, reason_of
from orchestrator.lastlayer import LastLayerConfig
from orchestrator.loop import TrainConfig
from orchestrator.strict import Strict


class SweepConfig(Strict):
    """What `fairfront sweep` searches, and how long."""

    space: str = "focal_gender"
    trials: int = Field(default=20, ge=1)
    """In all, the two baselines included, however they end."""
    objective: Literal["fair", "pareto"] = "fair"
    """fair: the fair metric alone; pareto: mean accuracy and gap, the whole front."""
    sampler: Literal["tpe", "gp", "cmaes", "nsga2", "random"] = "tpe"
    """Who suggests settings; cmaes has one objective only."""
    startup_trials: int = Field(default=8, ge=1)
    """Random trials before tpe, gp or cmaes model the objective."""
    halving: bool = True
    """Stop trials that are worse than most at the same epoch; the baselines are never stopped."""
    grace: int = Field(default=2, ge=1)
    """The first epoch after which a trial may be stopped."""
    reduction: int = Field(default=3, ge=2)
    """Of so many trials one goes on, at `grace` epochs and so many times as many each time."""
    concurrent: int | None = Field(default=None, ge=1)
    """Trials at a time; null: as many as the cluster's devices serve well."""
    hours: float | None = Field(default=None, gt=0)
    """Stop after so long; trials that still run can be gone on with."""
    epoch_budget: int | None = Field(default=None, ge=1)
    """Begin no more trials once so many epochs are trained."""
    patience: int | None = Field(default=None, ge=1)
    """Begin no more trials when the front's hypervolume has stood still for so many."""
    max_failed: int | None = Field(default=10, ge=1)
    """Begin no more trials when so many have failed: something else is wrong."""
    confirm: int = Field(default=0, ge=0)
    """Retrain the front and the baselines on so many new seeds, in the end."""
    confirm_folds: int | None = Field(default=None, ge=2, le=100)
    """And each on every one of so many folds of train and val."""

    @model_validator(mode="after")
    def _one_objective(self) -> "SweepConfig":
        if self.sampler == "cmaes" and self.objective == "pareto":
            raise ValueError("cmaes has one objective only; use tpe, gp or nsga2 for pareto")
        return self


class Config(Strict):
    """Everything that decides a run's result, given the data."""

    recipe: str = "default"
    seed: int = Field(default=0, ge=0, lt=2**32)
    fair_lambda: float = Field(default=2.0, ge=0)
    """The weight of the gap in ``fair = mean accuracy - lambda * gap``."""
    workers: int = Field(default=1, ge=1)
    """Training processes a trial, each with its own device."""
    min_workers: int | None = Field(default=None, ge=1)
    """Go on with so few of them where nodes come and go; null: only with all of them."""
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    method: MethodConfig = MethodConfig()
    balance: BalanceConfig = BalanceConfig()
    augment: AugmentConfig = AugmentConfig()
    train: TrainConfig = TrainConfig()
    last_layer: LastLayerConfig = LastLayerConfig()
    sweep: SweepConfig = SweepConfig()

    @model_validator(mode="after")
    def _range_of_workers(self) -> "Config":
        if self.min_workers is not None and self.min_workers > self.workers:
            raise ValueError(f"min_workers is {self.min_workers}, more than workers={self.workers}")
        return self


PLAIN: dict[str, Any] = {
    "loss.name": "focal",
    "loss.gamma": 0.0,
    "loss.class_balancing": False,
    "loss.smoothing": 0.0,
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
    "last-layer": {**PLAIN, "last_layer.held_out": 0.2},
}


def resolve(
    recipe: str = "default",
    file: Anywhere | None = None,
    settings: Iterable[str] = (),
    overrides: Mapping[str, Any] | None = None,
) -> Config:
    """Build the configuration from a recipe, a YAML file, overrides and ``key=value`` strings.

    Raises
    ------
    InputError
        A recipe or key that does not exist, a value of the wrong type, or a file that is not YAML.
    """
    values = Config().model_dump()
    if file is not None:
        loaded = configuration_in(read_yaml(file))
        recipe = loaded.pop("recipe", recipe) if recipe == "default" else recipe
        loaded.pop("recipe", None)
    _apply(values, {"recipe": recipe, **_recipe(recipe)}, source=f"recipe {recipe}")
    if file is not None:
        _apply(values, _flatten(loaded), source=str(file))
    _apply(values, dict(overrides or {}), source="overrides")
    _apply(values, dict(_parse_setting(s) for s in settings), source="--set")
    return validated(values, source=str(file or "--set"))


def with_overrides(config: Config, overrides: Mapping[str, Any]) -> Config:
    """Return a copy of `config` with dotted keys replaced, checked again."""
    values = config.model_dump()
    _apply(values, overrides, source="overrides")
    return validated(values, source="overrides")


def with_recipe(config: Config, recipe: str) -> Config:
    """Return `config` with a recipe's settings over it."""
    return with_overrides(config, {"recipe": recipe, **_recipe(recipe)})


def with_settings(config: Config, settings: Iterable[str]) -> Config:
    """Return `config` with ``key=value`` strings over it."""
    values = config.model_dump()
    _apply(values, dict(_parse_setting(s) for s in settings), source="--set")
    return validated(values, source="--set")


def configuration_in(loaded: Mapping[str, Any]) -> dict[str, Any]:
    """Return a file's configuration, which is all but what a run records beside its own."""
    values = dict(loaded)
    if values.pop("versions", None) and isinstance(values.get("data"), Mapping):
        values["data"] = {k: v for k, v in values["data"].items() if k in DataConfig.model_fields}
    return values


def _recipe(name: str) -> dict[str, Any]:
    if not isinstance(name, str) or name not in RECIPES:  # as a file has it
        raise InputError(f"--recipe {name}: no such recipe; there are {', '.join(RECIPES)}")
    return RECIPES[name]


def _yaml() -> YAML:
    return YAML(typ="safe", pure=True)  # YAML 1.2: 1e-3 is a number, and `no` is a word


def read_yaml(file: Anywhere) -> dict[str, Any]:
    """Read a YAML file with keys; `InputError` for what is none."""
    try:
        loaded = _yaml().load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{file}: no such configuration file") from None
    except OSError as error:
        raise InputError(f"{file}: no configuration file ({reason_of(error)})") from None
    except (YAMLError, ValueError) as error:  # not UTF-8, or a date that is none
        raise InputError(f"{file}: not valid YAML: {one_line(error)}") from None
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        found = type(loaded).__name__
        raise InputError(f"{file}: expected keys and values at the top, found a {found}")
    return loaded


def _parse_setting(setting: str) -> tuple[str, Any]:
    key, equals, text = setting.partition("=")
    if not equals or not key:
        raise InputError(f"--set {setting}: expected key=value, for example loss.gamma=2")
    if key.strip() == "recipe":
        raise InputError(f"--set {setting}: a recipe is many settings; give it with --recipe")
    try:
        return key.strip(), _yaml().load(text)
    except (YAMLError, ValueError):  # of a date that is none, too
        raise InputError(f"--set {setting}: the value is not valid YAML") from None


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{name}.")
        else:
            flat[name] = value
    return flat


def _apply(values: dict[str, Any], flat: Mapping[str, Any], source: str) -> None:
    for key, value in flat.items():
        *parents, last = key.split(".")
        part: Any = values
        for parent in parents:
            part = part.get(parent) if isinstance(part, dict) else None
        if not isinstance(part, dict) or last not in part:
            known = ", ".join(sorted(part if isinstance(part, dict) else values))
            raise InputError(f"{source}: unknown key {key}; known: {known}")
        if isinstance(part[last], dict):
            keys = ", ".join(part[last])
            raise InputError(f"{source}: {key} is a group of keys; set one of {keys}")
        part[last] = value


def validated(values: Mapping[str, Any], source: str) -> Config:
    """Check a configuration's values; `InputError` for the first that is wrong."""
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{source}: {first_fault(error)}") from None


def first_fault(error: ValidationError) -> str:
    """Say in a line what pydantic found first."""
    first = error.errors()[0]
    key, given = ".".join(str(part) for part in first["loc"]), first["input"]
    if not isinstance(given, Mapping):  # else several of its keys are at fault together
        key += f"={given!r}"
    message = first["msg"].removeprefix("Value error, ")
    return ": ".join(filter(None, (key, message[0].lower() + message[1:])))
