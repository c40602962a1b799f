"""The work of `prepare` on one chunk of rows: read, decode, write shards; restartable, no Ray.

A chunk is a fixed run of rows of the sorted source, whatever the number of CPUs, so the shards are
the same bytes everywhere. What became of it is written last, and marks it done::

    WORK/<split>/part-00007.parquet    its rows of each split that has any
    WORK/state/00007.json              `ChunkStatus`
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import ValidationError

from orchestrator.arrays import block_rows, image_column
from orchestrator.decode import decode_into
from orchestrator.files import (
    Anywhere,
    read_json,
    remove_tree,
    write_json,
    write_text,
    writing,
)
from orchestrator.reading import read_many
from orchestrator.sources.base import Drawing
from orchestrator.splits import SPLITS
from orchestrator.store import Shard, schema
from orchestrator.strict import Strict

STATE, FACES = "state", "faces"
UNFINISHED, STOP = "unfinished.json", "stop"
PIECE_ROWS = 128
"""Rows decoded between two looks at whether to stop."""


def chunk_rows(rows: int) -> int:
    """Return how many rows make a chunk, of so many in all: a few seconds' work for one core.

    2,048 faces of 80 pixels are shards of 24 and 8 MB; fewer faces still make 16 chunks, for the
    cores to share and the progress to move.
    """
    return min(2048, max(64, -(-rows // 16)))


@dataclass(frozen=True)
class Job:
    """What all chunks of a `prepare` share."""

    work: Anywhere
    """The folder that becomes the data set."""
    image_size: int
    fingerprint: str
    drawing: Drawing | None = None
    """Makes the images, where the source has none, in the folder `FACES` of `work`."""


class StoppedError(Exception):
    """The chunk was left undone, since `stop` had been called."""


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
    OSError
        The shards cannot be written. (An image that cannot be read is a dropped row instead.)
    """
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
    dropped = [
        (filename, reason)
        for filename, reason in zip(rows["filename"].to_pylist(), reasons, strict=True)
        if reason is not None
    ]
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


def resume_or_clear(job: Job, paths: Sequence[str]) -> None:
    """Leave in the folder what an interrupted `prepare` of the same data set had done, and no more.

    Parameters
    ----------
    job
        The `prepare` that begins.
    paths
        Where the images of all its rows lie: elsewhere others may be missing.
    """
    work = job.work
    mark = {
        "fingerprint": job.fingerprint,
        "chunk_rows": chunk_rows(len(paths)),
        "paths": sha256("\n".join(paths).encode()).hexdigest(),
    }
    if not (work / UNFINISHED).exists() or read_json(work / UNFINISHED) != mark:
        for name in (*SPLITS, STATE, FACES):
            remove_tree(work / name)
    for name in (*SPLITS, STATE):
        (work / name).mkdir(parents=True, exist_ok=True)
    let_go_on(work)
    write_json(work / UNFINISHED, mark)


def stop(work: Anywhere) -> None:
    """Make the tasks at work in this folder, on whatever node, end at once."""
    (work / STOP).write_bytes(b"")


def let_go_on(work: Anywhere) -> None:
    """Take `stop` back, for the tasks to come."""
    (work / STOP).unlink(missing_ok=True)


def clear_state(work: Anywhere) -> None:
    """Take out of a whole data set what only its making needed."""
    remove_tree(work / STATE)
    (work / UNFINISHED).unlink()


def is_unfinished(work: Anywhere) -> bool:
    """Tell whether a data set lies here that is not whole yet."""
    return (work / UNFINISHED).exists() and not (work / "meta.json").exists()


def _heed_stop(job: Job) -> None:
    if (job.work / STOP).exists():
        raise StoppedError


def _decode_all(job: Job, rows: pa.Table) -> tuple[NDArray[np.uint8], list[str | None]]:
    """Return the images, shape (n, H, W, 3), and for each why it could not be read."""
    images = np.zeros((len(rows), job.image_size, job.image_size, 3), np.uint8)
    reasons: list[str | None] = []
    for start in range(0, len(rows), PIECE_ROWS):
        _heed_stop(job)
        piece = rows.slice(start, PIECE_ROWS)
        paths: list[str] = piece["path"].to_pylist()
        if job.drawing is not None:
            paths = job.drawing.draw(job.work / FACES, piece["filename"].to_pylist())
        for image, data in zip(images[start:], read_many(paths), strict=False):
            reasons.append(decode_into(image, data))
    return images, reasons


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
