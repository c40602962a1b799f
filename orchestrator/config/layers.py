"""How a configuration is made of layers, the later ones winning.

They are a recipe, a YAML file, and ``--set key=value``.
"""

import codecs
from collections.abc import Iterable, Mapping
from io import StringIO
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import YAMLError
from ruamel.yaml.reader import ReaderError

from orchestrator.base.errors import InputError
from orchestrator.base.files import Anywhere, one_line, read_bytes, reason_of
from orchestrator.base.words import closest
from orchestrator.config.recipes import RECIPES
from orchestrator.config.settings import Config, DataConfig

TRUTHS = dict.fromkeys(("yes", "y", "on"), "true") | dict.fromkeys(("no", "n", "off"), "false")
"""Words that were truth values in YAML 1.1, and are words in 1.2."""


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
        _apply(values, flatten(loaded), source=str(file))
    _apply(values, dict(overrides or {}), source="overrides")
    _apply(values, dict(_parse_setting(s) for s in settings), source="--set")
    return validated(values, source=str(file or "--set"))


def with_overrides(config: Config, overrides: Mapping[str, Any]) -> Config:
    """Return a copy of `config` with dotted keys replaced, checked again."""
    values = config.model_dump()
    _apply(values, overrides, source="overrides")
    return validated(values, source="overrides")


def value_at(config: Config, key: str) -> Any:
    """Return what a configuration has at a dotted key."""
    found: Any = config
    for part in key.split("."):
        found = getattr(found, part)
    return found


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
    if values.pop("versions", None):
        values.pop("history", None)
        values = as_written_now(values, values.pop("format", 1))
        if isinstance(values.get("data"), Mapping):
            own = DataConfig.model_fields
            values["data"] = {k: v for k, v in values["data"].items() if k in own}
    return values


def as_written_now(values: Mapping[str, Any], format_: int) -> dict[str, Any]:
    """Return a configuration that an older fairfront wrote as this one would.

    Format 1 called the worse gender the worst group.
    """
    train = values.get("train")
    if format_ == 1 and isinstance(train, Mapping) and train.get("monitor") == "worst_group":
        return {**values, "train": {**train, "monitor": "worst_gender"}}
    return dict(values)


def check_settings(settings: Iterable[str], overrides: Mapping[str, Any]) -> None:
    """Raise `InputError` for what is wrong whatever else a configuration says: a key, or a value.

    What depends on other settings is not judged: they are not known.
    """
    values = Config().model_dump()
    _apply(values, overrides, source="overrides")
    _apply(values, dict(_parse_setting(s) for s in settings), source="--set")
    try:
        Config.model_validate(values)
    except ValidationError as error:
        for fault in error.errors():
            if not isinstance(fault["input"], Mapping):  # else several of its keys are together
                raise InputError(f"--set: {_say(fault)}") from None


def _recipe(name: str) -> dict[str, Any]:
    if not isinstance(name, str) or name not in RECIPES:  # as a file has it
        raise InputError(f"--recipe {name}: no such recipe; there are {', '.join(RECIPES)}")
    return RECIPES[name]


def _yaml() -> YAML:
    return YAML(typ="safe", pure=True)  # YAML 1.2: 1e-3 is a number, and `no` is a word


def read_yaml(file: Anywhere) -> dict[str, Any]:
    """Read a YAML file with keys; `InputError` for what is none."""
    try:
        content = read_bytes(file)
    except FileNotFoundError:
        raise InputError(f"{file}: no such configuration file") from None
    except OSError as error:
        raise InputError(f"{file}: no configuration file ({reason_of(error)})") from None
    try:
        wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        loaded = _yaml().load(content.decode("utf-16" if wide else "utf-8-sig"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{file}: line {line} is no UTF-8; save the file as that") from None
    except (YAMLError, ValueError) as error:  # or a date that is none
        raise InputError(f"{file}: not valid YAML: {_fault_of(error)}") from None
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        found = type(loaded).__name__
        raise InputError(f"{file}: expected keys and values at the top, found a {found}")
    return loaded


def _fault_of(error: Exception) -> str:
    """Say in a few words, with the line, what is wrong with YAML."""
    mark = getattr(error, "problem_mark", None)
    if isinstance(error, ReaderError):
        return "a character that cannot be in a text"
    if mark is None:
        return one_line(error)
    problem = " ".join(str(getattr(error, "problem", None) or error).split())
    if isinstance(error, DuplicateKeyError):
        problem = problem.partition(" with value")[0].replace("found duplicate key", "a second key")
    if "'\\t'" in problem:
        problem = "a tab, where YAML takes spaces alone"
    return f"line {mark.line + 1}: {problem}"


def to_yaml(values: Mapping[str, Any]) -> str:
    """Write values as YAML that `read_yaml` reads."""
    stream, yaml = StringIO(), _yaml()
    yaml.default_flow_style = False
    yaml.dump(dict(values), stream)
    return stream.getvalue()


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


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Name every value of a tree of mappings by its keys, joined by dots."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{name}.")
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
            raise InputError(f"{source}: unknown key {key}; {_mend(key, part, values)}")
        if isinstance(part[last], dict):
            keys = ", ".join(part[last])
            raise InputError(f"{source}: {key} is a group of keys; set one of {keys}")
        part[last] = value


def _mend(key: str, part: Any, values: Mapping[str, Any]) -> str:
    """Say what an unknown key may have been meant to be."""
    group, _, last = key.rpartition(".")
    if group and isinstance(part, dict):
        known = {name: f"{group}.{name}" for name in part}
    else:  # a group that is none, or a setting without its group
        known = {name: name for name in flatten(values)} | {name: name for name in values}
        last = key
        alone = [name for name in known if name.rpartition(".")[2] == key]
        if len(alone) == 1:
            return f"did you mean {alone[0]}?"
    listed = ", ".join(sorted(part if isinstance(part, dict) else values))
    meant = closest(last, known)
    return f"did you mean {known[meant]}?" if meant else f"known: {listed}"


def validated(values: Mapping[str, Any], source: str) -> Config:
    """Check a configuration's values; `InputError` for the first that is wrong."""
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{source}: {first_fault(error)}") from None


def first_fault(error: ValidationError) -> str:
    """Say in a line what pydantic found first."""
    return _say(error.errors()[0])


def _say(first: ErrorDetails) -> str:
    key, given = ".".join(str(part) for part in first["loc"]), first["input"]
    if not isinstance(given, Mapping):  # else several of its keys are at fault together
        key += f"={given!r}"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "bool_type" and (meant := TRUTHS.get(str(given).lower())):
        message = f"write {meant}"
    return ": ".join(filter(None, (key, message[0].lower() + message[1:])))
