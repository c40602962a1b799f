"""Cross-validation: the folds of train and val, and which of them validates."""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from orchestrator.base.errors import InputError
from orchestrator.data.splits import absent_genders, assign_folds, assign_ranks
from orchestrator.data.store.arrays import Arrays
from orchestrator.data.store.streaming import StreamedImages


def cross_validate(
    train: Arrays, val: Arrays, folds: int, fold: int, *, people: bool
) -> tuple[Arrays, Arrays]:
    """Deal the rows of train and val into folds; return all but one, and that one.

    Parameters
    ----------
    train, val
        The prepared splits.
    folds, fold
        How many, and which of them validates, from 0.
    people
        Keep each person in one fold.

    Raises
    ------
    InputError
        One of the two would lack a gender.
    """
    gender = np.concatenate([train.gender, val.gender])
    key, of_row = _key(train, val), fold_of_rows(train, val, folds, people=people)
    for validates in (True, False):
        for name in absent_genders(gender[(of_row == fold) == validates]):
            raise InputError(
                f"data.folds={folds}: there are no {name} in "
                f"{f'fold {fold}' if validates else f'the folds but {fold}'}, so the fair "
                "metric is undefined; give fewer folds"
            )
    first, second = of_row[: len(train)], of_row[len(train) :]
    return (
        _joined(train, val, np.flatnonzero(first != fold), np.flatnonzero(second != fold), key),
        _joined(train, val, np.flatnonzero(first == fold), np.flatnonzero(second == fold), key),
    )


def fold_of_rows(train: Arrays, val: Arrays, folds: int, *, people: bool) -> NDArray[np.int8]:
    """Deal the rows of train, and then those of val, into folds; as for `cross_validate`."""
    gender, label = (
        np.concatenate([getattr(train, name), getattr(val, name)]) for name in ("gender", "label")
    )
    identity = np.concatenate([train.identity, val.identity]) if people else None
    return assign_folds(folds, gender, label, _key(train, val), identity)


def _key(train: Arrays, val: Arrays) -> NDArray[np.int64]:
    """Return what sorts the rows of both within their strata."""
    return np.concatenate([2 * train.rank.astype(np.int64), 2 * val.rank.astype(np.int64) + 1])


def _joined(
    first: Arrays,
    second: Arrays,
    rows: NDArray[np.intp],
    others: NDArray[np.intp],
    key: NDArray[np.int64],
) -> Arrays:
    """Put some rows of two splits into one, with ranks of its own by `key`."""

    def both(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(first, name)[rows], getattr(second, name)[others]])

    label, gender = both("label"), both("gender")
    kept = key[np.concatenate([rows, len(first) + others])]
    images: NDArray[np.uint8] | StreamedImages
    if isinstance(first.images, StreamedImages) and isinstance(second.images, StreamedImages):
        images = first.images[rows] + second.images[others]
    else:
        images = both("images")
    return Arrays(
        images=images,
        features=None if first.features is None else both("features"),
        label=label,
        gender=gender,
        rank=assign_ranks(np.zeros(len(label), np.int8), gender, label, kept),
        filename=pa.concat_arrays([first.filename.take(rows), second.filename.take(others)]),
        identity=both("identity"),
        block=np.concatenate(
            [first.block[rows], first.block.max(initial=-1) + 1 + second.block[others]]
        ),
    )
