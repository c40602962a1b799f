"""What a report says beyond the run's own figures: where a network fails, and other faces."""

import base64
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from orchestrator.base.errors import InputError
from orchestrator.base.files import children, read_bytes, read_json
from orchestrator.judging.explanation import sentences
from orchestrator.judging.failures import failures
from orchestrator.judging.fairness import WOMAN, predict_labels
from orchestrator.run.directory import Run


def where_it_fails(run: Run, trial_id: str) -> dict[str, Any] | None:
    """Say for which attributes a trial is wrong more often, on test at threshold 0.5.

    Parameters
    ----------
    run, trial_id
        The run and a complete trial of it, or an ensemble.

    Returns
    -------
    The values of `orchestrator.judging.failures.Failures`; None where nothing else is known of the
    faces, or the data set is not here, or is another now.
    """
    store = run.open_data()
    try:
        known = None if store is None else store.attributes()
    except InputError:  # a report is of the run; what became of the data is said by who reads them
        return None
    if known is None:
        return None
    rows = run.trial(trial_id).predicted()["test"]
    has = known.reindex(rows.filename)
    if has.isna().any(axis=None):
        return None
    columns = {name: has[name].to_numpy(np.bool_) for name in has.columns}
    correct = predict_labels(rows.logit) == rows.label
    return asdict(failures(columns, correct, rows.gender == WOMAN))


def explained(run: Run, trial_id: str) -> dict[str, Any] | None:
    """Return what `fairfront explain` said of a trial, and its picture as a URI; None: nothing."""
    file = run.explanations_path / f"{trial_id}.json"
    if not file.exists():
        return None
    picture = base64.b64encode(read_bytes(run.explanations_path / f"{trial_id}.png")).decode()
    return {"sentences": sentences(read_json(file)), "picture": f"data:image/png;base64,{picture}"}


def other_faces(run: Run) -> list[Mapping[str, Any]]:
    """Return what the run's trials came to on other faces, as `fairfront evaluate` left it."""
    files = (file for file in children(run.evaluations_path) if file.name.endswith(".json"))
    return [{"name": file.name.removesuffix(".json"), **read_json(file)} for file in files]
