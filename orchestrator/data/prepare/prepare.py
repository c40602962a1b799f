"""`fairfront prepare`: decode and store the faces of a source, on Ray Data.

Each chunk of rows is one task, which reads, decodes and writes its shards itself and returns a few
lines on what became of it: no pixel travels through the object store or the driver, and memory
does not grow with the number of faces.
"""

import contextlib
import csv
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from io import StringIO
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.base.errors import InputError, ReadingError
from orchestrator.base.files import Anywhere, parse_uri, remove_tree, write_text, writing
from orchestrator.data.prepare.chunks import (
    FACES,
    ChunkStatus,
    Job,
    finished_chunk,
    rerank_chunk,
    write_chunk,
)
from orchestrator.data.prepare.ray_pool import map_chunks
from orchestrator.data.prepare.rows import (
    Options,
    choose_rows,
    describe_store,
    drop_rows,
    fingerprint,
)
from orchestrator.data.prepare.work_folder import (
    META,
    KeptError,
    clear_state,
    is_published,
    locked_work_folder,
    mark_of,
    refuse_taken,
    resume_or_clear,
    work_folder,
)
from orchestrator.data.sources.source import Source
from orchestrator.data.store.store import ATTRIBUTES, DROPPED, Store, attributes_schema

__all__ = ["Options", "prepare", "refuse_taken", "work_folder"]

Progress = Callable[[int, int], None]
"""Told the rows done so far and the rows in all."""


def prepare(
    source: Source,
    out: str | Anywhere,
    options: Options | None = None,
    on_progress: Progress = lambda _done, _total: None,
) -> Store:
    """Make a data set from a source, on the running Ray session.

    What an interrupted call had finished is taken over by the next one with the same source and
    options. The result is the same bytes, whatever the number of CPUs or of interruptions.

    Parameters
    ----------
    source
        The faces.
    out
        The data set to make; it must not exist. Until it is whole it lies in `work_folder`.
    options
        What decides the data set; None: the defaults.
    on_progress
        Called in this process with rows done and rows in all, dropped ones included.

    Raises
    ------
    InputError
        `out` exists, a split would be empty or have one gender only, the disk is full, or more
        than ``max_bad`` of the images cannot be read (nothing is left then).
    """
    options = options or Options()
    options.check()
    out = parse_uri(out)
    refuse_taken(out)
    table = choose_rows(source.table, options)
    work = work_folder(out)
    job = Job(work, options.image_size, fingerprint(source, options), source.drawing)
    mark = mark_of(job, table["path"].tolist())
    with _keeping(work):
        if not is_published(out, mark):
            with locked_work_folder(work), _clearing_up(work):
                resume_or_clear(work, mark)
                _make(job, source, table, options, on_progress)
                if isinstance(work, Path) and isinstance(out, Path):
                    work.replace(out)
        # Once it has its place, or a kill in between would cost all that is done.
        clear_state(out)
    return Store.open(out)


@contextlib.contextmanager
def _keeping(work: Anywhere) -> Iterator[None]:
    """Put into a line what failed beside the input; what is done is kept until it is mended."""
    try:
        yield
    except ReadingError as error:
        raise KeptError(str(error)) from None
    except OSError as error:
        raise KeptError(f"{work}: {error.strerror or error}") from None


@contextlib.contextmanager
def _clearing_up(work: Anywhere) -> Iterator[None]:
    """Leave nothing behind when the input is at fault."""
    try:
        yield
    except KeptError:
        raise
    except InputError:
        remove_tree(work)
        raise


def _make(
    job: Job, source: Source, table: pd.DataFrame, options: Options, on_progress: Progress
) -> None:
    """Make the data set in the folder of the job, ``meta.json`` last."""
    statuses, taken_over = _write_chunks(job, table, options.max_bad, on_progress)
    dropped = dict(row for status in statuses for row in status.dropped)
    if dropped:
        table = drop_rows(dropped, table, options.seed)
    # A call that was interrupted may have closed gaps that are no more.
    doubtful = table if dropped else table[table["chunk"].isin(taken_over)]
    statuses = _rerank_chunks(job, doubtful, statuses)
    if source.drawing is not None:
        source.drawing.finish(job.work / FACES, table["filename"].tolist())
    _write_dropped(job.work, dropped)
    _write_attributes(job, source, table)
    meta = describe_store(source, options, table, statuses)
    write_text(job.work / META, meta.model_dump_json(indent=2) + "\n")
    Store.open(job.work)  # what does not pass for whole never gets its place


def _write_chunks(
    job: Job, table: pd.DataFrame, max_bad: float, on_progress: Progress
) -> tuple[list[ChunkStatus], set[int]]:
    """Decode every chunk that is not done yet.

    Returns
    -------
    list of ChunkStatus
        What became of each, in order.
    set of int
        Those that were done already. One with dropped rows is not: `write_chunk` looks at it again.
    """
    chunks = range(int(table["chunk"].iloc[-1]) + 1)
    before = {i: status for i in chunks if (status := finished_chunk(job.work, i))}
    statuses = {i: status for i, status in before.items() if not status.dropped}
    taken_over = set(statuses)
    todo = table[~table["chunk"].isin(taken_over)]
    with contextlib.closing(map_chunks(write_chunk, job, todo)) as finished:
        for status in itertools.chain([None], finished):
            if status is not None:
                statuses[status.chunk] = status
            _refuse_bad(statuses.values(), len(table), max_bad)
            on_progress(sum(status.rows for status in statuses.values()), len(table))
    return [statuses[chunk] for chunk in chunks], taken_over


def _rerank_chunks(
    job: Job, kept: pd.DataFrame, statuses: Sequence[ChunkStatus]
) -> list[ChunkStatus]:
    """Give rows the ranks in `kept`, without gaps for dropped ones; return the chunks, in order."""
    reranked = {status.chunk: status for status in map_chunks(rerank_chunk, job, kept)}
    return [reranked.get(status.chunk, status) for status in statuses]


def _refuse_bad(statuses: Iterable[ChunkStatus], total: int, max_bad: float) -> None:
    """Raise `InputError` as soon as more than `max_bad` of all rows are known to be bad, or all."""
    dropped = [row for status in statuses for row in status.dropped]
    if len(dropped) > max_bad * total or len(dropped) == total:
        examples = ", ".join(f"{filename} ({reason})" for filename, reason in sorted(dropped)[:3])
        missing = all(reason == "no such file" for _, reason in dropped)
        mend = "give --images the folder they lie in" if missing else "mend them"
        if len(dropped) < total:
            mend += ", leave them out with --missing drop" * missing + ", or raise --max-bad"
        raise InputError(
            f"--max-bad {max_bad:g}: of {total} images at least {len(dropped)} cannot be read: "
            f"{examples}{', …' if len(dropped) > 3 else ''}; {mend}"
        )


def _write_dropped(work: Anywhere, dropped: Mapping[str, str]) -> None:
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("filename", "reason"))
    writer.writerows(sorted(dropped.items()))
    write_text(work / DROPPED, text.getvalue())


def _write_attributes(job: Job, source: Source, kept: pd.DataFrame) -> None:
    """Write the attributes of the kept rows, in the order of the store: one split after another."""
    path = job.work / ATTRIBUTES
    if source.attributes is None:
        path.unlink(missing_ok=True)  # an interrupted prepare may have left one
        return
    names = list(source.attributes.columns)
    filenames = kept.sort_values("split", kind="stable")["filename"]
    known = source.attributes.set_index(source.table["filename"]).loc[filenames]
    columns = [pa.array(filenames, pa.string()), *(pa.array(known[name]) for name in names)]
    table = pa.table(columns, schema=attributes_schema(names, job.fingerprint))
    with writing(path) as sink:
        pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
