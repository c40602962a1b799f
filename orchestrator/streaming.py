"""A split's images where they lie on disk, read through Ray Data in the order of an epoch."""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from orchestrator.arrays import blocks_of, image_column, pixels
from orchestrator.errors import InputError
from orchestrator.shuffle import WINDOW_BLOCKS
from orchestrator.store import Store

AHEAD = 2
"""Windows that are read while one is used; each is `WINDOW_BLOCKS` blocks of a megabyte."""


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

    @classmethod
    def of(cls, store: Store, shards: Sequence[tuple[str, int]]) -> "StreamedImages":
        """Return all images of some shards, given by file and number of rows."""
        starts = np.cumsum([0, *(rows for _, rows in shards)], dtype=np.int64)
        return cls(store, tuple(file for file, _ in shards), starts, np.arange(starts[-1]))

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
        """Read the images of rows `order`, shape (m,), on Ray Data; give them a window at a time.

        Tasks read ahead on any node. They ask for no CPU, since the trial that waits for them may
        hold the last one, and reading takes little beside training.

        Raises
        ------
        InputError
            A shard is damaged.
        """
        import ray

        if not len(order):
            return
        pieces = [
            {"start": start, "stop": stop} for start, stop in window_bounds(self._blocks()[order])
        ]
        shared = [ray.put((self, order))]
        data = ray.data.from_items(pieces, override_num_blocks=len(pieces)).map_batches(
            functools.partial(_read_piece, shared),
            batch_size=1,
            num_cpus=0,
            compute=ray.data.TaskPoolStrategy(size=min(AHEAD, len(pieces))),
        )
        data.context.execution_options.preserve_order = True
        for table in data.iter_batches(
            batch_size=None, batch_format="pyarrow", prefetch_batches=AHEAD - 1
        ):
            if table["error"][0].is_valid:
                raise InputError(table["error"][0].as_py())
            yield pixels(table["image"])

    def _blocks(self) -> NDArray[np.int32]:
        return blocks_of(np.diff(self.starts).tolist(), self.store.meta.block_rows)[self.rows]


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


def _read_piece(shared: Any, piece: dict[str, Any]) -> pa.Table:
    import ray

    images, order = ray.get(shared[0])
    try:
        read = images.read(order[piece["start"][0] : piece["stop"][0]])
        error = None
    except InputError as damaged:  # raised here, it would reach the user in Ray's wrapping
        read, error = np.zeros((1, *images.shape[1:]), np.uint8), str(damaged)
    errors = pa.repeat(pa.scalar(error, pa.string()), len(read))
    return pa.table({"image": image_column(read), "error": errors})
