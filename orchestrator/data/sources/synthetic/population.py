"""Synthetic faces: a labelled data set that is drawn, so that everything runs with no download.

The counts follow the published ones exactly, some labels are flipped on purpose, and the truth is
written beside them, so that the best reachable accuracy of each gender is known.
"""

from functools import lru_cache
from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orchestrator.base.errors import InputError
from orchestrator.base.files import Anywhere, write_json, writing
from orchestrator.data.sources.synthetic.draw import draw_face
from orchestrator.data.sources.synthetic.face import Face, Person
from orchestrator.data.sources.synthetic.sampling import sample_face, sample_person
from orchestrator.data.splits import apportion

PUBLISHED = {(-1, 0): 84_986, (-1, 1): 28_168, (1, 0): 70_449, (1, 1): 8_973}
"""Rows by (gender, class): 113,154 women and 79,422 men, of whom 24.9% and 11.3% are class 1,
37,141 together; the rates, rounded in print, leave the split of the 37,141 open by a few rows."""
KINDS = ("plain", "blond", "glasses", "both")
CLASS_1_KINDS = {-1: (1_349, 128, 22), 1: (74, 517, 7)}
"""Class 1 by gender: blond, glasses, both (CelebA's images 000001 to 010000)."""
MEAN_PER_PERSON = 4
"""Faces; between CelebA's 20 and the 1.8 of its first 10,000 images."""
MIN_FACES = 20
"""From here on every gender x class stratum has a face."""
MAX_FLIP_SHARE = 0.2
"""Flips in equal numbers need enough men of class 1, 11.3% of the men."""


def plan_faces(n: int, seed: int = 0, flip_share: float = 0.02) -> pd.DataFrame:
    """Say who is to be drawn.

    The counts by gender and class are in the published proportions (exactly the published ones
    for n = 192,576), both for the true and for the noisy labels: flips go both ways in equal
    numbers within each gender. The faces do not depend on `flip_share`.

    Parameters
    ----------
    n
        Number of faces, at least `MIN_FACES`.
    seed
        Not negative.
    flip_share
        The share of each gender's labels that are wrong, at most `MAX_FLIP_SHARE`.

    Returns
    -------
    pandas.DataFrame
        A row a face, indexed from 0: ``filename`` (str), ``gender`` (int8, -1 woman, 1 man),
        ``identity`` (int32, from 1), ``true_class`` (int8), ``blond``, ``glasses``, ``flipped``
        (bool) and ``class`` (int8, the noisy label).

    Raises
    ------
    InputError
        If n, the seed or the share is out of range.
    """
    _check(n, seed, flip_share)
    gender, kind = _shuffled_strata(n, np.random.default_rng((seed, 3)))
    truth = (kind > 0).astype(np.int8)
    flipped = _flips(gender, truth, flip_share, np.random.default_rng((seed, 5)))
    digits = max(6, len(str(n)))
    return pd.DataFrame(
        {
            "filename": [f"images/{k:0{digits}}.jpg" for k in range(1, n + 1)],
            "gender": gender,
            "identity": _identities(gender, kind, np.random.default_rng((seed, 4))),
            "true_class": truth,
            "blond": (kind == 1) | (kind == 3),
            "glasses": kind >= 2,
            "flipped": flipped,
            "class": truth ^ flipped,
        }
    )


def _check(n: int, seed: int, flip_share: float) -> None:
    if n < MIN_FACES:
        raise InputError(
            f"synthetic:{n}: too few faces to have both classes of both genders; "
            f"ask for at least {MIN_FACES}"
        )
    if seed < 0:
        raise InputError(f"seed {seed}: must not be negative")
    if not 0 <= flip_share <= MAX_FLIP_SHARE:
        raise InputError(
            f"flip share {flip_share}: must lie between 0 and {MAX_FLIP_SHARE} (a share of labels)"
        )


def _shuffled_strata(n: int, rng: np.random.Generator) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """Return gender and kind (an index into `KINDS`) of each face."""
    strata = apportion(n, list(PUBLISHED.values()))
    genders, kinds = [], []
    for (gender, label), count in zip(PUBLISHED, strata, strict=True):
        weights = CLASS_1_KINDS[gender] if label else (1,)
        by_kind = apportion(count, weights)
        first = 1 if label else 0
        kinds.append(np.repeat(np.arange(first, first + len(by_kind), dtype=np.int8), by_kind))
        genders.append(np.full(count, gender, dtype=np.int8))
    order = rng.permutation(n)
    return np.concatenate(genders)[order], np.concatenate(kinds)[order]


def _flips(
    gender: NDArray[np.int8], truth: NDArray[np.int8], share: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Choose the labels to flip: within each gender as many from 0 to 1 as from 1 to 0."""
    flipped = np.zeros(len(gender), dtype=np.bool_)
    for code in (-1, 1):
        rows = [np.flatnonzero((gender == code) & (truth == label)) for label in (0, 1)]
        wanted = round(share * (len(rows[0]) + len(rows[1])) / 2)
        for stratum in rows:
            flipped[rng.choice(stratum, min(wanted, len(rows[1])), replace=False)] = True
    return flipped


def _identities(
    gender: NDArray[np.int8], kind: NDArray[np.int8], rng: np.random.Generator
) -> NDArray[np.int32]:
    """Share the faces out among people, 1 + Poisson(3) faces each.

    A person's faces are mostly of one kind, as in life: the faces are sorted by kind with noise,
    blond and glasses on either side of neither, and people are runs of neighbours.
    """
    n = len(gender)
    pull = np.array([0.0, 1.0, -1.0, 1.0])[kind] + rng.normal(0.0, 0.35, n)
    order = np.lexsort((pull, gender))
    starts = np.zeros(n, dtype=np.bool_)
    ends = np.cumsum(1 + rng.poisson(MEAN_PER_PERSON - 1, n))
    starts[ends[ends < n]] = True
    starts[0] = starts[np.searchsorted(gender[order], 1)] = True  # nobody is of both genders
    names = rng.permutation(int(starts.sum())) + 1
    identity = np.empty(n, dtype=np.int32)
    identity[order] = names[np.cumsum(starts) - 1]
    return identity


@lru_cache(maxsize=4096)
def _person(seed: int, identity: int, gender: int) -> Person:
    return sample_person(seed, identity, gender)


def face_of(row: Any, seed: int) -> Face:
    """Return the attributes of a face of the plan; `row` comes from ``plan.itertuples()``."""
    person = _person(seed, int(row.identity), int(row.gender))
    blond, glasses = bool(row.blond), bool(row.glasses)
    return sample_face(seed, int(row.Index), person, int(row.gender), blond=blond, glasses=glasses)


def draw_range(out: Anywhere, rows: pd.DataFrame, seed: int) -> int:
    """Draw some faces of a plan as JPEG files.

    A face depends on its row and the seed alone, so ranges may be drawn in any order, in
    different processes, with the same bytes from the same Pillow.

    Parameters
    ----------
    out
        The folder of the data set; the pictures go to its ``images``.
    rows
        Rows of `plan_faces`, with their index.
    seed
        The plan's.

    Returns
    -------
    int
        The number of faces drawn.
    """
    (out / "images").mkdir(parents=True, exist_ok=True)
    for row in rows.itertuples():
        face = face_of(row, seed)
        data = BytesIO()
        draw_face(face).save(data, "JPEG", quality=face.quality)
        (out / str(row.filename)).write_bytes(data.getvalue())
    return len(rows)


def write_tables(out: Anywhere, plan: pd.DataFrame, seed: int, flip_share: float) -> Anywhere:
    """Write ``truth.csv``, ``truth.json`` and last, for it makes the data set whole, the manifest.

    Returns
    -------
    path
        Of ``manifest.csv``: filename, class (noisy, 0 or 1), gender, identity.
    """
    truth = plan.astype({"blond": int, "glasses": int, "flipped": int})
    _write_csv(out / "truth.csv", truth)
    write_json(out / "truth.json", summarise(plan, seed, flip_share))
    manifest = out / "manifest.csv"
    _write_csv(manifest, plan[["filename", "class", "gender", "identity"]])
    return manifest


def summarise(plan: pd.DataFrame, seed: int, flip_share: float) -> dict[str, Any]:
    """Summarise a plan: counts, flips and what a perfect classifier scores on the noisy labels.

    That is the best reachable accuracy of a gender: one minus its share of flipped labels.
    """
    counts: dict[str, dict[str, int]] = {}
    flips: dict[str, int] = {}
    best: dict[str, float | None] = {}
    for name, code in (("women", -1), ("men", 1)):
        rows = plan[plan["gender"] == code]
        counts[name] = {str(label): int((rows["class"] == label).sum()) for label in (0, 1)}
        flips[name] = int(rows["flipped"].sum())
        best[name] = 1 - flips[name] / len(rows) if len(rows) else None
    return {
        "n": len(plan),
        "seed": seed,
        "flip_share": flip_share,
        "people": int(plan["identity"].nunique()),
        "counts": counts,
        "flipped": flips,
        "best_accuracy": best,
    }


def _write_csv(path: Anywhere, table: pd.DataFrame) -> None:
    with writing(path, "w", encoding="utf-8", newline="") as file:
        table.to_csv(file, index=False, lineterminator="\n")
