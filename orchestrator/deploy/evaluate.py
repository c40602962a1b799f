"""A trained network judged on other labelled faces, and what is kept of it in the run."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np

from orchestrator.base.errors import InputError
from orchestrator.base.files import Anywhere, children, make_folder, read_json, write_json
from orchestrator.deploy.labelled_faces import ALL, LabelledFaces, of_store
from orchestrator.deploy.predict import Predicted
from orchestrator.judging.figures import figures
from orchestrator.judging.shift import Shares, differences, shares_of
from orchestrator.judging.thresholds import Thresholds
from orchestrator.run.directory import Run

SAME = ("data", "split", "trial_id", "threshold")
"""What an evaluation is of; the same one may be written again."""


class Asked(NamedTuple):
    """What is to be evaluated."""

    run: Run
    trial_id: str
    thresholds: Thresholds
    kind: str
    """How the threshold was asked for."""
    faces: LabelledFaces
    """Of the split alone."""
    split: str
    """One split, or all."""


def default_split(run: Run, faces: LabelledFaces) -> str:
    """Return what is evaluated where nothing is said: of the run's own data test, else all."""
    return "test" if is_own(run, faces) else ALL


def is_own(run: Run, faces: LabelledFaces) -> bool:
    """Tell whether faces are those of the data set that the run was trained on."""
    return bool(faces.fingerprint == run.data.get("fingerprint"))


def cautions(asked: Asked) -> list[str]:
    """Say what an evaluation of these faces cannot tell: each is a sentence."""
    run, faces, split = asked.run, asked.faces, asked.split
    folds = run.trial(asked.trial_id).result.config.data.folds
    seen_splits = ("train", "val") if folds else ("train",)
    said = []
    if is_own(run, faces):
        if split == "test":
            said.append(
                f"{faces.place} is what this run was trained on: its {len(faces.path):,} test "
                "faces are evaluated, whose figures the report has shown already (--split says "
                "others)."
            )
        else:
            used = "chosen by" if split == "val" else "trained on and chosen by"
            if split in seen_splits:
                used = "trained on"
            said.append(
                f"{faces.place} is what this run was trained on: the network was {used} these "
                "faces, and the figures flatter it; --split test has those that it was not."
            )
    elif (store := run.open_data()) is not None:
        every = of_store(store)
        known = every.filename[np.isin(every.split.astype(str), seen_splits)].astype(str)
        seen = int(np.isin(faces.filename.astype(str), known).sum())
        if seen:
            said.append(
                f"{seen:,} of the {len(faces.path):,} faces have the names of faces that the "
                "network was trained on; if they are the same, the figures flatter it."
            )
    others = [
        one
        for one in _written(run)
        if one.get("fingerprint") == faces.fingerprint
        and one.get("split") == split
        and (one.get("trial_id"), one.get("threshold")) != (asked.trial_id, asked.kind)
    ]
    if others:
        said.append(
            f"These faces have been looked at for {len(others)} other "
            f"choice{'s' * (len(others) > 1)} of trial and threshold: chosen by such figures, the "
            "best is partly the luckiest."
        )
    return said


def file_of(asked: Asked, name: str | None) -> Anywhere:
    """Return the file of an evaluation.

    Parameters
    ----------
    asked
        The evaluation.
    name
        Its name; None: by data, split, trial and threshold.

    Raises
    ------
    InputError
        It is another evaluation's.
    """
    if name is None:
        place = asked.faces.place.rstrip("/").rpartition("/")[2]
        parts = [place, *[asked.split] * (asked.split != ALL), asked.trial_id]
        name = "-".join([*parts, *[asked.kind] * (asked.kind != "fixed")])
    if "/" in name or name.startswith("."):
        raise InputError(f"--name {name}: give a name without / that does not begin with a dot")
    file = asked.run.evaluations_path / f"{name}.json"
    if file.exists():
        before = read_json(file)
        ours = _what(asked)
        if any(before.get(key) != ours[key] for key in SAME):
            raise InputError(f"{file}: another evaluation, of {before.get('data')}; give --name")
    return file


def evaluate(
    asked: Asked, predicted: Predicted, said: Sequence[str], *, shift: bool = False
) -> dict[str, Any]:
    """Judge what a network made of labelled faces.

    Parameters
    ----------
    asked
        The evaluation.
    predicted
        Of its faces.
    said
        What `cautions` says of it.
    shift
        Say also by which shares they differ from the faces that the network was trained on.

    Returns
    -------
    What the evaluation's file holds: what it is of, the values of
    `orchestrator.judging.figures.figures`, and under ``shift`` a list of
    `orchestrator.judging.shift.Difference`, null where nobody asked.

    Raises
    ------
    InputError
        No face of a gender could be read, or the run's own data are not here (`shift`).
    """
    faces, read = asked.faces, predicted.read
    if not read.any():
        reason = predicted.reason[0]
        raise InputError(
            f"{faces.place}: none of the {len(read):,} images can be read: {faces.filename[0]} "
            f"({reason}), …; mend them"
        )
    fair_lambda = asked.run.config.fair_lambda
    of_all = figures(
        faces.label[read], faces.gender[read], predicted.logit[read], asked.thresholds, fair_lambda
    )
    women, men = asked.thresholds
    return {
        **_what(asked),
        "fingerprint": faces.fingerprint,
        "source": faces.name,
        "own_data": is_own(asked.run, faces),
        "threshold_women": women,
        "threshold_men": men,
        "fair_lambda": fair_lambda,
        "faces": int(read.sum()),
        "unread": int((~read).sum()),
        "cautions": list(said),
        **of_all,
        "shift": [asdict(one) | {"differs": one.differs} for one in _shift(asked)]
        if shift
        else None,
    }


def keep(file: Anywhere, found: Mapping[str, Any]) -> None:
    """Write an evaluation."""
    make_folder(file.parent)
    write_json(file, dict(found))


def _what(asked: Asked) -> dict[str, Any]:
    return {
        "data": asked.faces.place,
        "split": asked.split,
        "trial_id": asked.trial_id,
        "threshold": asked.kind,
    }


def _shift(asked: Asked) -> list[Any]:
    store = asked.run.open_data()
    if store is None:
        raise InputError(
            f"--shift: compares with {asked.run.data['path']}, which is not here, or is another now"
        )
    return differences(_shares(asked.faces), _shares(of_store(store).of_split("train")))


def _shares(faces: LabelledFaces) -> Shares:
    return shares_of(faces.label, faces.gender, faces.attributes)


def _written(run: Run) -> list[dict[str, Any]]:
    files = children(run.evaluations_path)
    return [dict(read_json(file)) for file in files if file.name.endswith(".json")]
