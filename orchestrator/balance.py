"""Who is sampled and with which weight.

A policy turns the counts of the strata (gender × class) into a `Plan`: how many faces of each are
drawn an epoch, and what each weighs. Ranks make the draw exact without any shuffling or counting:
"n of this stratum" is the filter ``rank < n``.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from orchestrator.splits import GENDERS, Counts, apportion, count_strata, stratum_of
from orchestrator.strict import Strict


class BalanceConfig(Strict):
    """A balance policy and the weights of the genders."""

    policy: str = "none"
    """A key of `POLICIES`."""
    tau: float = Field(default=0.5, ge=0, le=2)
    """The exponent of policy ``weights``: a row of a stratum of n rows weighs ``n ** -tau``."""
    weight_women: float = Field(default=1.0, gt=0)
    weight_men: float = Field(default=1.0, gt=0)

    @field_validator("policy")
    @classmethod
    def _policy_exists(cls, policy: str) -> str:
        if policy not in POLICIES:
            raise ValueError(f"no such policy; there are {', '.join(POLICIES)}")
        return policy


@dataclass(frozen=True, slots=True)
class Plan:
    """What a policy does with each stratum."""

    draw: Counts
    """Faces drawn an epoch."""
    weight: dict[tuple[int, int], float]
    """The weight of a face, before the weights of the genders."""


def draw(
    config: BalanceConfig,
    gender: NDArray[np.int8],
    label: NDArray[np.int8],
    rank: NDArray[np.int32],
) -> NDArray[np.int64]:
    """Return who is in an epoch: positions of rows, ascending.

    Parameters
    ----------
    config
        The policy.
    gender, label, rank
        The rows of one split, shape (n,); in each stratum the ranks are 0, 1, 2, …

    Returns
    -------
    ndarray of int64
        As many of each stratum as `expected_counts` says.
    """
    wanted = _plan(config, count_strata(gender, label)).draw
    return np.flatnonzero(rank < _by_row(wanted, gender, label)).astype(np.int64)


def sample_weights(
    config: BalanceConfig, gender: NDArray[np.int8], label: NDArray[np.int8]
) -> NDArray[np.float32]:
    """Return the weight of each row in the loss: the gender's times the policy's.

    The gender's weight is taken as given (the reference recipe's are 1 and 0.1); the policy's are
    scaled to a mean of 1 over the rows given.

    Parameters
    ----------
    config
        The policy and the weights of the genders.
    gender, label
        The rows that train, shape (n,).
    """
    weight = _by_row(_plan(config, count_strata(gender, label)).weight, gender, label)
    of_gender = np.where(gender == GENDERS["women"], config.weight_women, config.weight_men)
    return (weight * of_gender).astype(np.float32)


def expected_counts(config: BalanceConfig, counts: Counts) -> Counts:
    """Return how many of each stratum `draw` will give, from the counts of a split."""
    return _plan(config, counts).draw


def _none(_config: BalanceConfig, counts: Counts) -> Plan:
    return Plan(dict(counts), dict.fromkeys(counts, 1.0))


def _undersample(_config: BalanceConfig, counts: Counts) -> Plan:
    """Cut the larger gender down to the smaller one's number, its classes in proportion."""
    of_gender = {
        gender: {s: n for s, n in counts.items() if s[0] == gender} for gender in GENDERS.values()
    }
    smaller = min(sum(strata.values()) for strata in of_gender.values())
    drawn: Counts = {}
    for strata in of_gender.values():
        if sum(strata.values()):
            parts = apportion(smaller, list(strata.values()))
            drawn |= dict(zip(strata, parts, strict=True))
        else:
            drawn |= strata
    return Plan(drawn, dict.fromkeys(counts, 1.0))


def _weights(config: BalanceConfig, counts: Counts) -> Plan:
    """Draw everyone; a face of a stratum of n weighs in proportion to ``n ** -tau``."""
    raw = {stratum: n**-config.tau if n else 0.0 for stratum, n in counts.items()}
    total = sum(counts[stratum] * raw[stratum] for stratum in counts)
    mean = total / max(1, sum(counts.values()))
    return Plan(dict(counts), {stratum: weight / (mean or 1) for stratum, weight in raw.items()})


POLICIES: dict[str, Callable[[BalanceConfig, Counts], Plan]] = {
    "none": _none,
    "undersample": _undersample,
    "weights": _weights,
}


def _plan(config: BalanceConfig, counts: Counts) -> Plan:
    return POLICIES[config.policy](config, counts)


def _by_row(
    values: dict[tuple[int, int], float] | Counts,
    gender: NDArray[np.int8],
    label: NDArray[np.int8],
) -> NDArray[np.float64]:
    in_order = [values[gender, label] for gender in GENDERS.values() for label in (0, 1)]
    return np.array(in_order, np.float64)[stratum_of(gender, label)]
