"""A prepared data set on disk: what is in it, whether it is whole, and how to read it.

::

    DATA/meta.json                    `orchestrator.data.store.meta.Meta`; written last
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

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from orchestrator.base.errors import InputError, ReadingError
from orchestrator.base.files import (
    Anywhere,
    cause_of,
    is_local,
    listed_sizes,
    one_line,
    parse_uri,
    reason_of,
    refuse_unreachable,
)
from orchestrator.base.source_files import source_of
from orchestrator.data.splits import SPLITS, stratum_of
from orchestrator.data.store.arrays import Arrays, ImagesOnDisk, blocks_of, pixels
from orchestrator.data.store.meta import PREPARE_AGAIN, Meta, Shard, named_counts, read_meta

ATTRIBUTES, DROPPED = "attributes.parquet", "dropped.csv"
FINGERPRINT = b"fairfront.fingerprint"
"""The key, in a shard's metadata, of the data set that it belongs to."""


@dataclass(frozen=True)
class Store:
    """A prepared data set that was whole when it was opened."""

    path: Anywhere
    meta: Meta

    @classmethod
    def open(cls, where: str | Anywhere) -> "Store":
        """Open a data set and check that all of it is there.

        No shard is read: the sizes that the folders list are compared with ``meta.json``. Whose a
        shard is, its rows, columns and bytes, by Parquet's page checksums, are checked whenever it
        is read. Of ``dropped.csv`` and ``attributes.parquet`` it is checked that they are there.

        Raises
        ------
        InputError
            No data set, one of another format version, a part of it missing or damaged, or no way
            to reach it.
        """
        path = parse_uri(where)
        refuse_unreachable(path)
        store = cls(path, read_meta(path))
        store._check_sizes()
        store._check_counts()
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
            table = self.read_shard(shard)
            images[start : start + shard.rows] = pixels(table["image"])
            return table.drop_columns("image")

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return self.arrays(split, images, list(pool.map(read, shards, starts[:-1])))

    def read_blocks(self, file: str, blocks: Sequence[int]) -> NDArray[np.uint8]:
        """Read the images of some blocks of a shard, counted from 0, verifying their checksums.

        Returns
        -------
        ndarray of uint8, shape (n, H, W, 3)

        Raises
        ------
        InputError
            The shard is damaged, or another data set's.
        """
        path = self.path / file
        with self._opened(path) as parquet:
            if parquet.metadata.metadata.get(FINGERPRINT) != self.meta.fingerprint.encode():
                raise InputError(f"{path}: belongs to another data set; {PREPARE_AGAIN}")
            table = parquet.read_row_groups(blocks, columns=["image"], use_threads=False)
        return pixels(table["image"])

    def arrays(
        self, split: str, images: NDArray[np.uint8] | ImagesOnDisk, tables: list[pa.Table]
    ) -> Arrays:
        """Put a split together from its images and the other columns of its shards.

        Raises
        ------
        InputError
            The rows are not those that ``meta.json`` counts.
        """
        table = pa.concat_tables(tables)
        arrays = Arrays(
            images=images,
            label=table["label"].to_numpy(),
            gender=table["gender"].to_numpy(),
            rank=table["rank"].to_numpy(),
            filename=table["filename"].cast(pa.large_string()).combine_chunks(),
            identity=table["identity"].fill_null(-1).to_numpy(),
            block=blocks_of([len(table) for table in tables], self.meta.block_rows),
        )
        counted = named_counts(arrays.gender, arrays.label)
        if counted != self.meta.counts[split]:
            raise InputError(
                f"{self.path}: {split} holds {counted} where meta.json counts "
                f"{self.meta.counts[split]}; {PREPARE_AGAIN}"
            )
        if not _ranks_fit(arrays):
            raise InputError(
                f"{self.path}: {split}: the ranks of a gender and class are not 0, 1, 2, …; "
                + PREPARE_AGAIN
            )
        return arrays

    def read_shard(self, shard: Shard, columns: list[str] | None = None) -> pa.Table:
        """Read a shard, or some of its columns; `InputError` if it is damaged or not ours."""
        ours = schema(self.meta.image_size, self.meta.fingerprint)
        return self._read(shard.file, ours, shard.rows, columns)

    def attributes(self) -> pd.DataFrame | None:
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
        ours = attributes_schema(self.meta.attributes, self.meta.fingerprint)
        table = self._read(ATTRIBUTES, ours, self.meta.rows)
        known: pd.DataFrame = table.to_pandas().set_index("filename")
        return known

    def _read(
        self, file: str, ours: pa.Schema, rows: int, columns: list[str] | None = None
    ) -> pa.Table:
        path = self.path / file
        with self._opened(path) as parquet:
            held = parquet.metadata.num_rows
            if not parquet.schema_arrow.equals(ours, check_metadata=True) or held != rows:
                raise InputError(f"{path}: belongs to another data set; {PREPARE_AGAIN}")
            return parquet.read(columns=columns, use_threads=False)

    def _check_sizes(self) -> None:
        shards = [shard for split in SPLITS for shard in self.meta.shards[split]]
        others = [DROPPED, *([ATTRIBUTES] if self.meta.attributes else [])]
        with ThreadPoolExecutor(16) as pool:  # over a network each is a wait
            listed = list(pool.map(lambda split: listed_sizes(self.path / split), SPLITS))
            sizes = {
                f"{split}/{name}": size
                for split, of_split in zip(SPLITS, listed, strict=True)
                for name, size in of_split.items()
            }
            files = (*others, *(shard.file for shard in shards))
            unlisted = [file for file in files if file not in sizes]
            sizes |= zip(unlisted, pool.map(self._size, unlisted), strict=True)
        for shard in shards:
            if sizes[shard.file] != shard.bytes:
                raise InputError(
                    f"{self.path / shard.file}: damaged: {sizes[shard.file]} bytes instead of "
                    f"{shard.bytes}; {PREPARE_AGAIN}"
                )

    def _check_counts(self) -> None:
        for split in SPLITS:
            counted = sum(self.meta.strata(split).values())
            held = sum(shard.rows for shard in self.meta.shards[split])
            if counted != held:
                raise InputError(
                    f"{self.path / 'meta.json'}: {split} counts {counted} rows where its shards "
                    f"hold {held}; {PREPARE_AGAIN}"
                )

    def _size(self, file: str) -> int:
        path = self.path / file
        try:
            return path.stat().st_size
        except OSError as error:
            raise InputError(_damaged(path, error)) from None

    @contextmanager
    def _opened(self, path: Anywhere) -> Iterator[pq.ParquetFile]:
        """Open a shard for the bytes that are asked for and no more, neighbours in one request."""
        local = is_local(path)
        try:
            parquet = pq.ParquetFile(
                source_of(path),
                memory_map=local,
                pre_buffer=not local,
                page_checksum_verification=True,
            )
            try:
                yield parquet
            finally:
                parquet.close(force=True)
        except (OSError, pa.ArrowException, ReadingError) as error:
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


def attributes_schema(names: Sequence[str], fingerprint: str) -> pa.Schema:
    """Return the columns of ``attributes.parquet``."""
    columns = [pa.field(name, pa.bool_(), nullable=False) for name in names]
    return pa.schema(
        [pa.field("filename", pa.string(), nullable=False), *columns],
        metadata={FINGERPRINT: fingerprint.encode()},
    )


def _ranks_fit(arrays: Arrays) -> bool:
    """Tell whether the ranks of each stratum are a permutation: policies draw faces by them."""
    stratum = stratum_of(arrays.gender, arrays.label)
    ranks = (np.sort(arrays.rank[stratum == number]) for number in range(4))
    return all(np.array_equal(of_stratum, np.arange(len(of_stratum))) for of_stratum in ranks)


def _damaged(path: Anywhere, error: BaseException) -> str:
    if isinstance(error, ReadingError):
        return str(error)
    error = cause_of(error)
    if isinstance(error, FileNotFoundError):
        return f"{path}: this part of the data is missing; {PREPARE_AGAIN}"
    if isinstance(error, OSError) and error.errno:  # of the disk, not of what is on it
        return f"{path}: {reason_of(error)}"
    return f"{path}: damaged ({one_line(error)}); {PREPARE_AGAIN}"
