"""What a search space varies, found by trying it.

A space is a function, and has no list of its parameters. Many random trials show which there are
and for which choices, and trials that differ in one parameter alone show which settings it decides.
So nothing is written down twice, and the user's own spaces are read as ours are.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.trial import BaseTrial

from orchestrator.base.errors import InputError
from orchestrator.base.files import one_line
from orchestrator.config.layers import with_overrides
from orchestrator.config.settings import Config
from search_spaces import Space

SAMPLES = 200
"""Random trials. What one in 36 has is missed with a chance of 0.4%, and by no space of ours."""
REDRAWS = 20
"""Trials in which a parameter is drawn anew."""
MOST_CHOICES = 10
"""Integers of more values do not explain why another parameter is there."""
SOMETIMES = "in some trials"


@dataclass(frozen=True)
class Parameter:
    """What a space asks a trial for; one that has several ranges is there once for each."""

    name: str
    distribution: BaseDistribution
    condition: str
    """The choices for which it exists, for example ``policy=weights``; empty: it always does."""
    keys: tuple[str, ...]
    """The settings that it decides."""


@dataclass(frozen=True)
class Ranges:
    """What a space varies."""

    parameters: tuple[Parameter, ...]
    """In the order in which they are asked for."""
    fixed: Mapping[str, Any]
    """Settings that are the same in all trials."""


@dataclass(frozen=True)
class Sample:
    """What a trial was given, and what the space made of it."""

    params: dict[str, Any]
    distributions: dict[str, BaseDistribution]
    overrides: dict[str, Any]


def settings_of(name: str, space: Space, trial: BaseTrial, config: Config) -> dict[str, Any]:
    """Ask a space for a trial's settings.

    Parameters
    ----------
    name, space
        The space, and its name for what is said of its faults.
    trial
        Of Optuna.
    config
        What the settings will be put over.

    Raises
    ------
    InputError
        The space's function fails, or what it returns is no part of a configuration.
    """
    try:
        settings: Any = space.suggest(trial)  # as the user wrote it
    except Exception as error:
        raise InputError(
            f"{name}: suggest(trial): {type(error).__name__}: {one_line(error)}"
        ) from error
    if not isinstance(settings, dict) or not all(isinstance(key, str) for key in settings):
        found = type(settings).__name__
        if isinstance(settings, dict):
            found += f" with {next(key for key in settings if not isinstance(key, str))!r} in it"
        raise InputError(
            f"{name}: suggest(trial) must return a dict of settings, such as "
            f'{{"loss.gamma": 2.0}}; it returned a {found}'
        )
    if shared := [key for key in settings if key.startswith("data.")]:
        raise InputError(
            f"{name}: suggest(trial) varies {shared[0]}, but all trials share one copy of the "
            "data; give such a setting with --set"
        )
    try:
        with_overrides(config, settings)
    except InputError as error:
        message = str(error).removeprefix("overrides: ")
        raise InputError(f"{name}: suggest(trial): {message}") from None
    return settings


class Sampler:
    """Draws random trials from a space, the same ones each time.

    Parameters
    ----------
    name, space
        The space, and its name for what is said of its faults.
    config
        What its settings will be put over.
    """

    def __init__(self, name: str, space: Space, config: Config | None = None) -> None:
        self._name, self._space, self._config = name, space, config or Config()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))

    def draw(self, params: Mapping[str, Any] | None = None) -> Sample:
        """Draw a trial, but for the parameters that are given.

        Raises
        ------
        InputError
            As `settings_of` does.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a value is outside its range in this branch
            self._study.enqueue_trial(dict(params or {}))
            trial = self._study.ask()
            overrides = settings_of(self._name, self._space, trial, self._config)
        return Sample(trial.params, trial.distributions, overrides)


def count(name: str, space: Space) -> int:
    """Count a space's parameters."""
    sampler = Sampler(name, space)
    return len({name for _ in range(SAMPLES) for name in sampler.draw().params})


def read(name: str, space: Space) -> Ranges:
    """Find out what a space varies.

    Parameters
    ----------
    name, space
        As for `Sampler`.

    Raises
    ------
    InputError
        The space's function fails, or what it returns is no configuration.
    """
    sampler = Sampler(name, space)
    samples = [sampler.draw() for _ in range(SAMPLES)]
    asked = _in_order(samples)
    keys = _keys(samples, [name for name, _ in asked], sampler)
    parameters = tuple(
        Parameter(name, distribution, _condition(name, distribution, samples), keys[name])
        for name, distribution in asked
    )
    return Ranges(
        parameters, _fixed(samples, {key for of_name in keys.values() for key in of_name})
    )


def _in_order(samples: Sequence[Sample]) -> list[tuple[str, BaseDistribution]]:
    """List parameters with each of their ranges; what a trial adds goes where it was asked for."""
    order: list[tuple[str, BaseDistribution]] = []
    for sample in samples:
        place = 0
        for entry in sample.distributions.items():
            if entry in order:
                place = order.index(entry) + 1
            else:
                order.insert(place, entry)
                place += 1
    return order


def _condition(name: str, distribution: BaseDistribution, samples: Sequence[Sample]) -> str:
    """Say for which choices a parameter has a range, in as few words as tell it exactly."""
    having = [s for s in samples if s.distributions.get(name) == distribution]
    others = [s for s in samples if s.distributions.get(name) != distribution]
    if not others:
        return ""
    needed: dict[str, list[Any]] = {}
    for choice, of_choice in having[0].distributions.items():
        if choice == name:
            break  # what is asked for later decides nothing
        if _is_choice(of_choice) and all(choice in s.params for s in having):
            seen = {s.params[choice] for s in having}
            needed[choice] = [value for value in _choices(of_choice) if value in seen]
    if _some_meet(needed, others):
        return SOMETIMES
    # The last first: what is in a branch itself would tell the branch as well as its choice does.
    for choice in reversed(list(needed)):
        rest = {other: values for other, values in needed.items() if other != choice}
        if not _some_meet(rest, others):
            needed = rest
    return ", ".join(f"{c}={' or '.join(map(str, values))}" for c, values in needed.items())


def _some_meet(needed: Mapping[str, Sequence[Any]], samples: Sequence[Sample]) -> bool:
    return any(
        all(choice in s.params and s.params[choice] in values for choice, values in needed.items())
        for s in samples
    )


def _is_choice(distribution: BaseDistribution) -> bool:
    if isinstance(distribution, IntDistribution):
        return len(_choices(distribution)) <= MOST_CHOICES
    return isinstance(distribution, CategoricalDistribution)


def _choices(distribution: BaseDistribution) -> Sequence[Any]:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    assert isinstance(distribution, IntDistribution)
    return range(distribution.low, distribution.high + 1, distribution.step)


def _keys(
    samples: Sequence[Sample], names: Sequence[str], sampler: Sampler
) -> dict[str, tuple[str, ...]]:
    """Find the settings that each parameter decides, by drawing it anew and nothing else."""
    keys: dict[str, tuple[str, ...]] = {}
    # The last first, so that what a branch's own parameters decide is known at its choice.
    for name in reversed(list(dict.fromkeys(names))):
        found: dict[str, None] = {}
        for before in [s for s in samples if name in s.params][:REDRAWS]:
            after = sampler.draw({n: v for n, v in before.params.items() if n != name})
            for key in {**before.overrides, **after.overrides}:
                if _differs(before.overrides, after.overrides, key) and not (
                    _is_others(key, name, before, after, keys)
                    and _is_others(key, name, after, before, keys)
                ):
                    found[key] = None
        keys[name] = tuple(found)
    return keys


def _is_others(
    key: str, name: str, sample: Sample, beside: Sample, keys: Mapping[str, Sequence[str]]
) -> bool:
    """Tell whether a setting, if a sample has it, is that of parameters only this sample has."""
    return key not in sample.overrides or any(
        key in keys.get(other, ())
        for other in sample.params
        if other != name and _differs(sample.params, beside.params, other)
    )


def _differs(these: Mapping[str, Any], those: Mapping[str, Any], key: str) -> bool:
    return key not in these or key not in those or these[key] != those[key]


def _fixed(samples: Sequence[Sample], decided: set[str]) -> dict[str, Any]:
    """Return the settings that no parameter decides."""
    first, *others = [s.overrides for s in samples]
    return {
        key: value
        for key, value in first.items()
        if key not in decided and not any(_differs(first, other, key) for other in others)
    }
