"""The splits that a run trains on: where their pixels are kept, and which fold validates."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from orchestrator.arrays import Arrays
from orchestrator.errors import InputError
from orchestrator.splits import SPLITS, absent_genders, assign_folds, assign_ranks
from orchestrator.store import Store
from orchestrator.streaming import StreamedImages
from orchestrator.strict import Strict

if TYPE_CHECKING:
    from orchestrator.features import Features

Residence = Literal["resident", "stream"]
SHARE_OF_MEMORY = 0.7
"""Of a node's shared memory, for the data; Ray spills to disk when it is full."""


class DataConfig(Strict):
    """How a run reads its data."""

    residence: Literal["auto", "resident", "stream"] = "auto"
    """resident: once in each node's shared memory; stream: from disk, every epoch; auto: resident
    if it fits. The result is the same."""
    folds: int | None = Field(default=None, ge=2, le=100)
    """Cut train and val together into so many folds for cross-validation; null: as prepared."""
    fold: int = Field(default=0, ge=0)
    """The fold that validates, from 0; the others train. Test stays as it is."""

    @model_validator(mode="after")
    def _fold_exists(self) -> "DataConfig":
        if self.fold >= (self.folds or 1):
            raise ValueError(f"there is no such fold; data.folds is {self.folds}")
        return self


@dataclass(frozen=True)
class Placement:
    """Where the pixels of a data set are kept."""

    residence: Residence
    gigabytes: float
    """Of pixels, all splits together."""
    shared_gigabytes: float
    """Of the smallest node's shared memory."""

    def __str__(self) -> str:
        """Say it in a few words."""
        pixels, memory = f"{self.gigabytes:.2g} GB", f"{self.shared_gigabytes:.2g} GB"
        if self.residence == "resident":
            return f"data: resident, {pixels} of the {memory} of shared memory"
        return f"data: streamed from disk, {pixels} ({memory} of shared memory)"


def place_pixels(config: DataConfig, store: Store, shared_memory: float) -> Placement:
    """Decide where the pixels are kept.

    Parameters
    ----------
    config
        What is wanted.
    store
        The data set.
    shared_memory
        Bytes for objects on the node that has the least.

    Raises
    ------
    InputError
        ``resident`` is wanted and does not fit.
    """
    pixels = store.meta.rows * store.meta.image_size**2 * 3
    fits = pixels <= SHARE_OF_MEMORY * shared_memory
    if config.residence == "resident" and not fits:
        raise InputError(
            f"data.residence=resident: {pixels / 1e9:.2g} GB do not fit {shared_memory / 1e9:.2g} "
            "GB of shared memory; use data.residence=stream, or start Ray with a larger "
            "--object-store-memory"
        )
    resident = fits and config.residence != "stream"
    return Placement("resident" if resident else "stream", pixels / 1e9, shared_memory / 1e9)


def load(
    store: Store, config: DataConfig, residence: Residence, features: "Features | None" = None
) -> dict[str, Arrays]:
    """Read the splits train, val and test of a run, with their features where it trains on some.

    Raises
    ------
    InputError
        A shard is damaged, or a file of features.
    """
    read = store.load if residence == "resident" else store.stream
    data = {split: read(split) for split in SPLITS}
    if features is not None:
        data = features.attach(data)
    if config.folds is not None:
        people = store.meta.split_by == "identity"
        data["train"], data["val"] = cross_validate(
            data["train"], data["val"], config.folds, config.fold, people=people
        )
    return data


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
    gender, label = (
        np.concatenate([getattr(train, name), getattr(val, name)]) for name in ("gender", "label")
    )
    key = np.concatenate([2 * train.rank.astype(np.int64), 2 * val.rank.astype(np.int64) + 1])
    identity = np.concatenate([train.identity, val.identity]) if people else None
    of_row = assign_folds(folds, gender, label, key, identity)
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
        filename=both("filename"),
        identity=both("identity"),
        block=np.concatenate(
            [first.block[rows], first.block.max(initial=-1) + 1 + second.block[others]]
        ),
    )
