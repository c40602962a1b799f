"""A prepared data set on disk: what is in it, whether it is whole, and how to read it.

::

    DATA/meta.json                    `Meta`; written last
    DATA/dropped.csv                  filename, reason
    DATA/train/part-00000.parquet …   the rows of a split by filename; likewise val/ and test/

A shard's columns are those of `schema`. Pixels lie in it uncompressed, as one run of bytes an
image, and are read as they are.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import ValidationError

from orchestrator.errors import InputError
from orchestrator.files import Anywhere, is_local, place, read_json
from orchestrator.splits import GENDERS, SPLITS, SplitBy, count_strata
from orchestrator.strict import Strict

if TYPE_CHECKING:
    import ray.data

FORMAT_VERSION = 1
FINGERPRINT = b"fairfront.fingerprint"
"""The key, in a shard's metadata, of the data set that it belongs to."""
PREPARE_AGAIN = "prepare the data again"

SplitCounts = dict[str, dict[str, dict[str, int]]]
"""Rows by split, then ``women`` and ``men``, then class ``0`` and ``1``."""


class Shard(Strict):
    """A file of a split."""

    file: str
    """Relative to the data set."""
    rows: int
    bytes: int


class Meta(Strict):
    """``meta.json``: what a prepared data set is."""

    format_version: int
    source: str
    fingerprint: str
    """A SHA-256 of the source's table and of all that decides the bytes of the data set."""
    image_size: int
    """Pixels a side."""
    resampling: str
    decoder: str
    seed: int
    fractions: tuple[float, float, float]
    split_by: SplitBy
    limit: int | None
    rows: int
    dropped: int
    """Rows of the source whose image could not be read; ``dropped.csv`` lists them."""
    counts: SplitCounts
    shards: dict[str, list[Shard]]
    """By split, in the order of the rows."""


@dataclass(frozen=True, slots=True)
class Arrays:
    """A split in memory; n rows, sorted by filename."""

    images: NDArray[np.uint8]
    """Shape (n, H, W, 3), RGB."""
    label: NDArray[np.int8]
    """0 or 1."""
    gender: NDArray[np.int8]
    """-1 woman, 1 man."""
    rank: NDArray[np.int32]
    """The position, from 0, in a seeded permutation of the split's gender × class."""
    filename: NDArray[np.object_]
    identity: NDArray[np.int32]
    """A number for each person, -1 where unknown."""

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.label)


@dataclass(frozen=True)
class Store:
    """A prepared data set that was whole when it was opened."""

    path: Anywhere
    meta: Meta

    @classmethod
    def open(cls, where: str | Anywhere) -> "Store":
        """Open a data set and check that all of it is there.

        Each shard's size, number of rows, columns and fingerprint are compared with
        ``meta.json``; the pixels are checked, by Parquet's page checksums, when they are read.

        Raises
        ------
        InputError
            No data set, one of another format version, or a shard missing or damaged.
        """
        path = place(where)
        store = cls(path, _read_meta(path))
        shards = [shard for split in SPLITS for shard in store.meta.shards[split]]
        with ThreadPoolExecutor(16) as pool:  # over a network each check is a wait
            list(pool.map(store._check, shards))
        return store

    def load(self, split: str) -> Arrays:
        """Read a split into memory, verifying its checksums; shards are read side by side.

        Raises
        ------
        InputError
            A shard is damaged, or the rows are not those that ``meta.json`` counts.
        """
        shards, side = self.meta.shards[split], self.meta.image_size
        starts = np.cumsum([0, *(shard.rows for shard in shards)])
        images = np.empty((starts[-1], side, side, 3), np.uint8)

        def read(shard: Shard, start: int) -> pa.Table:
            table = self._read(shard)
            images[start : start + shard.rows] = pixels(table["image"])
            return table.drop_columns("image")

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            table = pa.concat_tables(pool.map(read, shards, starts[:-1]))
        arrays = Arrays(
            images=images,
            label=table["label"].to_numpy(),
            gender=table["gender"].to_numpy(),
            rank=table["rank"].to_numpy(),
            filename=table["filename"].to_numpy(zero_copy_only=False),
            identity=table["identity"].fill_null(-1).to_numpy(),
        )
        counted = named_counts(arrays.gender, arrays.label)
        if counted != self.meta.counts[split]:
            raise InputError(
                f"{self.path}: {split} holds {counted} where meta.json counts "
                f"{self.meta.counts[split]}; {PREPARE_AGAIN}"
            )
        return arrays

    def dataset(self, split: str, columns: Sequence[str] | None = None) -> "ray.data.Dataset":
        """Return a split as a Ray data set, one block or more a shard.

        Read it with ``batch_format="pyarrow"`` and view the pixels with `pixels`; any other format
        makes a Python object of every image.
        """
        import ray.data

        files = [self.path / shard.file for shard in self.meta.shards[split]]
        remote = None
        if not isinstance(self.path, Path):
            remote = pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(self.path.fs))
        rows = ray.data.read_parquet(
            [str(file) if isinstance(file, Path) else file.path for file in files],
            filesystem=remote,
            partitioning=None,  # a folder named a=b above the data is no column of it
        )
        return rows if columns is None else rows.select_columns(list(columns))

    def _check(self, shard: Shard) -> None:
        path = self.path / shard.file
        try:
            size = path.stat().st_size
            if size != shard.bytes:
                raise InputError(
                    f"{path}: damaged: {size} bytes instead of {shard.bytes}; {PREPARE_AGAIN}"
                )
            with path.open("rb") as file:
                footer = pq.ParquetFile(file)
        except FileNotFoundError:
            raise InputError(f"{path}: this part of the data is missing; {PREPARE_AGAIN}") from None
        except (OSError, pa.ArrowException) as error:
            raise InputError(_damaged(path, error)) from None
        ours = schema(self.meta.image_size, self.meta.fingerprint)
        if (
            not footer.schema_arrow.equals(ours, check_metadata=True)
            or footer.metadata.num_rows != shard.rows
        ):
            raise InputError(f"{path}: belongs to another data set; {PREPARE_AGAIN}")

    def _read(self, shard: Shard) -> pa.Table:
        path = self.path / shard.file
        options = {"page_checksum_verification": True, "use_threads": False, "partitioning": None}
        try:
            if is_local(path):
                return pq.read_table(str(path), memory_map=True, **options)
            with path.open("rb") as file:
                return pq.read_table(file, **options)
        except (OSError, pa.ArrowException) as error:
            raise InputError(_damaged(path, error)) from None


def schema(image_size: int, fingerprint: str) -> pa.Schema:
    """Return the columns of a shard."""
    return pa.schema(
        [
            pa.field("image", pa.binary(image_size * image_size * 3), nullable=False),
            pa.field("label", pa.int8(), nullable=False),
            pa.field("gender", pa.int8(), nullable=False),
            pa.field("filename", pa.string(), nullable=False),
            pa.field("identity", pa.int32()),
            pa.field("rank", pa.int32(), nullable=False),
        ],
        metadata={FINGERPRINT: fingerprint.encode()},
    )


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


def named_counts(gender: NDArray[np.int8], label: NDArray[np.int8]) -> dict[str, dict[str, int]]:
    """Count rows by gender and class, under the names of `SplitCounts`."""
    counts = count_strata(gender, label)
    return {
        name: {str(label): counts[value, label] for label in (0, 1)}
        for name, value in GENDERS.items()
    }


def _side(type_: Any) -> int:
    side = isqrt(type_.byte_width // 3)
    if side * side * 3 != type_.byte_width:
        raise ValueError(f"{type_} is not the size of a square RGB image")
    return side


def _read_meta(path: Anywhere) -> Meta:
    if not (path / "meta.json").exists():
        unfinished = path.with_name(path.name + ".partial")
        mend = (
            f"{unfinished} is an unfinished one: run the same prepare again to finish it"
            if unfinished.exists()
            else "make it with `fairfront prepare SOURCE --out DATA`"
        )
        raise InputError(f"{path}: no prepared data here (no meta.json); {mend}")
    content = read_json(path / "meta.json")
    version = content.get("format_version") if isinstance(content, dict) else None
    if version != FORMAT_VERSION:
        raise InputError(
            f"{path}: data of format version {version}, this fairfront reads {FORMAT_VERSION}; "
            + PREPARE_AGAIN
        )
    try:
        return Meta.model_validate_json((path / "meta.json").read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise InputError(f"{path / 'meta.json'}: {key}: {first['msg']}; {PREPARE_AGAIN}") from None


def _damaged(path: Anywhere, error: Exception) -> str:
    return f"{path}: damaged ({' '.join(str(error).split())}); {PREPARE_AGAIN}"
