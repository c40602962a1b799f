"""Faces that the recommended trial fails for, or whose labels it doubts, for all to look at."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from orchestrator.base.errors import InputError
from orchestrator.data.store.store import Store
from orchestrator.data.store.streaming import read_named
from orchestrator.judging.failures import surest_mistakes
from orchestrator.judging.label_noise import mislabelled
from orchestrator.judging.rates import WHO, binned
from orchestrator.judging.reliability import reliability
from orchestrator.run.directory import Run
from orchestrator.run.trial import PredictedRows

MOST = 8
"""Faces of a gender and class that are shown."""
SIDE, BYTES = 80, 3200
"""Of a thumbnail: pixels, and bytes at most where quality gives way, so that all of them, four
groups of mistakes and four of suspects, stay under 300 kB in base64."""


@dataclass(frozen=True)
class Face:
    """A face that is shown."""

    filename: str
    probability: float
    """Of class 1."""
    picture: str | None
    """A data URI; None where the data set is not at hand."""


@dataclass(frozen=True)
class Group:
    """Faces of a gender and class."""

    who: str
    """women or men."""
    label: int
    """As the data set has it."""
    total: int
    """How many there are, of whom the first are shown."""
    of: int
    """Faces of this gender and class in all."""
    faces: Sequence[Face]


@dataclass(frozen=True)
class Failing:
    """What is shown of the faces that a trial fails for."""

    reliability: Mapping[str, Sequence[tuple[float, ...]]]
    """By gender, of test: `orchestrator.judging.reliability.Bin`, the ends of its interval last."""
    mistakes: Sequence[Group]
    """On test, at threshold 0.5."""
    suspects: Sequence[Group]
    """Likely mislabelled, of the faces that no network judged which was trained on them."""
    of_train: bool
    """Whether faces of train are among those, as of folds."""
    pictured: bool
    """Whether there is a picture."""


def failing(run: Run, trial_id: str, *, faces: bool) -> Failing:
    """Gather what the page shows of the faces that a trial fails for.

    Parameters
    ----------
    run, trial_id
        The run, and a complete trial of it or an ensemble.
    faces
        Whether to show faces: pictures and file names.
    """
    trial = run.trial(trial_id)
    rows = trial.predicted()
    test, held_out = rows["test"], rows["val"]
    curves = {}
    for who, gender in WHO.items():
        here = test.gender == gender
        bins = reliability(test.label[here], test.logit[here])
        curves[who] = [
            (one.faces, *(round(of, 4) for of in (one.probability, one.share, *one.share_ci95)))
            for one in bins
        ]
    of_train = trial.result.config.data.folds is not None
    if not faces:
        return Failing(curves, [], [], of_train, pictured=False)
    mistakes = by_stratum(test, surest_mistakes(test.label, test.logit))
    doubted = by_stratum(held_out, mislabelled(held_out.label, held_out.logit, held_out.gender))
    wanted = [test.filename[some[:MOST]] for some in mistakes.values()]
    wanted += [held_out.filename[some[:MOST]] for some in doubted.values()]
    pictures = _pictures(run.open_data(), np.concatenate(wanted).tolist())
    return Failing(
        curves,
        _groups(test, mistakes, pictures),
        _groups(held_out, doubted, pictures),
        of_train,
        pictured=bool(pictures),
    )


def _groups(
    rows: PredictedRows, of: dict[tuple[str, int], NDArray[np.intp]], pictures: dict[str, str]
) -> list[Group]:
    groups = []
    for (who, label), found in of.items():
        shown = found[:MOST]
        names, probability = rows.filename[shown], binned(rows.logit[shown])[0]
        faces = [
            Face(name, float(one), pictures.get(name))
            for name, one in zip(names, probability, strict=True)
        ]
        total = int(np.sum((rows.gender == WHO[who]) & (rows.label == label)))
        groups.append(Group(who, label, len(found), total, faces))
    return groups


def by_stratum(
    rows: PredictedRows, some: NDArray[np.intp]
) -> dict[tuple[str, int], NDArray[np.intp]]:
    """Deal some of the rows, shape (k,), by gender and class, each in the order given."""
    return {
        (who, kind): some[(rows.gender[some] == value) & (rows.label[some] == kind)]
        for who, value in WHO.items()
        for kind in (0, 1)
    }


def _pictures(store: Store | None, names: Sequence[str]) -> dict[str, str]:
    """Return faces of a data set as data URIs, by file name; none where they cannot be read."""
    if store is None or not names:
        return {}
    try:
        found = read_named(store, names)
    except (InputError, OSError):  # a report is of the run; who reads the data is told of them
        return {}
    return {name: thumbnail(face) for name, face in found.items()}


def thumbnail(face: NDArray[np.uint8]) -> str:
    """Return a face, shape (H, W, 3), as a data URI of a small JPEG."""
    image = Image.fromarray(face)
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    for quality in (80, 60, 40, 20, 5):
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality, optimize=True)
        if file.tell() <= BYTES:
            break
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
