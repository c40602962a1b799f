"""Search spaces: what a sweep varies.

A space is a module with one function ``suggest(trial)``, which asks an Optuna trial for parameters
and returns dotted keys of the configuration with their values. It may have ``POINTS``, the
parameters that stand for a recipe in this space, by recipe, so that a sweep can start from them.
One of ours may have ``RECIPE``, the settings that its trials start from.

Spaces are made of each other's functions, and so can be the user's own, for example
``focal.suggest(trial) | recipe.learning_rate(trial)``. Where a setting can be off, its range has
the value that turns it off, so that all trials have the parameter: GP, CMA-ES and NSGA-II model
only those. What acts for one choice alone is asked for there alone, which TPE models in groups.
"""

import importlib.util
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from optuna.trial import BaseTrial

from orchestrator.base.errors import InputError
from orchestrator.base.files import one_line
from search_spaces import (
    architecture,
    focal,
    focal_gender,
    full,
    gender_weight,
    heads,
    methods,
    recipe,
)


@dataclass(frozen=True, slots=True)
class Space:
    """What a sweep varies."""

    suggest: Callable[[BaseTrial], dict[str, Any]]
    """From a trial to dotted keys of the configuration, for example ``{"loss.gamma": 1.2}``."""
    points: dict[str, dict[str, Any]]
    """By recipe, the Optuna parameters that stand for it; a recipe may be outside the space."""
    doc: str
    recipe: str = "default"
    """What a sweep of it starts from."""

    @property
    def untuned_plain(self) -> dict[str, Any] | None:
        """The parameters that stand for plain, but for those of the recipe, which are tuned.

        None where the space does not say what stands for plain, or tunes nothing of it.
        """
        plain = self.points.get("plain", {})
        fixed = {name: value for name, value in plain.items() if name not in recipe.POINTS["plain"]}
        return fixed if len(fixed) < len(plain) else None


def get(name: str) -> Space:
    """Give a search space: one of `SPACES`, or the user's own in a Python file.

    Parameters
    ----------
    name
        A key of `SPACES`, or a path that ends in ``.py``.

    Raises
    ------
    InputError
        No such space or file, a file that does not run, or one without ``suggest``.
    """
    if name in SPACES:
        return SPACES[name]
    if not name.endswith(".py"):
        raise InputError(
            f"{name}: no such search space; there are {', '.join(SPACES)}, or give a Python file "
            "with a function suggest(trial)"
        )
    path = Path(name).expanduser()
    if not path.is_file():
        raise InputError(f"{name}: no such file; give a search space in a Python file")
    return _space(_load(path), source=name)


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # The module stays out of sys.modules: no other module of its name is hidden, and its functions
    # are pickled whole for processes that do not have the file.
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InputError(f"{path}: {type(error).__name__}: {one_line(error)}") from error
    return module


def _space(module: ModuleType, source: str) -> Space:
    suggest, points = getattr(module, "suggest", None), getattr(module, "POINTS", {})
    if not callable(suggest):
        raise InputError(f"{source}: has no function suggest(trial); write one")
    if not (isinstance(points, dict) and all(isinstance(p, dict) for p in points.values())):
        raise InputError(f"{source}: POINTS must be a dict of dicts: recipe, then parameter")
    recipe = getattr(module, "RECIPE", "default")
    return Space(suggest, points, inspect.cleandoc(module.__doc__ or ""), recipe)


_MODULES = (focal_gender, focal, gender_weight, methods, recipe, architecture, full, heads)
SPACES: dict[str, Space] = {
    name: _space(module, source=name)
    for module in _MODULES
    for name in [module.__name__.rpartition(".")[2]]
}
"""The search spaces by name."""
