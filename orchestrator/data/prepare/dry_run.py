"""`fairfront prepare --dry-run`: what `prepare` would make, from the table and some images."""

import contextlib
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import pandas as pd

from orchestrator.base.errors import InputError, ReadingError
from orchestrator.base.files import Anywhere, parse_uri
from orchestrator.base.machine import cores
from orchestrator.base.words import duration
from orchestrator.data.prepare.rows import Options, choose_rows
from orchestrator.data.reading.decode import decode_into
from orchestrator.data.reading.image_bytes import read_many
from orchestrator.data.sources.source import Source
from orchestrator.data.splits import SPLITS, count_strata, describe_counts

LOOKED_AT, RUNS = 200, 4
"""Images that are read, in so many runs of neighbours, as those of an archive are quick to read."""
START_SECONDS = 10
"""Of Ray, and of the processes that decode."""
SMALL_BYTES = 60
"""Of a row without its pixels."""
SHOWN = 3
TINY = b"GIF89a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\1\0\1\0\0\2\2D\1\0;"
"""An image of one pixel."""


class Tried(NamedTuple):
    """What came of reading some images."""

    images: int
    unread: list[str]
    """Name and reason."""
    seconds: float


def rehearse(source: Source, out: str | Anywhere, options: Options) -> list[str]:
    """Say what `prepare` would make of a source; nothing is written at `out`.

    Parameters
    ----------
    source, out, options
        As for `prepare`.

    Returns
    -------
    list of str
        Lines for the user: what the columns are, counts, what could not be read, and the size and
        the time to expect.

    Raises
    ------
    InputError
        What `prepare` would refuse before it reads an image, or the place of the images fails.
    """
    options.check()
    table = choose_rows(source.table, options)
    tried = _try_images(source, table, options.image_size)
    lines = [f"{source.name}: {len(table):,} faces{_describe_people(table)}"]
    lines += [f"  {key}: {meant}" for key, meant in source.columns.items()]
    if source.attributes is not None:
        names = list(source.attributes.columns)
        lines.append(f"  {len(names)} attribute{'s' * (len(names) > 1)}: {', '.join(names)}")
    for code, split in enumerate(SPLITS):
        rows = table[table["split"] == code]
        counts = count_strata(rows["gender"].to_numpy(), rows["label"].to_numpy())
        lines.append(f"  {split:5} {describe_counts(counts)}")
    lines.append(_describe_tried(tried, options.max_bad))
    size = len(table) * (3 * options.image_size**2 + SMALL_BYTES)
    seconds = START_SECONDS + tried.seconds / tried.images * len(table) / cores()
    lines.append(
        f"  about {_bytes(size)} at {out}{_free(parse_uri(out))}, in about {duration(seconds)} "
        f"on {cores()} cores; nothing was written"
    )
    return lines


def _try_images(source: Source, table: pd.DataFrame, size: int) -> Tried:
    """Read images in runs from all over the table."""
    starts = np.linspace(0, max(0, len(table) - LOOKED_AT // RUNS), RUNS).astype(int)
    rows = sorted({int(row) for start in starts for row in range(start, start + LOOKED_AT // RUNS)})
    some = table.iloc[[row for row in rows if row < len(table)]]
    image = np.zeros((size, size, 3), np.uint8)
    decode_into(image, TINY)  # what decodes is imported once
    unread = []
    with _paths(source, some) as paths:
        begun = time.perf_counter()
        try:
            for name, data in zip(some["filename"], read_many(paths), strict=True):
                if reason := decode_into(image, data):
                    unread.append(f"{name} ({reason})")
        except ReadingError as error:
            raise InputError(str(error)) from None
    return Tried(len(some), unread, time.perf_counter() - begun)


@contextlib.contextmanager
def _paths(source: Source, some: pd.DataFrame) -> Iterator[Sequence[str]]:
    if source.drawing is None:
        yield some["path"].tolist()
        return
    with TemporaryDirectory() as folder:
        yield source.drawing.draw(Path(folder), some["filename"].tolist())


def _describe_people(table: pd.DataFrame) -> str:
    people, without = table["identity"].nunique(), int(table["identity"].isna().sum())
    if not people:
        return ""
    return f" of {people:,} people" + (f", and {without:,} of nobody known" if without else "")


def _describe_tried(tried: Tried, max_bad: float) -> str:
    if not tried.unread:
        return f"  {tried.images:,} images were tried, and all can be read"
    shown = ", ".join(tried.unread[:SHOWN]) + (", …" if len(tried.unread) > SHOWN else "")
    said = f"  {len(tried.unread):,} of {tried.images:,} images that were tried cannot be read: "
    refused = len(tried.unread) > max_bad * tried.images
    return said + shown + (f"; above --max-bad {max_bad:g} prepare refuses" if refused else "")


def _bytes(size: float) -> str:
    for unit in ("kB", "MB"):
        size /= 1000
        if size < 1000:
            return f"{size:.3g} {unit}"
    return f"{size / 1000:,.4g} GB"


def _free(out: Anywhere) -> str:
    """Say how much is free at a local place, or where it is going to be."""
    if not isinstance(out, Path):
        return ""
    there = next(folder for folder in (out, *out.parents) if folder.exists())
    return f" ({_bytes(shutil.disk_usage(there).free)} free)"
