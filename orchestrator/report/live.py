"""What the page's script knows: the figures behind the front, which it draws and moves."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.judging.fairness import MAN, WOMAN, count_correct
from orchestrator.judging.judge import Evaluated, Rows
from orchestrator.judging.reliability import FEWEST
from orchestrator.report.failing import Failing
from orchestrator.run.directory import Run

GRID = np.round(np.arange(0.02, 0.99, 0.02), 2)
"""Thresholds at which accuracies are given."""
STEPS = 10_000
"""Accuracies of epochs are whole numbers of this, which are shorter to write."""


def live_data(
    run: Run,
    evaluated: Sequence[Evaluated],
    summary: Mapping[str, Any],
    fails: Failing | None = None,
) -> dict[str, Any]:
    """Put together what the script reads.

    Parameters
    ----------
    run
        Its trials' epochs are shown.
    evaluated
        The complete trials.
    summary
        What ``summary.json`` holds.
    fails
        Of the recommended trial, where there is one.

    Returns
    -------
    ``faces`` and, of each trial, ``right`` by kind of threshold count validation faces: of women of
    class 0 and 1, and of men. ``cuts`` are the faces of women and of men that are right at each
    threshold of ``grid``; ``epochs`` the accuracies by epoch in parts of `STEPS`. ``reliability``
    is that of the recommended trial on test; a bin of fewer than ``few`` faces is unsure.
    """
    entries = {"recommended": summary["best"], **summary["baselines"]}
    roles = {name.replace("_", " "): e["trial_id"] for name, e in entries.items() if e}
    faces = evaluated[0].rows["val"] if evaluated else None
    return {
        "fairLambda": summary["fair_lambda"],
        "roles": roles,
        "faces": [] if faces is None else _by_stratum(faces, faces.label),
        "steps": STEPS,
        "grid": GRID.tolist(),
        "trials": [_trial(run, one) for one in evaluated],
        "reliability": fails.reliability if fails else {},
        "few": FEWEST,
    }


def _trial(run: Run, one: Evaluated) -> dict[str, Any]:
    rows = one.rows["val"]
    return {
        "id": one.id,
        "recipe": one.result.recipe,
        "params": {name: _short(value) for name, value in one.params.items()},
        "right": {
            kind: _by_stratum(rows, judged.predicted["val"]) for kind, judged in one.judged.items()
        },
        "thresholds": {
            kind: [float(f"{cut:.6g}") for cut in judged.thresholds]
            for kind, judged in one.judged.items()
        },
        "kept": one.result.kept_epoch,
        "epochs": _epochs(run, one.id),
        "cuts": [right_by_cut(rows, gender).tolist() for gender in (WOMAN, MAN)],
    }


def _epochs(run: Run, trial_id: str) -> list[list[int]]:
    """Return women's and men's accuracies by epoch; none where its table is lost or damaged."""
    try:
        table = run.trial(trial_id).metrics
        columns = [table[f"acc_{who}"].to_numpy(np.float64) for who in ("women", "men")]
        return [np.rint(column * STEPS).astype(int).tolist() for column in columns]
    except (FileNotFoundError, KeyError, ValueError):  # no other figure is made of it
        return [[], []]


def right_by_cut(rows: Rows, gender: int) -> NDArray[np.int64]:
    """Count the faces of a gender that are right at each threshold of `GRID`."""
    cuts = np.log(GRID) - np.log1p(-GRID)
    of = rows.gender == gender
    negative, positive = (np.sort(rows.logit[of & (rows.label == kind)]) for kind in (0, 1))
    below = np.searchsorted(negative.astype(np.float64), cuts, "right")
    above = positive.size - np.searchsorted(positive.astype(np.float64), cuts, "right")
    return np.asarray(below + above)


def _by_stratum(rows: Rows, predicted: NDArray[np.int8]) -> list[int]:
    correct, _ = count_correct(rows.label, predicted, rows.gender)
    return [int(n) for n in correct.ravel()]


def _short(value: Any) -> Any:
    if isinstance(value, float) and math.isfinite(value):
        return float(f"{value:.4g}")
    return value if isinstance(value, (bool, int)) else str(value)
