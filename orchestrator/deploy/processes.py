"""Images labelled by processes of this machine, without Ray.

On CPUs each process decodes images and runs the network on them, with one thread: nothing but
logits travels, and no thread waits for another. Where there is a GPU, the processes decode into
memory that this one shares, and this one feeds the GPU.

The processes are forked from a server (Python's `forkserver`) that has imported what they need,
once: torch alone takes seconds. Unlike this process it has no threads, locks or CUDA to fork badly.
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing import forkserver
from multiprocessing.connection import wait as wait_for
from multiprocessing.context import ForkServerContext
from typing import TYPE_CHECKING, Any

from orchestrator.base.errors import ReadingError
from orchestrator.base.machine import COMPUTING, cores, environment

if TYPE_CHECKING:  # which bring torch, and this module begins to import it elsewhere
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from orchestrator.training.labeller import Seen, Task

NEEDED = "orchestrator.training.labeller"
EACH = 2
"""Pieces that are under way for each process, so that none waits for this one."""

Rows = tuple["NDArray[np.int64]", list[str]]
"""Some images: which of all they are, and their paths."""


def start_server() -> ForkServerContext:
    """Start what processes are forked from, if it does not run; it imports while we go on."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([NEEDED])
    # Python 3.11 does not tell it this process's sys.path.
    with environment({**COMPUTING, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}):
        forkserver.ensure_running()
    return context


def label_here(task: "Task", pieces: Sequence[Rows]) -> "Iterator[Seen]":
    """Label images on all of this machine's CPUs, and on its GPU if there is one.

    Parameters
    ----------
    task
        What is to be done; its memory and threads are settled here.
    pieces
        The images, `piece_rows` or fewer together.

    Yields
    ------
    Seen
        In the order in which they are done.

    Raises
    ------
    InputError, ReadingError
        As `orchestrator.training.labeller.Decoder.decode` does; also where a process dies.
    """
    from orchestrator.training.labeller import Network, piece_rows

    context = start_server()
    away = any("://" in paths[0].rpartition("::")[2] for _, paths in pieces)
    # Those that wait for a network leave their core to others.
    count = min(cores() * (2 if away else 1), len(pieces))
    task = replace(task, threads=max(1, cores() // count))
    network = None
    if _has_gpu():
        network = Network(task.model)
        size = EACH * count * piece_rows(task.image_size) * 3 * task.image_size**2
        task = replace(task, shared=context.RawArray("B", size), threads=1)
    pool = ProcessPoolExecutor(count, context, _begin, (task,))
    try:
        if network is None:
            yield from _through(pool, pieces, count)
        else:
            yield from _through_gpu(pool, pieces, network, task)
    except BrokenProcessPool:
        raise ReadingError(
            "a process died at work on the images, perhaps because memory ran out"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _has_gpu() -> bool:
    from orchestrator.training.inference import pick_device

    return pick_device().type == "cuda"


def _through(pool: ProcessPoolExecutor, pieces: Sequence[Rows], count: int) -> "Iterator[Seen]":
    from orchestrator.training.labeller import look

    for done in _done(lambda piece: pool.submit(look, *piece, 0), pieces, EACH * count):
        yield from (future.result() for future in done)


def _through_gpu(
    pool: ProcessPoolExecutor, pieces: Sequence[Rows], network: Any, task: "Task"
) -> "Iterator[Seen]":
    """Run the network on what is decoded; the more waits, the more at a time."""
    import numpy as np
    import torch

    from orchestrator.training.inference import logits_of
    from orchestrator.training.labeller import look, piece_rows

    side = task.image_size
    slots = np.frombuffer(task.shared, np.uint8).reshape(-1, piece_rows(side), side, side, 3)
    free, taken = list(range(len(slots))), {}

    def submit(piece: Rows) -> "Future[Seen]":
        slot = free.pop()
        future = pool.submit(look, *piece, slot)
        taken[future] = slot
        return future

    before: tuple[list[Seen], Tensor] | None = None
    for done in _done(submit, pieces, len(slots)):
        seen, images = [], []
        for future in done:
            seen.append(future.result())
            slot = taken.pop(future)
            rows = slots[slot][: len(seen[-1].row)]
            images.append(torch.from_numpy(rows).to(network.device))
            free.append(slot)
        logit = logits_of(network.network, torch.cat(images), network.autocast)
        # What the GPU makes of them is looked at when the next ones are on their way to it.
        yield from _with_logits(before)
        before = seen, logit
    yield from _with_logits(before)


def _with_logits(seen: "tuple[list[Seen], Tensor] | None") -> "Iterator[Seen]":
    if seen is None:
        return
    pieces, logit = seen
    made, at = logit.cpu().numpy(), 0
    for piece in pieces:
        yield replace(piece, logit=made[at : at + len(piece.row)])
        at += len(piece.row)


def _done(
    submit: "Callable[[Rows], Future[Seen]]", pieces: Iterable[Rows], most: int
) -> "Iterator[set[Future[Seen]]]":
    """Have pieces done, so many under way at most; give those that are done."""
    waiting: set[Future[Seen]] = set()
    for piece in pieces:
        waiting.add(submit(piece))
        if len(waiting) == most:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            yield done
    while waiting:
        done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
        yield done


def _begin(task: "Task") -> None:
    from orchestrator.training.labeller import begin

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the other process's to see to
    threading.Thread(target=_end_with_parent, daemon=True).start()
    begin(task)


def _end_with_parent() -> None:
    """End when the process that gives the work does, also by ``kill -9``."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for([parent.sentinel])
        os._exit(1)
