"""``meta.json``: what a prepared data set is, and where its parts lie."""

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from orchestrator.base.errors import InputError
from orchestrator.base.files import Anywhere, cause_of, parse_json, read_bytes, reason_of
from orchestrator.base.strict import Strict
from orchestrator.data.splits import GENDERS, Counts, SplitBy, count_strata, describe_empty

FORMAT_VERSION = 2
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

    def strata(self, split: str) -> Counts:
        """Return the rows of a split by (gender, label), empty strata included."""
        return {
            (code, label): self.counts[split][gender][str(label)]
            for gender, code in GENDERS.items()
            for label in (0, 1)
        }

    def empty_strata(self) -> list[str]:
        """Say which strata of which splits are empty, and what that makes of the figures."""
        return describe_empty({split: self.strata(split) for split in self.counts})


def named_counts(gender: NDArray[np.int8], label: NDArray[np.int8]) -> dict[str, dict[str, int]]:
    """Count rows by gender and class, under the names of `SplitCounts`."""
    counts = count_strata(gender, label)
    return {
        name: {str(label): counts[value, label] for label in (0, 1)}
        for name, value in GENDERS.items()
    }


def read_meta(path: Anywhere) -> Meta:
    """Read the ``meta.json`` of the data set in a folder.

    Raises
    ------
    InputError
        There is none, or it is of another format version, or not as it should be.
    """
    file = path / "meta.json"
    try:
        written = read_bytes(file)
    except Exception as error:  # file systems raise what the libraries beneath them do
        if not isinstance(cause_of(error), FileNotFoundError | NotADirectoryError):
            raise InputError(f"{file}: {reason_of(error)}") from None
        unfinished = path.with_name(path.name + ".partial")
        mend = (
            f"{unfinished} is an unfinished one: run the same prepare again to finish it"
            if unfinished.exists()
            else "make it with `fairfront prepare SOURCE --out DATA`"
        )
        raise InputError(f"{path}: no prepared data here (no meta.json); {mend}") from None
    content = parse_json(written, file)
    version = content.get("format_version") if isinstance(content, dict) else None
    if version != FORMAT_VERSION:
        raise InputError(
            f"{path}: data of format version {version}, this fairfront reads {FORMAT_VERSION}; "
            + PREPARE_AGAIN
        )
    try:
        return Meta.model_validate_json(written)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise InputError(f"{file}: {key}: {first['msg']}; {PREPARE_AGAIN}") from None
