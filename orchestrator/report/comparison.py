"""Runs on one front: what each reached, at which cost, and what differs in their settings."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orchestrator.base.errors import InputError
from orchestrator.base.files import read_bytes
from orchestrator.config.layers import flatten
from orchestrator.judging.frontier import hypervolume, pareto_mask
from orchestrator.report.outline import chosen_on, summary_of
from orchestrator.report.summary import REFERENCE_POINT
from orchestrator.run.directory import Run
from orchestrator.run.progress import read


@dataclass(frozen=True)
class Compared:
    """One of the runs, as its last report has it."""

    name: str
    """What tells it from the others: the end of its path."""
    run: Run
    summary: Mapping[str, Any]
    trial_ids: Sequence[str]
    """The complete trials; so are the next two, of shape (n,)."""
    mean_accuracy: NDArray[np.float64]
    """On validation at threshold 0.5, as is the next."""
    gap: NDArray[np.float64]
    hours: float | None

    @property
    def chosen(self) -> Mapping[str, Any] | None:
        """The figures that its best was chosen by; None without one."""
        return chosen_on(self.summary) if self.summary["best"] else None

    @property
    def front(self) -> NDArray[np.bool_]:
        """Which of its trials no other of its own dominates."""
        return pareto_mask(self.mean_accuracy, self.gap)

    @property
    def epochs(self) -> float | None:
        """What its search trained, in epochs."""
        cost = self.summary["cost"]
        return cost["took"]["epochs"] if cost else None


@dataclass(frozen=True)
class Comparison:
    """Runs side by side."""

    runs: Sequence[Compared]
    on_joint_front: Sequence[Sequence[str]]
    """By run, the ids of its trials that none of any run dominates."""
    hypervolume: float
    """Of that front."""
    settings: Mapping[str, Sequence[Any]]
    """What differs, by key: the value of each run."""
    cautions: Sequence[str]
    """Why figures may not be compared; each is a sentence."""


def compare(runs: Sequence[Run]) -> Comparison:
    """Put runs side by side.

    Parameters
    ----------
    runs
        At least two, each with a report.

    Raises
    ------
    InputError
        There are fewer, two are the same, or one has no report.
    """
    if len(runs) < 2:
        raise InputError("compare: takes two runs or more")
    if len({str(run.path) for run in runs}) < len(runs):
        raise InputError("compare: a run is given twice")
    compared = [_read(run, name) for run, name in zip(runs, names_of(runs), strict=True)]
    accuracy = np.concatenate([one.mean_accuracy for one in compared])
    gap = np.concatenate([one.gap for one in compared])
    joint = pareto_mask(accuracy, gap)
    ends = np.cumsum([len(one.trial_ids) for one in compared])[:-1]
    return Comparison(
        runs=compared,
        on_joint_front=[
            [name for name, first in zip(one.trial_ids, mask, strict=True) if first]
            for one, mask in zip(compared, np.split(joint, ends), strict=True)
        ],
        hypervolume=hypervolume(accuracy, gap, REFERENCE_POINT),
        settings=_settings(compared),
        cautions=_cautions(compared),
    )


def names_of(runs: Sequence[Run]) -> list[str]:
    """Return as much of the end of each path as tells it from the others."""
    parts = [str(run.path).rstrip("/").split("/") for run in runs]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len({*names}) == len(names):
            break
    return names


def _read(run: Run, name: str) -> Compared:
    summary = summary_of(run)
    if summary is None:
        raise InputError(f"{run.path}: has no report yet; fairfront report {run.path}")
    table = pd.read_csv(io.BytesIO(read_bytes(run.path / "trials.csv")))
    table, progress = table[table["state"] == "complete"], read(run)
    return Compared(
        name=name,
        run=run,
        summary=summary,
        trial_ids=list(table["trial_id"]),
        mean_accuracy=table["val_mean_accuracy"].to_numpy(np.float64),
        gap=table["val_gap"].to_numpy(np.float64),
        hours=progress.seconds() / 3600 if progress else None,
    )


def _settings(compared: Sequence[Compared]) -> dict[str, list[Any]]:
    flat = [flatten(one.run.config.model_dump()) for one in compared]
    keys = dict.fromkeys(key for of in flat for key in of)
    values = {key: [of.get(key) for of in flat] for key in keys}
    return {key: of for key, of in values.items() if any(value != of[0] for value in of)}


def _cautions(compared: Sequence[Compared]) -> list[str]:
    said, first = [], compared[0]
    for one in compared[1:]:
        if one.run.data.get("fingerprint") != first.run.data.get("fingerprint"):
            said.append(
                f"{one.name} is of other data than {first.name}: their figures are of other faces."
            )
        elif one.summary["rows"] != first.summary["rows"]:
            said.append(f"{one.name} validates on other faces of the same data than {first.name}.")
        ours, theirs = one.summary["fair_lambda"], first.summary["fair_lambda"]
        if ours != theirs:
            said.append(
                f"{one.name} weighs the gap by {ours:g} and {first.name} by {theirs:g}: their fair "
                "metrics are not the same."
            )
    return said
