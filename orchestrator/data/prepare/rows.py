"""What a data set will be, settled before any image is read: its rows, splits, ranks and chunks."""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import pandas as pd

from orchestrator.base.errors import InputError
from orchestrator.data.prepare.chunks import ChunkStatus, chunk_rows
from orchestrator.data.reading.decode import DECODER, RESAMPLING
from orchestrator.data.sources.source import Source
from orchestrator.data.splits import (
    SPLITS,
    SplitBy,
    assign_ranks,
    assign_splits,
    check_splits,
    choose,
    permutation_keys,
)
from orchestrator.data.store.arrays import block_rows
from orchestrator.data.store.meta import FORMAT_VERSION, Meta, named_counts


@dataclass(frozen=True)
class Options:
    """What decides the data set, beside the source."""

    image_size: int = 80
    """Pixels a side."""
    fractions: tuple[float, float, float] = (0.6, 0.2, 0.2)
    """Of train, val and test."""
    split_by: SplitBy = "row"
    seed: int = 0
    limit: int | None = None
    """Only so many faces, the strata in proportion."""
    max_bad: float = 0.01
    """The largest share of faces that may be dropped."""

    def check(self) -> None:
        """Raise `InputError` for a value that makes no sense."""
        if not 1 <= self.image_size <= 1024:
            raise InputError(f"--image-size {self.image_size}: it must be from 1 to 1024 pixels")
        if (
            len(self.fractions) != 3
            or min(self.fractions) < 0
            or abs(sum(self.fractions) - 1) > 1e-6
        ):
            given = ",".join(map(str, self.fractions))
            raise InputError(f"--split {given}: give three shares that sum to 1, as 0.6,0.2,0.2")
        if not 0 <= self.seed < 2**63:
            raise InputError(f"--seed {self.seed}: it must be from 0 to 2**63 - 1")
        if self.limit is not None and self.limit < 1:
            raise InputError(f"--limit {self.limit}: it must be at least 1")
        if not 0 <= self.max_bad <= 1:
            raise InputError(f"--max-bad {self.max_bad}: it must be a share from 0 to 1")


def choose_rows(table: pd.DataFrame, options: Options) -> pd.DataFrame:
    """Choose the rows of a source, and add the columns split, rank and chunk.

    Raises
    ------
    InputError
        A split would be empty or have one gender only, or the source lacks what ``split_by`` needs.
    """
    table = table.iloc[choose(table, options.limit, options.seed)].reset_index(drop=True)
    splits = assign_splits(table, options.fractions, options.split_by, options.seed)
    chunk = np.arange(len(table)) // chunk_rows(len(table), options.image_size)
    return _with_ranks(table.assign(split=splits, chunk=chunk), options.seed)


def drop_rows(dropped: Container[str], table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Take dropped rows out of what `choose_rows` gave, and close the gaps in the ranks.

    Raises
    ------
    InputError
        What is left of a split is empty or has one gender only.
    """
    kept = table[[filename not in dropped for filename in table["filename"]]]
    check_splits(kept["split"].to_numpy(), kept["gender"].to_numpy(), "without what was dropped")
    return _with_ranks(kept, seed)


def fingerprint(source: Source, options: Options) -> str:
    """Return a SHA-256 of all that decides the data set, save for the images' own bytes."""
    parts: tuple[object, ...] = (
        FORMAT_VERSION, source.name, source.fingerprint, options.image_size, RESAMPLING, DECODER,
        tuple(options.fractions), options.split_by, options.seed, options.limit,
    )  # fmt: skip
    if source.attributes is not None:
        values = np.packbits(source.attributes.to_numpy(dtype=np.bool_))
        parts += (tuple(source.attributes.columns), sha256(values.tobytes()).hexdigest())
    return sha256(repr(parts).encode()).hexdigest()


def describe_store(
    source: Source, options: Options, table: pd.DataFrame, statuses: Sequence[ChunkStatus]
) -> Meta:
    """Return the ``meta.json`` of a data set, from its kept rows and what became of its chunks."""
    counts = {}
    for code, split in enumerate(SPLITS):
        rows = table[table["split"] == code]
        counts[split] = named_counts(rows["gender"].to_numpy(), rows["label"].to_numpy())
    return Meta(
        format_version=FORMAT_VERSION,
        source=source.name,
        fingerprint=fingerprint(source, options),
        image_size=options.image_size,
        resampling=RESAMPLING,
        decoder=DECODER,
        seed=options.seed,
        fractions=options.fractions,
        split_by=options.split_by,
        limit=options.limit,
        block_rows=block_rows(options.image_size),
        rows=len(table),
        dropped=sum(len(status.dropped) for status in statuses),
        counts=counts,
        shards={
            split: [status.shards[split] for status in statuses if split in status.shards]
            for split in SPLITS
        },
        attributes=[] if source.attributes is None else list(source.attributes.columns),
    )


def _with_ranks(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    ranks = assign_ranks(
        table["split"].to_numpy(),
        table["gender"].to_numpy(),
        table["label"].to_numpy(),
        permutation_keys(table["filename"], seed),
    )
    return table.assign(rank=ranks)
