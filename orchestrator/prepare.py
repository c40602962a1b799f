"""`fairfront prepare`: decode and store the faces of a source, on Ray Data.

Each chunk of rows is one task, which reads, decodes and writes its shards itself and returns a few
lines on what became of it: no pixel travels through the object store or the driver, and memory
does not grow with the number of faces.
"""

import contextlib
import csv
import itertools
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import ray
import ray.data

from orchestrator.chunks import (
    FACES,
    ChunkStatus,
    Job,
    StoppedError,
    clear_state,
    finished_chunk,
    is_unfinished,
    let_go_on,
    rerank_chunk,
    resume_or_clear,
    stop,
    write_chunk,
)
from orchestrator.errors import InputError
from orchestrator.files import (
    Anywhere,
    is_local,
    place,
    refuse_existing,
    remove_tree,
    write_text,
    writing,
)
from orchestrator.selection import Options, describe, fingerprint, select, without
from orchestrator.sources.base import Source
from orchestrator.store import ATTRIBUTES, Store, attributes_schema

__all__ = ["Options", "prepare", "refuse_taken", "work_folder"]

Progress = Callable[[int, int], None]
"""Told the rows done so far and the rows in all."""
Task = Callable[[Job, int, pa.Table], ChunkStatus]

COLUMNS = ["filename", "path", "label", "gender", "identity", "rank", "split", "chunk"]


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
    out = place(out)
    refuse_taken(out)
    table = select(source.table, options)
    work = work_folder(out)
    job = Job(work, options.image_size, fingerprint(source, options), source.drawing)
    with _clearing_up(work):
        resume_or_clear(job, table["path"].tolist())
        statuses = _write_chunks(job, table, options.max_bad, on_progress)
        dropped = dict(row for status in statuses for row in status.dropped)
        if dropped:
            table = without(dropped, table, options.seed)
            statuses = _rerank_chunks(job, table, statuses)
        if source.drawing is not None:
            source.drawing.finish(work / FACES, table["filename"].tolist())
        _write_dropped(work, dropped)
        _write_attributes(job, source, table)
        meta = describe(source, options, table, statuses)
        write_text(work / "meta.json", meta.model_dump_json(indent=2) + "\n")
        Store.open(work)  # what does not pass for whole never gets its place
        clear_state(work)
        if isinstance(work, Path) and isinstance(out, Path):
            work.replace(out)
    return Store.open(out)


def work_folder(out: Anywhere) -> Anywhere:
    """Return where a data set lies until it is whole: beside `out`, and renamed when done.

    Object stores cannot rename a folder; there it is `out`, and ``meta.json`` makes it whole.
    """
    return out.with_name(out.name + ".partial") if is_local(out) else out


def refuse_taken(out: Anywhere) -> None:
    """Raise `InputError` when `out` is taken; an unfinished data set of ours is no hindrance."""
    if not is_unfinished(out):
        refuse_existing(out, "a data set")


class _UnwritableError(InputError):
    """The disk is full, or the like; what is done so far is kept until the user has made room."""

    def __init__(self, work: Anywhere, reason: str) -> None:
        super().__init__(
            f"{work}: {reason}; mend that and run the same command again: it goes on from here"
        )


@contextlib.contextmanager
def _clearing_up(work: Anywhere) -> Iterator[None]:
    """Leave nothing behind when the input is at fault, and all that is done when the disk is."""
    try:
        yield
    except _UnwritableError:
        raise
    except InputError:
        remove_tree(work)
        raise
    except OSError as error:
        raise _UnwritableError(work, error.strerror or str(error)) from None


def _write_chunks(
    job: Job, table: pd.DataFrame, max_bad: float, on_progress: Progress
) -> list[ChunkStatus]:
    """Decode every chunk that is not done yet; return what became of each, in order."""
    chunks = range(int(table["chunk"].iloc[-1]) + 1)
    statuses = {i: status for i in chunks if (status := finished_chunk(job.work, i))}
    todo = table[~table["chunk"].isin(statuses)]
    with contextlib.closing(_map_chunks(write_chunk, job, todo)) as finished:
        for status in itertools.chain([None], finished):
            if status is not None:
                statuses[status.chunk] = status
            _refuse_bad(statuses.values(), len(table), max_bad)
            on_progress(sum(status.rows for status in statuses.values()), len(table))
    return [statuses[chunk] for chunk in chunks]


def _rerank_chunks(
    job: Job, kept: pd.DataFrame, statuses: Sequence[ChunkStatus]
) -> list[ChunkStatus]:
    """Close the gaps that dropped rows left in the ranks; return the chunks, in order."""
    reranked = {status.chunk: status for status in _map_chunks(rerank_chunk, job, kept)}
    return [reranked.get(status.chunk, status) for status in statuses]


def _map_chunks(task: Task, job: Job, table: pd.DataFrame) -> Generator[ChunkStatus]:
    """Run a task on every chunk in `table`, and give the outcomes as they come.

    NOTE: However it ends, the execution runs dry, with tasks that stop at once. Ray Data kills the
    tasks of an execution that is broken off, and where one is just being assigned Ray then aborts
    this whole process (2.60: "Check failed: it != submissible_tasks_.end()").
    """
    if table.empty:
        return
    # Shared by all tasks: a node gets it once, and a task slices it in place.
    rows = ray.put(pa.Table.from_pandas(table[COLUMNS], preserve_index=False))
    chunk, start, length = np.unique(table["chunk"], return_index=True, return_counts=True)
    pieces = pd.DataFrame({"chunk": chunk, "start": start, "length": length})
    # Actors, since each has its next chunk waiting: Ray Data looks for idle workers ten times a
    # second, and tasks left a fifth of the cores' time unused. One iterator, since iterating the
    # data set again would run it again.
    outcomes = iter(
        ray.data.from_items(pieces.to_dict("records"), override_num_blocks=len(pieces))
        .map_batches(
            _Worker,
            fn_constructor_args=(task, job, [rows]),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(
                size=min(int(ray.cluster_resources()["CPU"]), len(pieces)),
                max_tasks_in_flight_per_actor=2,
            ),
        )
        .iter_rows()
    )
    with _deferring_interrupts(job):
        try:
            for outcome in outcomes:
                if outcome["error"]:
                    raise _UnwritableError(job.work, outcome["error"])
                if outcome["status"]:
                    yield ChunkStatus.model_validate_json(outcome["status"])
        finally:
            stop(job.work)
            for _ in outcomes:
                pass
            let_go_on(job.work)


class _Worker:
    """A process that does chunks."""

    def __init__(self, task: Task, job: Job, rows: "list[ray.ObjectRef[pa.Table]]") -> None:
        self._task, self._job, self._rows = task, job, ray.get(rows[0])

    def __call__(self, piece: dict[str, Any]) -> dict[str, list[str]]:
        chunk, start, length = (int(piece[name][0]) for name in ("chunk", "start", "length"))
        try:
            status = self._task(self._job, chunk, self._rows.slice(start, length))
        except StoppedError:
            return {"status": [""], "error": [""]}
        except OSError as error:  # of the shards; images that cannot be read are dropped rows
            return {"status": [""], "error": [error.strerror or str(error)]}
        return {"status": [status.model_dump_json()], "error": [""]}


@contextlib.contextmanager
def _deferring_interrupts(job: Job) -> Iterator[None]:
    """Stop the tasks at the first Ctrl-C, and raise it once they have; a second acts at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    interrupted = False

    def on_interrupt(*_: object) -> None:
        nonlocal interrupted
        interrupted = True
        signal.signal(signal.SIGINT, before)
        stop(job.work)

    signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if interrupted:
        raise KeyboardInterrupt


def _refuse_bad(statuses: Iterable[ChunkStatus], total: int, max_bad: float) -> None:
    """Raise `InputError` as soon as more than `max_bad` of all rows are known to be bad, or all."""
    dropped = [row for status in statuses for row in status.dropped]
    if len(dropped) > max_bad * total or len(dropped) == total:
        examples = ", ".join(f"{filename} ({reason})" for filename, reason in sorted(dropped)[:3])
        missing = all(reason == "no such file" for _, reason in dropped)
        mend = "give --images the folder they lie in" if missing else "mend them"
        mend += ", or raise --max-bad" if len(dropped) < total else ""
        raise InputError(
            f"--max-bad {max_bad:g}: of {total} images at least {len(dropped)} cannot be read: "
            f"{examples}{', …' if len(dropped) > 3 else ''}; {mend}"
        )


def _write_dropped(work: Anywhere, dropped: Mapping[str, str]) -> None:
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("filename", "reason"))
    writer.writerows(sorted(dropped.items()))
    write_text(work / "dropped.csv", text.getvalue())


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
