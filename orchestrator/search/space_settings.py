"""From a space and a trial of the study to a configuration; and from a trial's files to a space."""

import warnings
from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.trial import BaseTrial, FixedTrial

from orchestrator.base.errors import InputError
from orchestrator.config.layers import with_overrides
from orchestrator.config.settings import Config
from search_spaces import Space
from search_spaces.ranges import Sampler, settings_of


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
