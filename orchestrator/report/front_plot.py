"""What the front's plot shows, taken from the report's figures; all of it on validation."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray


class Point(NamedTuple):
    """A trial somewhere else than at threshold 0.5 in the search."""

    trial_id: str
    gap: float
    mean_accuracy: float
    sd: tuple[float, float] = (0.0, 0.0)
    """Standard errors of the gap and the mean accuracy, of retrainings."""


@dataclass(frozen=True)
class FrontPlot:
    """The complete trials and what is said of them."""

    trial_ids: tuple[str, ...]
    """The complete trials."""
    mean_accuracy: NDArray[np.float64]
    gap: NDArray[np.float64]
    front: tuple[str, ...]
    roles: Mapping[str, str]
    """The trials that have a role of `orchestrator.report.canvas.ROLES`, by role."""
    fair_lambda: float
    whiskers: tuple[tuple[float, float], tuple[float, float]] | None
    """95% intervals of the best trial's gap and mean accuracy."""
    shared: tuple[Point, ...] = ()
    """The front of the trials at their shared thresholds, by growing gap."""
    by_gender: tuple[Point, ...] = ()
    """That at their pairs of thresholds by gender."""
    confirmed: tuple[Point, ...] = ()
    """What finalists came to that were retrained: of pooled counts."""

    @classmethod
    def of(cls, summary: Mapping[str, Any], table: pd.DataFrame) -> "FrontPlot":
        """Take the plot's figures from the report's."""
        complete = table[table["state"] == "complete"]
        entries = {"best": summary["best"], **summary["baselines"]}
        confirmed = summary["confirmed"]["trials"].values() if summary["confirmed"] else ()
        return cls(
            trial_ids=tuple(complete["trial_id"]),
            mean_accuracy=complete["val_mean_accuracy"].to_numpy(dtype=np.float64),
            gap=complete["val_gap"].to_numpy(dtype=np.float64),
            front=tuple(entry["trial_id"] for entry in summary["pareto"]),
            roles={role: entry["trial_id"] for role, entry in entries.items() if entry},
            fair_lambda=summary["fair_lambda"],
            whiskers=_whiskers(summary["best"]["val"]) if summary["best"] else None,
            shared=tuple(map(_point, summary["pareto_shared"])),
            by_gender=tuple(map(_point, summary["pareto_by_gender"])),
            confirmed=tuple(map(_confirmed, confirmed)),
        )

    def at(self, trial_id: str) -> tuple[float, float]:
        """Give a trial's (gap, mean accuracy)."""
        index = self.trial_ids.index(trial_id)
        return float(self.gap[index]), float(self.mean_accuracy[index])

    @property
    def others(self) -> NDArray[np.float64]:
        """The marks that are no trial's own, and the ends of their bars: (gap, mean accuracy)."""
        points = [
            (point.gap + across, point.mean_accuracy + up)
            for point in self.shared + self.by_gender + self.confirmed
            for across, up in _ends(*point.sd)
        ]
        return np.array(points, dtype=np.float64).reshape(-1, 2)


def _ends(across: float, up: float) -> set[tuple[float, float]]:
    return {(0.0, 0.0), (across, 0.0), (-across, 0.0), (0.0, up), (0.0, -up)}


def _point(entry: Mapping[str, Any]) -> Point:
    val = entry["val"]
    return Point(entry["trial_id"], val["gap"], (val["acc_women"] + val["acc_men"]) / 2)


def _confirmed(entry: Mapping[str, Any]) -> Point:
    """Make a point with the standard errors of faces, as the whiskers of the best have them."""
    (left, right), (low, high) = _whiskers(entry["val"])
    return _point(entry)._replace(sd=((right - left) / 3.92, (high - low) / 3.92))


def _whiskers(val: Mapping[str, Any]) -> tuple[tuple[float, float], tuple[float, float]]:
    mean = (val["acc_women"] + val["acc_men"]) / 2
    variance = sum(
        val[f"acc_{who}"] * (1 - val[f"acc_{who}"]) / val[f"n_{who}"] for who in ("women", "men")
    )
    half = 1.96 * math.sqrt(variance) / 2  # the mean of two independent shares
    return (val["gap_ci95"][0], val["gap_ci95"][1]), (mean - half, mean + half)
