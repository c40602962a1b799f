"""Who is sampled and with which weight.

A policy turns the counts of the strata (gender × class) into a `Plan`: how many faces of each are
drawn an epoch, and what each weighs. Ranks make the draw exact without any shuffling or counting:
the faces of a stratum lie on a circle in the order of their ranks, and an epoch draws the next so
many of them.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.config.settings import BalanceConfig, LastLayerConfig
from orchestrator.data.splits import (
    GENDERS,
    Counts,
    apportion,
    count_strata,
    describe_counts,
    stratum_of,
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a policy does with each stratum."""

    draw: Counts
    """Faces drawn an epoch; more than there are means that some come more than once."""
    weight: dict[tuple[int, int], float]
    """The weight of a face, before the weights of the genders."""


def draw_rows(
    config: BalanceConfig,
    gender: NDArray[np.int8],
    label: NDArray[np.int8],
    rank: NDArray[np.int32],
    *,
    epoch: int = 0,
) -> NDArray[np.int64]:
    """Return who is in an epoch: positions of rows, ascending, repeated where drawn repeatedly.

    Parameters
    ----------
    config
        The policy.
    gender, label, rank
        The rows of one split, shape (n,); in each stratum the ranks are 0, 1, 2, …
    epoch
        From 0. With ``redraw`` an epoch draws on where the one before it stopped, so that all
        rows of a stratum come up equally often over the epochs.

    Returns
    -------
    ndarray of int64
        As many of each stratum as `expected_counts` says.
    """
    counts = count_strata(gender, label)
    there = np.maximum(_by_row(counts, gender, label), 1)
    wanted = _by_row(_plan(config, counts).draw, gender, label)
    start = wanted * (epoch if config.redraw else 0)
    # How many of the numbers from `start` to `start + wanted - 1` are `rank` modulo `there`.
    times = (start + wanted - 1 - rank) // there - (start - 1 - rank) // there
    return np.repeat(np.arange(len(rank), dtype=np.int64), times)


def sample_weights(
    config: BalanceConfig, gender: NDArray[np.int8], label: NDArray[np.int8]
) -> NDArray[np.float32]:
    """Return the weight of each row in the loss: the gender's times the policy's.

    The gender's weight is taken as given (the reference recipe's are 1 and 0.1); the policy's are
    scaled to a mean of 1 over the rows.

    Parameters
    ----------
    config
        The policy and the weights of the genders.
    gender, label
        The rows of the train split, shape (n,).
    """
    weight = _by_row(_plan(config, count_strata(gender, label)).weight, gender, label)
    of_gender = np.where(gender == GENDERS["women"], config.weight_women, config.weight_men)
    return (weight * of_gender).astype(np.float32)


def expected_counts(config: BalanceConfig, counts: Counts) -> Counts:
    """Return how many of each stratum `draw_rows` will give, from the counts of a split."""
    return _plan(config, counts).draw


def _none(_config: BalanceConfig, counts: Counts) -> Plan:
    return Plan(dict(counts), dict.fromkeys(counts, 1.0))


def _undersample(config: BalanceConfig, counts: Counts) -> Plan:
    """Cut every group down to the size of the smallest, its classes in proportion."""
    return _resized(config, counts, min)


def _oversample(config: BalanceConfig, counts: Counts) -> Plan:
    """Repeat faces until every group is the size of the largest, its classes in proportion."""
    return _resized(config, counts, max)


def _resized(config: BalanceConfig, counts: Counts, choose: Callable[[Iterable[int]], int]) -> Plan:
    """Bring the groups to one size; one without faces stays so, and is no measure for others."""
    groups = [group for group in _groups(config, counts) if sum(group.values())]
    drawn = dict.fromkeys(counts, 0)
    if groups:
        size = choose(sum(group.values()) for group in groups)
        for group in groups:
            drawn |= dict(zip(group, apportion(size, list(group.values())), strict=True))
    return Plan(drawn, dict.fromkeys(counts, 1.0))


def _weights(config: BalanceConfig, counts: Counts) -> Plan:
    """Draw everyone; a face of a group of n weighs in proportion to ``n ** -tau``."""
    raw = dict.fromkeys(counts, 0.0)
    for group in _groups(config, counts):
        size = sum(group.values())
        raw |= dict.fromkeys(group, size**-config.tau if size else 0.0)
    total = sum(counts[stratum] * raw[stratum] for stratum in counts)
    mean = total / max(1, sum(counts.values()))
    return Plan(dict(counts), {stratum: weight / (mean or 1) for stratum, weight in raw.items()})


POLICIES: dict[str, Callable[[BalanceConfig, Counts], Plan]] = {
    "none": _none,
    "undersample": _undersample,
    "oversample": _oversample,
    "weights": _weights,
}


def _groups(config: BalanceConfig, counts: Counts) -> list[Counts]:
    """Split the strata into the groups that the policy looks at."""
    if config.over == "gender_class":
        return [{stratum: count} for stratum, count in counts.items()]
    return [{s: n for s, n in counts.items() if s[0] == gender} for gender in GENDERS.values()]


def _plan(config: BalanceConfig, counts: Counts) -> Plan:
    return POLICIES[config.policy](config, counts)


def _by_row(
    values: Mapping[tuple[int, int], float],
    gender: NDArray[np.int8],
    label: NDArray[np.int8],
) -> NDArray[Any]:
    in_order = [values[gender, label] for gender in GENDERS.values() for label in (0, 1)]
    return np.array(in_order)[stratum_of(gender, label)]


def held_out(
    config: LastLayerConfig,
    gender: NDArray[np.int8],
    label: NDArray[np.int8],
    rank: NDArray[np.int32],
) -> NDArray[np.bool_]:
    """Tell which rows of train are kept for the last layer, shape (n,).

    Of each gender and class those of the highest ranks, so that the ranks of the others are 0, 1,
    2, … still.
    """
    stratum = stratum_of(gender, label)
    counts = np.bincount(stratum, minlength=4)
    apart: NDArray[np.bool_] = rank >= (counts - np.ceil(config.held_out * counts))[stratum]
    return apart


def describe_draw(config: BalanceConfig, counts: Counts) -> str:
    """Say how many faces of each kind an epoch draws from a split with such counts."""
    drawn = expected_counts(config, counts)
    total = sum(drawn.values())
    return f"balance {name_policy(config)}: {total:,} faces an epoch; {describe_counts(drawn)}"


def name_policy(config: BalanceConfig) -> str:
    """Name a balance policy and the groups that it looks at."""
    return config.policy if config.policy == "none" else f"{config.policy} over {config.over}"
