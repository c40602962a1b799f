"""The splits that a run trains on: where their pixels are kept, and which fold validates."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from orchestrator.base.errors import InputError
from orchestrator.config.settings import DataConfig
from orchestrator.data.folds import cross_validate
from orchestrator.data.splits import SPLITS
from orchestrator.data.store.arrays import Arrays
from orchestrator.data.store.store import Store
from orchestrator.data.store.streaming import Reader, read_here, stream

Residence = Literal["resident", "stream"]
SHARE_OF_MEMORY = 0.7
"""Of a node's shared memory, for the data; Ray spills to disk when it is full."""


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
    store: Store,
    config: DataConfig,
    residence: Residence,
    *,
    reader: Reader = read_here,
    attach: Callable[[dict[str, Arrays]], dict[str, Arrays]] | None = None,
) -> dict[str, Arrays]:
    """Read the splits train, val and test of a run.

    Parameters
    ----------
    store, config, residence
        The data set, and how a run reads it.
    reader
        Reads the pixels that are streamed.
    attach
        Adds their features to whole splits, where the run trains on some.

    Raises
    ------
    InputError
        A shard is damaged, or a file of features.
    """
    data = {
        split: store.load(split) if residence == "resident" else stream(store, split, reader)
        for split in SPLITS
    }
    if attach is not None:
        data = attach(data)
    if config.folds is not None:
        people = store.meta.split_by == "identity"
        data["train"], data["val"] = cross_validate(
            data["train"], data["val"], config.folds, config.fold, people=people
        )
    return data
