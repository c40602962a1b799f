"""The chunks of a `prepare` on Ray Data, in a pool of processes."""

import contextlib
import signal
import threading
import uuid
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import ray
import ray.data
from ray.exceptions import RayError, RayTaskError, UserCodeException

from orchestrator.base.errors import ReadingError
from orchestrator.base.files import one_line
from orchestrator.data.prepare.chunks import (
    ChunkStatus,
    CrashedError,
    Job,
    StoppedError,
    counting_tries,
    stop,
)
from orchestrator.data.prepare.work_folder import KeptError

Task = Callable[[Job, int, pa.Table], ChunkStatus]

COLUMNS = ["filename", "path", "label", "gender", "identity", "rank", "split", "chunk"]


def map_chunks(task: Task, job: Job, table: pd.DataFrame) -> Generator[ChunkStatus]:
    """Run a task on every chunk in `table`, and give the outcomes as they come.

    NOTE: However it ends, the execution runs dry, with tasks that stop at once. Ray Data kills the
    tasks of an execution that is broken off, and where one is just being assigned Ray then aborts
    this whole process (2.60: "Check failed: it != submissible_tasks_.end()").

    Parameters
    ----------
    task
        `orchestrator.data.prepare.chunks.write_chunk` or `rerank_chunk`.
    job
        What the chunks share; its token is replaced.
    table
        Rows with the columns `COLUMNS`, those of a chunk together.

    Raises
    ------
    KeptError
        The disk is full, the place of the images fails, processes die, or the like.
    """
    if table.empty:
        return
    job = replace(job, token=uuid.uuid4().hex)
    # Shared by all tasks: a node gets it once, and a task slices it in place.
    rows = ray.put(pa.Table.from_pandas(table[COLUMNS], preserve_index=False))
    chunk, start, length = np.unique(table["chunk"], return_index=True, return_counts=True)
    pieces = pd.DataFrame({"chunk": chunk, "start": start, "length": length})
    undone = set(pieces["chunk"])
    with _naming_failures(), _deferring_interrupts(job):
        outcomes = _run(task, job, rows, pieces)
        try:
            for outcome in outcomes:
                if outcome["error"]:
                    raise KeptError(outcome["error"])
                if outcome["status"]:
                    status = ChunkStatus.model_validate_json(outcome["status"])
                    undone.discard(status.chunk)
                    yield status
        finally:
            stop(job)
            for _ in outcomes:
                pass
    if undone:
        raise KeptError(f"{job.work}: {len(undone)} of {len(pieces)} chunks were left undone")


def _run(
    task: Task, job: Job, rows: "ray.ObjectRef[pa.Table]", pieces: pd.DataFrame
) -> Iterator[dict[str, str]]:
    cpus = int(ray.cluster_resources().get("CPU", 0))  # a head may have none of its own
    # Actors, since each has its next chunk waiting: Ray Data looks for idle workers ten times a
    # second, and tasks left a fifth of the cores' time unused. One iterator, since iterating the
    # data set again would run it again.
    return iter(
        ray.data.from_items(pieces.to_dict("records"), override_num_blocks=len(pieces))
        .map_batches(
            _Worker,
            fn_constructor_args=(task, job, [rows]),
            batch_size=1,
            # All CPUs that there are from the beginning, and those of nodes that join.
            compute=ray.data.ActorPoolStrategy(
                min_size=1,
                initial_size=max(1, min(cpus, len(pieces))),
                max_size=len(pieces),
                max_tasks_in_flight_per_actor=2,
            ),
        )
        .iter_rows()
    )


class _Worker:
    """A process that does chunks."""

    def __init__(self, task: Task, job: Job, rows: "list[ray.ObjectRef[pa.Table]]") -> None:
        self._task, self._job, self._rows = task, job, ray.get(rows[0])

    def __call__(self, piece: dict[str, Any]) -> dict[str, list[str]]:
        chunk, start, length = (int(piece[name][0]) for name in ("chunk", "start", "length"))
        rows, status, error = self._rows.slice(start, length), "", ""
        try:
            with counting_tries(self._job, chunk, rows):
                status = self._task(self._job, chunk, rows).model_dump_json()
        except StoppedError:
            pass
        except (CrashedError, ReadingError) as failure:
            error = str(failure)
        except OSError as failure:  # of the shards; images that cannot be read are dropped rows
            error = f"{self._job.work}: {failure.strerror or failure}"
        return {"status": [status], "error": [error]}


@contextlib.contextmanager
def _naming_failures() -> Iterator[None]:
    """Put into a line what went wrong with Ray, and not in our own code."""
    try:
        yield
    except (RayTaskError, UserCodeException):
        raise
    except RayError as error:
        reason = (one_line(error) or type(error).__name__)[:200]
        raise KeptError(f"Ray lost a process, perhaps because memory ran out ({reason})") from error


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
        stop(job)

    signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if interrupted:
        raise KeyboardInterrupt
