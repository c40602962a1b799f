"""A split's images where they lie on disk, read in the order of an epoch."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from orchestrator.data.epoch_order import WINDOW_BLOCKS, Deal
from orchestrator.data.store.arrays import Arrays, blocks_of
from orchestrator.data.store.store import Store, schema


@dataclass(frozen=True)
class StreamedImages:
    """Images in the shards of a store; n rows."""

    store: Store
    files: tuple[str, ...]
    """The shards."""
    starts: NDArray[np.int64]
    """Where each shard's rows start, and where the last one's end."""
    rows: NDArray[np.int64]
    """The row, over all shards, of each image; shape (n,)."""
    reader: "Reader"
    """Gives them window by window: `read_here`, or one that reads ahead."""

    @classmethod
    def of(
        cls, store: Store, shards: Sequence[tuple[str, int]], reader: "Reader"
    ) -> "StreamedImages":
        """Return all images of some shards, given by file and number of rows."""
        starts = np.cumsum([0, *(rows for _, rows in shards)], dtype=np.int64)
        files = tuple(file for file, _ in shards)
        return cls(store, files, starts, np.arange(starts[-1]), reader)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(n, H, W, 3), as of an array."""
        side = self.store.meta.image_size
        return len(self.rows), side, side, 3

    def __getitem__(self, rows: NDArray[np.int64]) -> "StreamedImages":
        """Return the images of some rows, shape (m,), still on disk."""
        return replace(self, rows=self.rows[rows])

    def __add__(self, other: "StreamedImages") -> "StreamedImages":
        """Return these images and then those of other shards of the store."""
        return StreamedImages(
            self.store,
            self.files + other.files,
            np.concatenate([self.starts, self.starts[-1] + other.starts[1:]]),
            np.concatenate([self.rows, self.starts[-1] + other.rows]),
            self.reader,
        )

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Read the images of some rows, shape (m,), in that order.

        Raises
        ------
        InputError
            A shard is damaged.
        """
        at, size = self.rows[rows], self.store.meta.block_rows
        images = np.empty((len(at), *self.shape[1:]), np.uint8)
        shard = np.searchsorted(self.starts, at, side="right") - 1
        block, within = np.divmod(at - self.starts[shard], size)
        for number in np.unique(shard):  # each block is read once, whatever the order
            mine = np.flatnonzero(shard == number)
            blocks, which = np.unique(block[mine], return_inverse=True)
            read = self.store.read_blocks(self.files[number], blocks.tolist())
            images[mine] = read[which * size + within[mine]]
        return images

    def windows(
        self, order: NDArray[np.int64], deal: Deal | None = None
    ) -> Iterator[NDArray[np.uint8]]:
        """Read the images of rows `order`, shape (m,); give them a window at a time.

        Parameters
        ----------
        order
            The rows.
        deal
            Who of several workers has which of them: each asks with the same `order` and is given
            its own.

        Raises
        ------
        InputError
            A shard is damaged.
        """
        return self.reader(self, order, deal)

    def window_bounds(self, order: NDArray[np.int64]) -> list[tuple[int, int]]:
        """Cut rows `order`, shape (m,), into windows: where each starts in it, and ends."""
        blocks = blocks_of(np.diff(self.starts).tolist(), self.store.meta.block_rows)
        return window_bounds(blocks[self.rows][order])


Reader = Callable[[StreamedImages, NDArray[np.int64], Deal | None], Iterator[NDArray[np.uint8]]]
"""Reads the images of rows, shape (m,), in their order, or a worker's of them, by windows."""


def read_here(
    images: StreamedImages, order: NDArray[np.int64], deal: Deal | None
) -> Iterator[NDArray[np.uint8]]:
    """Read windows in this process, each when it is asked for; of a deal, this worker's alone."""
    if deal is not None:
        order = order[deal.mine]
    for start, stop in images.window_bounds(order):
        yield images.read(order[start:stop])


def stream(store: Store, split: str, reader: Reader = read_here) -> Arrays:
    """Read a split but for its pixels, which are read from the shards as they are needed.

    Parameters
    ----------
    store
        The data set.
    split
        train, val or test.
    reader
        Reads the pixels.

    Raises
    ------
    InputError
        As `Store.load` does.
    """
    shards = store.meta.shards[split]
    small = [name for name in schema(1, "").names if name != "image"]
    with ThreadPoolExecutor(16) as pool:
        tables = list(pool.map(lambda shard: store.read_shard(shard, small), shards))
    images = StreamedImages.of(store, [(shard.file, shard.rows) for shard in shards], reader)
    return store.arrays(split, images, tables)


def read_named(store: Store, names: Sequence[str]) -> dict[str, NDArray[np.uint8]]:
    """Read the faces of some files, of whichever split; each has shape (H, W, 3).

    Only the blocks that they lie in are read. Names that the data set has not are left out.

    Raises
    ------
    InputError
        A shard is damaged.
    """
    wanted = pa.array(names, pa.large_string())
    found: dict[str, NDArray[np.uint8]] = {}
    for split in store.meta.shards:
        arrays = stream(store, split)
        known = pc.is_in(arrays.filename, value_set=wanted)
        rows = np.flatnonzero(known.to_numpy(zero_copy_only=False))
        faces = cast("StreamedImages", arrays.images).read(rows)
        found.update(zip(arrays.filename.take(rows).to_pylist(), faces, strict=True))
    return found


def window_bounds(block: NDArray[np.int32]) -> list[tuple[int, int]]:
    """Cut rows into runs of `WINDOW_BLOCKS` blocks at most, each block in one run alone.

    An order that allows no such cut, which is none of an epoch's, is cut where the next block would
    be one too many.

    Parameters
    ----------
    block
        The block of each row, in the order in which rows are read, shape (m,).
    """
    _, first, which = np.unique(block, return_index=True, return_inverse=True)
    rows = np.arange(len(block))
    last = np.zeros(len(first), np.int64)
    last[which] = rows  # the last of those assigned
    # After these rows nothing is to come of the blocks that there were so far.
    ends = rows[np.maximum.accumulate(last[which]) == rows] + 1
    begun = np.zeros(len(block), np.int64)
    begun[first] = 1
    begun = np.cumsum(begun)
    bounds, start, before = [], 0, 0
    while start < len(block):
        most = int(np.searchsorted(begun, before + WINDOW_BLOCKS, side="right"))
        whole = ends[: np.searchsorted(ends, most, side="right")]
        stop = int(whole[-1]) if len(whole) and whole[-1] > start else most
        bounds.append((start, stop))
        start, before = stop, int(begun[stop - 1])
    return bounds
