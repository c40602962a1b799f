"""A prepared data set on disk: what is in it, whether it is whole, and how to read it.

::

    DATA/meta.json                    `Meta`; written last
    DATA/dropped.csv                  filename, reason
    DATA/attributes.parquet           `attributes_schema`; where the source knows attributes
    DATA/train/part-00000.parquet …   the rows of a split, by filename or, for Parquet with the
                                      images in it, in its own order; likewise val/ and test/

A shard's columns are those of `schema`. Pixels lie in it uncompressed, as one run of bytes an
image, and are read as they are. Its row groups are the blocks of about a megabyte in which images
are streamed.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import ValidationError

from orchestrator.arrays import Arrays, blocks_of, pixels
from orchestrator.errors import InputError
from orchestrator.files import Anywhere, is_local, place, read_json
from orchestrator.splits import GENDERS, SPLITS, SplitBy, count_strata
from orchestrator.strict import Strict

if TYPE_CHECKING:
    import pandas as pd

    from orchestrator.streaming import StreamedImages

FORMAT_VERSION = 2
ATTRIBUTES = "attributes.parquet"
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
    block_rows: int
    """Images in a row group of a shard."""
    rows: int
    dropped: int
    """Rows of the source whose image could not be read; ``dropped.csv`` lists them."""
    counts: SplitCounts
    shards: dict[str, list[Shard]]
    """By split, in the order of the rows."""
    attributes: list[str]
    """The columns of ``attributes.parquet``; with none there is no such file."""


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
            table = self._read(shard.file)
            images[start : start + shard.rows] = pixels(table["image"])
            return table.drop_columns("image")

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return self._arrays(split, images, list(pool.map(read, shards, starts[:-1])))

    def stream(self, split: str) -> Arrays:
        """Read a split but for its pixels, which are read from the shards as they are needed.

        Raises
        ------
        InputError
            As `load` does.
        """
        from orchestrator.streaming import StreamedImages

        shards = self.meta.shards[split]
        small = [name for name in schema(1, "").names if name != "image"]
        with ThreadPoolExecutor(16) as pool:
            tables = list(pool.map(lambda shard: self._read(shard.file, small), shards))
        images = StreamedImages.of(self, [(shard.file, shard.rows) for shard in shards])
        return self._arrays(split, images, tables)

    def read_blocks(self, file: str, blocks: Sequence[int]) -> NDArray[np.uint8]:
        """Read the images of some blocks of a shard, counted from 0, verifying their checksums.

        Returns
        -------
        ndarray of uint8, shape (n, H, W, 3)

        Raises
        ------
        InputError
            The shard is damaged.
        """
        path = self.path / file
        try:
            with self._opened(path) as parquet:
                table = parquet.read_row_groups(blocks, columns=["image"], use_threads=False)
        except (OSError, pa.ArrowException) as error:
            raise InputError(_damaged(path, error)) from None
        return pixels(table["image"])

    def attributes(self) -> "pd.DataFrame | None":
        """Read what else is known of the faces.

        Returns
        -------
        pandas.DataFrame or None
            A bool column an attribute, indexed by filename: the rows of train, val and test, each
            in the order of `load`. None where the source knew no attributes.

        Raises
        ------
        InputError
            The file is missing, damaged or of another data set.
        """
        if not self.meta.attributes:
            return None
        path = self.path / ATTRIBUTES
        table = self._read(ATTRIBUTES)
        ours = attributes_schema(self.meta.attributes, self.meta.fingerprint)
        if not table.schema.equals(ours, check_metadata=True) or len(table) != self.meta.rows:
            raise InputError(f"{path}: belongs to another data set; {PREPARE_AGAIN}")
        known: pd.DataFrame = table.to_pandas().set_index("filename")
        return known

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
        except (OSError, pa.ArrowException) as error:
            raise InputError(_damaged(path, error)) from None
        ours = schema(self.meta.image_size, self.meta.fingerprint)
        if (
            not footer.schema_arrow.equals(ours, check_metadata=True)
            or footer.metadata.num_rows != shard.rows
        ):
            raise InputError(f"{path}: belongs to another data set; {PREPARE_AGAIN}")

    def _arrays(
        self, split: str, images: "NDArray[np.uint8] | StreamedImages", tables: list[pa.Table]
    ) -> Arrays:
        """Put a split together from its images and the other columns of its shards."""
        table = pa.concat_tables(tables)
        arrays = Arrays(
            images=images,
            label=table["label"].to_numpy(),
            gender=table["gender"].to_numpy(),
            rank=table["rank"].to_numpy(),
            filename=table["filename"].to_numpy(zero_copy_only=False),
            identity=table["identity"].fill_null(-1).to_numpy(),
            block=blocks_of([len(table) for table in tables], self.meta.block_rows),
        )
        counted = named_counts(arrays.gender, arrays.label)
        if counted != self.meta.counts[split]:
            raise InputError(
                f"{self.path}: {split} holds {counted} where meta.json counts "
                f"{self.meta.counts[split]}; {PREPARE_AGAIN}"
            )
        return arrays

    def _read(self, file: str, columns: list[str] | None = None) -> pa.Table:
        path = self.path / file
        try:
            with self._opened(path) as parquet:
                return parquet.read(columns=columns, use_threads=False)
        except (OSError, pa.ArrowException) as error:
            raise InputError(_damaged(path, error)) from None

    @contextmanager
    def _opened(self, path: Anywhere) -> Iterator[pq.ParquetFile]:
        if is_local(path):
            with pq.ParquetFile(
                str(path), memory_map=True, page_checksum_verification=True
            ) as parquet:
                yield parquet
        else:
            with path.open("rb") as file:
                yield pq.ParquetFile(file, page_checksum_verification=True)


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


def attributes_schema(names: Sequence[str], fingerprint: str) -> pa.Schema:
    """Return the columns of ``attributes.parquet``."""
    columns = [pa.field(name, pa.bool_(), nullable=False) for name in names]
    return pa.schema(
        [pa.field("filename", pa.string(), nullable=False), *columns],
        metadata={FINGERPRINT: fingerprint.encode()},
    )


def named_counts(gender: NDArray[np.int8], label: NDArray[np.int8]) -> dict[str, dict[str, int]]:
    """Count rows by gender and class, under the names of `SplitCounts`."""
    counts = count_strata(gender, label)
    return {
        name: {str(label): counts[value, label] for label in (0, 1)}
        for name, value in GENDERS.items()
    }


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
    if isinstance(error, FileNotFoundError):
        return f"{path}: this part of the data is missing; {PREPARE_AGAIN}"
    return f"{path}: damaged ({' '.join(str(error).split())}); {PREPARE_AGAIN}"
