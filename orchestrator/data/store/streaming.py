"""A split's images where they lie on disk, read in the order of an epoch."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from orchestrator.data.epoch_order import WINDOW_BLOCKS
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

    def windows(self, order: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
        """Read the images of rows `order`, shape (m,); give them a window at a time.

        Raises
        ------
        InputError
            A shard is damaged.
        """
        return self.reader(self, order)

    def window_bounds(self, order: NDArray[np.int64]) -> list[tuple[int, int]]:
        """Cut rows `order`, shape (m,), into windows: where each starts in it, and ends."""
        blocks = blocks_of(np.diff(self.starts).tolist(), self.store.meta.block_rows)
        return window_bounds(blocks[self.rows][order])


Reader = Callable[[StreamedImages, NDArray[np.int64]], Iterator[NDArray[np.uint8]]]
"""Reads the images of rows, shape (m,), in their order, a window at a time."""


def read_here(images: StreamedImages, order: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
    """Read windows in this process, each when it is asked for."""
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
        tables = list(pool.map(lambda shard: store.read_table(shard.file, small), shards))
    images = StreamedImages.of(store, [(shard.file, shard.rows) for shard in shards], reader)
    return store.arrays(split, images, tables)


def window_bounds(block: NDArray[np.int32]) -> list[tuple[int, int]]:
    """Cut rows into runs that touch `WINDOW_BLOCKS` blocks, or little more.

    Parameters
    ----------
    block
        The block of each row, in the order in which rows are read, shape (m,). A shuffled order
        comes window by window, and its blocks come up first where a window begins.
    """
    first = np.zeros(len(block), np.bool_)
    first[np.unique(block, return_index=True)[1]] = True
    window = (np.cumsum(first) - 1) // WINDOW_BLOCKS
    starts = np.flatnonzero(np.diff(window, prepend=-1))
    ends = [*starts[1:].tolist(), len(block)]
    return list(zip(starts.tolist(), ends, strict=False))  # no rows, no windows
