"""A run's space; from it and a trial of the study to a configuration, and from a trial back."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.trial import BaseTrial, FixedTrial

from orchestrator.base.errors import InputError
from orchestrator.base.files import writing
from orchestrator.base.here import copied_here
from orchestrator.config.layers import with_overrides
from orchestrator.config.settings import Config
from orchestrator.run.directory import Run
from search_spaces import SPACES, Space, get
from search_spaces.ranges import Sampler, settings_of

OWN_SPACE = "space.py"
"""In a run: its search space, where that is a file of the user's."""


def keep_space(run: Run, config: Config) -> None:
    """Copy the user's own search space into a new run, which must mean the same ever after."""
    if config.sweep.space not in SPACES:
        with writing(run.path / OWN_SPACE) as file:
            file.write(Path(config.sweep.space).expanduser().read_bytes())


def space_of(run: Run, config: Config) -> Space:
    """Give a run's search space; `InputError` where it is no longer there."""
    own = run.path / OWN_SPACE
    if not own.exists():
        return get(config.sweep.space)
    with copied_here(own) as here:
        return get(str(here))


def about_space(space: Space, config: Config) -> str:
    """Say what a sweep varies, and what would serve its network better."""
    first = space.doc.partition("\n")[0].rstrip(".")
    told = f"space {config.sweep.space}" + (f": {first[:1].lower()}{first[1:]}" if first else "")
    frozen = config.model.name != "cnn" and config.model.unfreeze == "none"
    if frozen and config.train.optimiser != "lbfgs":
        return f"{told}; the network is frozen: --space heads fits its heads, hundreds in minutes"
    return f"{told}; fairfront search-spaces lists the others"


def check_space(space: Space, config: Config) -> None:
    """Raise `InputError` now, not some trials later, for a space whose settings cannot be."""
    Sampler(f"--space {config.sweep.space}", space, config).draw()


def suggested(space: Space, config: Config, trial: BaseTrial) -> Config:
    """Return the configuration that a space makes of a trial; `InputError` as `settings_of`."""
    overrides = settings_of(f"--space {config.sweep.space}", space, trial, config)
    if "train.epochs" in overrides:  # the run's are the most
        overrides["train.epochs"] = min(overrides["train.epochs"], config.train.epochs)
    # A recipe that the search began from is not what its trials are: two alone are baselines.
    return with_overrides(config, {**overrides, "recipe": "default"})


def replayed(
    space: Space, config: Config, params: Mapping[str, Any], number: int = 0
) -> dict[str, BaseDistribution] | None:
    """Return the ranges that a space has for a trial's parameters; None where they lie outside.

    Parameters
    ----------
    space, config
        What is searched.
    params
        Of a trial that has been, perhaps one of another sweep; of more than the space asks for the
        rest is passed over.
    number
        The trial's, which a space may look at.
    """
    fixed = FixedTrial(dict(params), number=number)
    try:
        with warnings.catch_warnings(action="ignore"):  # it warns of what is out of range
            suggested(space, config, fixed)
    except (ValueError, InputError):  # another parameter
        return None
    ranges = fixed.distributions
    inside = (
        ranges[name]._contains(float(ranges[name].to_internal_repr(params[name])))
        for name in ranges
    )
    return ranges if all(inside) else None
