"""What a frozen backbone makes of a store's faces: computed once, kept with the data.

::

    DATA/features/<key>/train/part-00000.parquet …   `Features.schema`; a file for each shard of
                                                     the data, its rows in the same order

A key tells all that decides the features: network and the size at which it sees the faces, head,
precision, the weights' digest, and plain or mirrored. A file is written whole or not at all and
says what it belongs to: a computation that was killed goes on where it was, and files that do not
fit are made anew.
"""

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from orchestrator.base.errors import InputError, ReadingError
from orchestrator.base.files import Anywhere, is_local, reason_of
from orchestrator.base.source_files import source_of
from orchestrator.data.store.arrays import Arrays
from orchestrator.data.store.meta import Shard
from orchestrator.data.store.store import FINGERPRINT, Store

FOLDER = "features"
KEY = b"fairfront.features"
"""The name, in a file's metadata, of the key that it belongs to."""
PLAIN, MIRRORED = "plain", "mirrored"


Pieces = list[tuple[str, Shard]]
"""Files of features, each as the variant and the shard of the data."""


@dataclass(frozen=True)
class Features:
    """The features of a store's faces, on disk."""

    store: Store
    key: str
    """But for ``-plain`` or ``-mirrored``."""
    width: int
    """Features a face."""
    variants: Mapping[str, tuple[str, ...]]
    """By split: plain, and mirrored where that is drawn, or seen, too."""
    averaged: bool = False
    """Whether a face's features are the means of both variants."""
    beside: "tuple[Features, ...]" = ()
    """What the same backbone makes of the faces at other sizes, which follows these."""

    @property
    def gigabytes(self) -> float:
        """Of all features that are loaded."""
        own = sum(shard.rows for _, shard in self.pieces()) * self.width * 2 / 1e9
        return own + sum(other.gigabytes for other in self.beside)

    def __str__(self) -> str:
        """Say it in a few words."""
        every = (self, *self.beside)
        return (
            f"features: resident, {self.gigabytes:.2g} GB, {sum(one.width for one in every):,} a "
            f"face; made once, kept in {', '.join(str(one.folder(PLAIN)) for one in every)}"
        )

    def folder(self, variant: str) -> Anywhere:
        """Return where the files of a variant are."""
        return self.store.path / FOLDER / f"{self.key}-{variant}"

    def pieces(self) -> Pieces:
        """Return all files at this size, each as the variant and the shard of the data."""
        shards = self.store.meta.shards
        return [
            (variant, shard)
            for split, variants in self.variants.items()
            for variant in variants
            for shard in shards[split]
        ]

    def schema(self, variant: str) -> pa.Schema:
        """Return the columns of a file: a face's features are one run of float16."""
        return pa.schema(
            [pa.field("features", pa.binary(2 * self.width), nullable=False)],
            metadata={
                FINGERPRINT: self.store.meta.fingerprint.encode(),
                KEY: f"{self.key}-{variant}".encode(),
            },
        )

    def undone(self) -> Pieces:
        """Return the files at this size that are missing, cut short or of other data."""
        with ThreadPoolExecutor(16) as pool:  # over a network each check is a wait
            pieces = self.pieces()
            checked = zip(pieces, pool.map(self.is_whole, pieces), strict=True)
            return [piece for piece, whole in checked if not whole]

    def is_whole(self, piece: tuple[str, Shard]) -> bool:
        """Tell whether a file is there and belongs to these features; reads its footer only."""
        try:
            with self._opened(*piece):
                return True
        except (FileNotFoundError, ValueError):
            return False

    def attach(self, data: Mapping[str, Arrays]) -> dict[str, Arrays]:
        """Read the features of whole splits, as `Store.load` or `Store.stream` gave them.

        Raises
        ------
        InputError
            A file is missing or damaged.
        """
        every = (self, *self.beside)
        return {
            split: replace(
                data[split], features=np.concatenate([one._load(split) for one in every], axis=2)
            )
            for split in data
        }

    def _load(self, split: str) -> NDArray[np.float16]:
        """Read the features of a split, shape (n, V, D), verifying their checksums."""
        shards, variants = self.store.meta.shards[split], self.variants[split]
        starts = np.cumsum([0, *(shard.rows for shard in shards)])
        features = np.empty((starts[-1], len(variants), self.width), np.float16)

        def read(number: int, variant: str) -> None:
            into = features[starts[number] : starts[number + 1], variants.index(variant)]
            try:
                self._read(variant, shards[number], into)
            except (FileNotFoundError, ValueError) as error:
                folder = self.folder(variant)
                raise InputError(
                    f"{folder / shards[number].file}: {reason_of(error)}; delete {folder} and run "
                    "the same command again, which makes these features anew"
                ) from None

        pairs = [(number, variant) for number in range(len(shards)) for variant in variants]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(lambda pair: read(*pair), pairs))
        if self.averaged:
            mean = features.mean(axis=1, keepdims=True)  # NumPy adds float16 up in float32
            features = mean.astype(np.float16)
        return features

    def _read(self, variant: str, shard: Shard, into: NDArray[np.float16]) -> None:
        """Read the features of a shard into an array of shape (n, D)."""
        with self._opened(variant, shard) as parquet:
            start = 0
            for group in range(parquet.num_row_groups):
                column = parquet.read_row_group(group, use_threads=False)["features"]
                for chunk in column.chunks:
                    flat = np.frombuffer(chunk.buffers()[1], np.float16)
                    rows = flat.reshape(-1, self.width)[chunk.offset : chunk.offset + len(chunk)]
                    into[start : start + len(chunk)] = rows
                    start += len(chunk)

    @contextmanager
    def _opened(self, variant: str, shard: Shard) -> Iterator[pq.ParquetFile]:
        """Open the features of a shard.

        Raises
        ------
        FileNotFoundError
            There are none.
        ValueError
            The file is damaged or of other data; raised also while it is read.
        InputError
            The place of the file cannot be reached.
        """
        path = self.folder(variant) / shard.file
        local = is_local(path)
        try:
            with pq.ParquetFile(
                source_of(path), memory_map=local, page_checksum_verification=True
            ) as parquet:
                ours, rows = self.schema(variant), parquet.metadata.num_rows
                if not parquet.schema_arrow.equals(ours, check_metadata=True) or rows != shard.rows:
                    raise ValueError("belongs to other data")
                yield parquet
        except ReadingError as error:
            raise InputError(str(error)) from None
        except (OSError, pa.ArrowException) as error:
            if isinstance(error, FileNotFoundError):
                raise
            if isinstance(error, OSError) and error.errno:  # of the disk, not of what is on it
                raise InputError(f"{path}: {reason_of(error)}") from None
            raise ValueError(f"damaged ({reason_of(error)})") from None
