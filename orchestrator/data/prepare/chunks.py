"""The work of `prepare` on one chunk of rows: read, decode, write shards; restartable, no Ray.

A chunk is a fixed run of rows of the sorted source, whatever the number of CPUs, so the shards are
the same bytes everywhere. What became of it is written last, and marks it done::

    WORK/<split>/part-00007.parquet    its rows of each split that has any
    WORK/state/00007.json              `ChunkStatus`
    WORK/state/tries-TOKEN-00007       while a process is at work on it; `counting_tries`
    WORK/state/stop-TOKEN              `stop`
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import isqrt

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import ValidationError

from orchestrator.base.files import Anywhere, write_text, writing
from orchestrator.base.strict import Strict
from orchestrator.data.reading.decode import decode_into
from orchestrator.data.reading.prefetch import read_ahead
from orchestrator.data.sources.source import Drawing
from orchestrator.data.splits import SPLITS
from orchestrator.data.store.arrays import block_rows, image_column
from orchestrator.data.store.meta import Shard
from orchestrator.data.store.store import schema

STATE, FACES = "state", "faces"
PIECE_ROWS = 128
"""Rows decoded between two looks at whether to stop."""
READ_TOGETHER = 64
"""Files read ahead while as many are decoded."""
CHUNK_BYTES, LONG_CHUNK_BYTES = 2**26, 160 * 2**20
"""The most pixels of a chunk, and of one that grows with the number of rows."""
GROWS_FROM = 100 * 2048
"""Rows, four times of which make chunks twice as long."""
MAX_TRIES = 3
"""Processes that may die of a chunk."""


def chunk_rows(rows: int, image_size: int) -> int:
    """Return how many rows make a chunk: a few seconds' work for one core, in little memory.

    2,048 faces of 80 pixels are shards of 24 and 8 MB; fewer faces still make 16 chunks, for the
    cores to share and the progress to move. From 819,200 on chunks grow by the root of the number,
    up to `LONG_CHUNK_BYTES`: of these `prepare` holds 300 MB, where it is 60 of an ordinary chunk,
    and who loads a split 200 MB a core, where it is 50. Then a footer is still among the last 64 KB
    of its file, which Parquet's readers ask for first.

    Parameters
    ----------
    rows
        Of all chunks.
    image_size
        Pixels a side.
    """
    image = 3 * image_size**2
    ordinary = min(2048, max(64, -(-rows // 16)), CHUNK_BYTES // image)
    return max(ordinary, min(ordinary * isqrt(rows // GROWS_FROM), LONG_CHUNK_BYTES // image))


@dataclass(frozen=True)
class Job:
    """What all chunks of a `prepare` share."""

    work: Anywhere
    """The folder that becomes the data set."""
    image_size: int
    fingerprint: str
    drawing: Drawing | None = None
    """Makes the images, where the source has none, in the folder `FACES` of `work`."""
    token: str = ""
    """Tells these tasks from those of another call, which may still be dying in the same folder."""


class StoppedError(Exception):
    """The chunk was left undone, since `stop` had been called."""


class CrashedError(Exception):
    """Every process that was at work on the chunk has died."""


class ChunkStatus(Strict):
    """What became of a chunk."""

    chunk: int
    rows: int
    """Rows of the source, dropped ones included."""
    shards: dict[str, Shard]
    """By split."""
    dropped: list[tuple[str, str]]
    """Filename and reason."""


def write_chunk(job: Job, chunk: int, rows: pa.Table) -> ChunkStatus:
    """Decode a chunk's images and write its shards.

    Of a chunk that is done already only the dropped rows are read again, and all of it is done
    anew unless they are dropped again.

    Parameters
    ----------
    job
        The `prepare` it is part of.
    chunk
        Its number, from 0.
    rows
        Its rows, with the columns filename, path, label, gender, identity, rank and split (the
        position in `SPLITS`).

    Raises
    ------
    StoppedError
        `stop` was called.
    ReadingError
        The place of the images failed. (An image that cannot be read is a dropped row instead.)
    OSError
        The shards cannot be written.
    """
    before = finished_chunk(job.work, chunk)
    if before is not None and _drop_again(job, rows, before.dropped):
        return before
    images, reasons = _decode_all(job, rows)
    kept = np.array([reason is None for reason in reasons])
    split = rows["split"].to_numpy()
    shards = {}
    for code, name in enumerate(SPLITS):
        index = np.flatnonzero(kept & (split == code))
        if len(index):
            column = image_column(images[index])
            table = rows.take(index).add_column(0, "image", column)
            shards[name] = _write_shard(job, f"{name}/part-{chunk:05}.parquet", table)
    dropped = _dropped(rows, reasons)
    status = ChunkStatus(chunk=chunk, rows=len(rows), shards=shards, dropped=dropped)
    write_text(_state_path(job.work, chunk), status.model_dump_json() + "\n")
    return status


def rerank_chunk(job: Job, chunk: int, rows: pa.Table) -> ChunkStatus:
    """Give the rows of a chunk that is done the ranks in `rows`; pixels are copied, not decoded.

    Parameters
    ----------
    job, chunk
        As for `write_chunk`.
    rows
        Its kept rows, as for `write_chunk`.
    """
    _heed_stop(job)
    status = finished_chunk(job.work, chunk)
    if status is None:
        raise RuntimeError(f"chunk {chunk} of {job.work} is not done")
    split = rows["split"].to_numpy()
    shards = {}
    for name, shard in status.shards.items():
        ours = rows.take(np.flatnonzero(split == SPLITS.index(name)))
        with (job.work / shard.file).open("rb") as file:
            parquet = pq.ParquetFile(file)
            if parquet.read(columns=["rank"])["rank"].equals(ours["rank"]):
                shards[name] = shard
                continue
            image = parquet.read(columns=["image"])["image"]
        shards[name] = _write_shard(job, shard.file, ours.add_column(0, "image", image))
    if shards == status.shards:
        return status
    status = status.model_copy(update={"shards": shards})
    write_text(_state_path(job.work, chunk), status.model_dump_json() + "\n")
    return status


def finished_chunk(work: Anywhere, chunk: int) -> ChunkStatus | None:
    """Return what became of a chunk, if it is done and its shards are there, whole."""
    try:
        text = _state_path(work, chunk).read_text(encoding="utf-8")
        status = ChunkStatus.model_validate_json(text)
        sizes = [(work / shard.file).stat().st_size for shard in status.shards.values()]
    except (FileNotFoundError, ValidationError, UnicodeDecodeError):
        return None
    return status if sizes == [shard.bytes for shard in status.shards.values()] else None


def stop(job: Job) -> None:
    """Make the tasks of this job end at once, on whatever node."""
    _stop_path(job).write_bytes(b"")


@contextmanager
def counting_tries(job: Job, chunk: int, rows: pa.Table) -> Iterator[None]:
    """Count the processes that die at work on a chunk, in a file that any other end takes away.

    Ray starts another in place of one that dies, and that without end.

    Raises
    ------
    CrashedError
        `MAX_TRIES` have died.
    """
    path = job.work / STATE / f"tries-{job.token}-{chunk:05}"
    tries = len(path.read_bytes()) if path.exists() else 0
    if tries >= MAX_TRIES:
        first, last = (rows["path"][row].as_py() for row in (0, -1))
        raise CrashedError(
            f"{MAX_TRIES} processes died at work on the images from {first} to {last}, perhaps "
            "because memory ran out, or of one of these images"
        )
    path.write_bytes(b"." * (tries + 1))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _heed_stop(job: Job) -> None:
    if _stop_path(job).exists():
        raise StoppedError


def _stop_path(job: Job) -> Anywhere:
    return job.work / STATE / f"stop-{job.token}"


def _drop_again(job: Job, rows: pa.Table, dropped: list[tuple[str, str]]) -> bool:
    """Tell whether the images that could not be read before still cannot, for the same reasons."""
    names = pa.array([filename for filename, _ in dropped], pa.string())
    again = rows.filter(pc.is_in(rows["filename"], names))
    return _dropped(again, _decode_all(job, again)[1]) == dropped


def _dropped(rows: pa.Table, reasons: Sequence[str | None]) -> list[tuple[str, str]]:
    filenames = rows["filename"].to_pylist()
    return [(n, reason) for n, reason in zip(filenames, reasons, strict=True) if reason is not None]


def _decode_all(job: Job, rows: pa.Table) -> tuple[NDArray[np.uint8], list[str | None]]:
    """Return the images, shape (n, H, W, 3), and for each why it could not be read."""
    images = np.zeros((len(rows), job.image_size, job.image_size, 3), np.uint8)
    files = read_ahead(_paths(job, rows))
    return images, [decode_into(image, data) for image, data in zip(images, files, strict=True)]


def _paths(job: Job, rows: pa.Table) -> Iterator[list[str]]:
    """Give the paths a few at a time, those of images that are drawn once they are."""
    for start in range(0, len(rows), PIECE_ROWS):
        _heed_stop(job)
        piece = rows.slice(start, PIECE_ROWS)
        paths: list[str] = piece["path"].to_pylist()
        if job.drawing is not None:
            paths = job.drawing.draw(job.work / FACES, piece["filename"].to_pylist())
        for first in range(0, len(paths), READ_TOGETHER):
            yield paths[first : first + READ_TOGETHER]


def _write_shard(job: Job, file: str, table: pa.Table) -> Shard:
    columns = schema(job.image_size, job.fingerprint)
    small = [name for name in columns.names if name != "image"]
    table = table.select(columns.names).cast(columns)
    with writing(job.work / file) as sink:
        pq.write_table(
            table,
            sink,
            row_group_size=block_rows(job.image_size),
            # Pixels as they are: no dictionary, no compression, and no minima and maxima of whole
            # images in the footer.
            compression={"image": "none", **dict.fromkeys(small, "zstd")},
            use_dictionary=False,
            write_statistics=small,
            write_page_checksum=True,
        )
    return Shard(file=file, rows=len(table), bytes=(job.work / file).stat().st_size)


def _state_path(work: Anywhere, chunk: int) -> Anywhere:
    return work / STATE / f"{chunk:05}.json"
