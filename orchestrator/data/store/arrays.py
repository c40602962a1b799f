"""A split in memory, and its images as a column of a table."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isqrt
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from orchestrator.data.epoch_order import Deal

BLOCK_BYTES = 2**20
"""Of pixels, in a row group: long enough to read at full speed, short enough to shuffle by."""


class ImagesOnDisk(Protocol):
    """Images that are read as they are needed; `orchestrator.data.store.streaming` has them."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(n, H, W, 3), as of an array."""

    def windows(
        self, order: NDArray[np.int64], deal: Deal | None = None
    ) -> Iterator[NDArray[np.uint8]]:
        """Read the images of rows `order`, shape (m,), or this worker's of a deal, by windows."""


@dataclass(frozen=True, slots=True, eq=False)
class Arrays:
    """A split, its n rows in the order of the store; in memory, save perhaps for its pixels.

    It equals itself alone, by which what is made of it can be found again.
    """

    images: NDArray[np.uint8] | ImagesOnDisk
    """Shape (n, H, W, 3), RGB; uint8 in memory, or where on disk they are."""
    label: NDArray[np.int8]
    """0 or 1."""
    gender: NDArray[np.int8]
    """-1 woman, 1 man."""
    rank: NDArray[np.int32]
    """The position, from 0, in a seeded permutation of the split's gender × class."""
    filename: pa.LargeStringArray
    """As Arrow has strings: shared memory is read in place, where Python would make objects."""
    identity: NDArray[np.int32]
    """A number for each person, -1 where unknown."""
    block: NDArray[np.int32]
    """The block of the store that a row's image lies in; the shuffle keeps blocks together."""
    features: NDArray[np.float16] | None = None
    """What a frozen backbone makes of the images, shape (n, V, D), V = 1 or 2: of the image, and
    perhaps of its mirror image. Then the pixels are on disk, and nobody reads them."""

    @property
    def inputs(self) -> NDArray[np.uint8] | NDArray[np.float16] | ImagesOnDisk:
        """What the network sees of the rows: their features where there are some."""
        return self.images if self.features is None else self.features

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.label)


def block_rows(image_size: int) -> int:
    """Return how many images make a block: as many as fit `BLOCK_BYTES`."""
    return max(1, BLOCK_BYTES // (image_size * image_size * 3))


def blocks_of(shards: Sequence[int], size: int) -> NDArray[np.int32]:
    """Number the blocks, of `size` rows, of shards with so many rows each; shape (n,)."""
    numbers, first = [np.empty(0, np.int32)], 0
    for rows in shards:
        numbers.append(first + np.arange(rows, dtype=np.int32) // size)
        first += -(-rows // size)
    return np.concatenate(numbers)


def pixels(column: pa.Array | pa.ChunkedArray) -> NDArray[np.uint8]:
    """View a column of images as an array.

    Parameters
    ----------
    column
        Square RGB images as fixed_size_binary, without nulls. In one chunk, as Parquet and Ray
        give it, nothing is copied.

    Returns
    -------
    ndarray of uint8, shape (n, H, W, 3)
        Read-only where it is a view.
    """
    if isinstance(column, pa.ChunkedArray):
        chunks = [pixels(chunk) for chunk in column.chunks]
        if len(chunks) != 1:
            side = _side(column.type)
            return np.concatenate([np.empty((0, side, side, 3), np.uint8), *chunks])
        return chunks[0]
    if column.null_count:
        raise ValueError(f"{column.null_count} of {len(column)} images are null")
    side, width = _side(column.type), column.type.byte_width
    if not len(column):
        return np.empty((0, side, side, 3), np.uint8)
    buffer = column.buffers()[1]
    start = column.offset * width  # a slice shares its parent's buffer
    flat = np.frombuffer(buffer, np.uint8, count=len(column) * width, offset=start)
    flat.flags.writeable = False  # Arrow's memory, which others may share
    return flat.reshape(len(column), side, side, 3)


def image_column(images: NDArray[np.uint8]) -> pa.Array:
    """Turn square RGB images, shape (n, H, W, 3), into the column that `pixels` reads."""
    width = int(np.prod(images.shape[1:]))
    buffers = [None, pa.py_buffer(np.ascontiguousarray(images))]
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(images), buffers)


def _side(type_: Any) -> int:
    side = isqrt(type_.byte_width // 3)
    if side * side * 3 != type_.byte_width:
        raise ValueError(f"{type_} is not the size of a square RGB image")
    return side
