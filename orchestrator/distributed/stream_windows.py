"""Images that are streamed from disk, read ahead by Ray's tasks while a training uses others."""

import functools
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import ray
from numpy.typing import NDArray
from ray.exceptions import RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.base.errors import InputError
from orchestrator.data.epoch_order import Deal
from orchestrator.data.store.arrays import Arrays
from orchestrator.data.store.streaming import StreamedImages, read_here

AHEAD = 2
"""Windows that are read, for each worker, while one is used."""


class _Window(NamedTuple):
    """What a task is to read."""

    images: "list[ray.ObjectRef[StreamedImages]]"
    """One, of no rows; in a list, an actor is given it without fetching it."""
    at: NDArray[np.int64]
    """The rows over all shards, shape (m,)."""
    worker: NDArray[np.int32]
    """Who is given each, shape (m,)."""

    @property
    def workers(self) -> list[int]:
        """Those who are given some, in order."""
        return list(map(int, np.unique(self.worker)))


def read_on_ray(
    images: StreamedImages, order: NDArray[np.int64], deal: Deal | None
) -> Iterator[NDArray[np.uint8]]:
    """Read the images of rows `order`, shape (m,), by Ray's tasks; give them a window at a time.

    Tasks read ahead. They ask for no CPU, since the trial that waits for them may hold the last
    one, and reading takes little beside training. Of a deal they read this worker's rows alone,
    and so nearly every block: `read_together` does not.

    Raises
    ------
    InputError
        A shard is damaged.
    """
    order = order if deal is None else order[deal.mine]
    windows = _windows(images, order, np.zeros(len(order), np.int32))
    return _in_turn([functools.partial(_begin, window) for window in windows], AHEAD)


def read_together(
    dealer: Any, images: StreamedImages, order: NDArray[np.int64], deal: Deal | None
) -> Iterator[NDArray[np.uint8]]:
    """Read as `read_on_ray` does, but each window once for all workers of a deal.

    A worker's rows are spread over all blocks of a window, as those of a shuffled batch must be.
    So the first worker that asks has the whole window read, and the dealer gives each its rows.

    Raises
    ------
    InputError
        A shard is damaged.
    """
    if deal is None:  # as in validation, where every worker has rows that lie together
        return read_on_ray(images, order, deal)
    node = ray.get_runtime_context().get_node_id()
    world = int(deal.worker.max(initial=0)) + 1
    asks = [
        functools.partial(dealer.part.remote, (deal.epoch, number), deal.rank, node, window)
        for number, window in enumerate(_windows(images, order, deal.worker))
        if deal.rank in window.workers
    ]
    return _in_turn(asks, AHEAD * world)


def streamed_together(data: Mapping[str, Arrays]) -> Mapping[str, Arrays]:
    """Have the workers of a Ray Train group, each of which calls this, read streamed rows together.

    The dealer is this group's own: one that begins again after a loss must not be given what was
    dealt to the one before it.
    """
    if not any(isinstance(arrays.inputs, StreamedImages) for arrays in data.values()):
        return data
    from ray.train import get_context  # here, for processes that only read
    from ray.train.collective import broadcast_from_rank_zero

    rank = get_context().get_world_rank()
    name, dealer = f"dealer-{uuid.uuid4().hex}", None
    if rank == 0:
        dealer = Dealer.options(name=name).remote()  # type: ignore[attr-defined]
        ray.get(dealer.ready.remote())  # from here on others find it by its name
    name = broadcast_from_rank_zero(name)
    reader = functools.partial(read_together, dealer or ray.get_actor(name))
    return {
        split: replace(arrays, images=replace(arrays.images, reader=reader))
        if isinstance(arrays.images, StreamedImages)
        else arrays
        for split, arrays in data.items()
    }


@ray.remote(num_cpus=0)
class Dealer:
    """Has each window of a training's epochs read once, and gives each worker its rows of it."""

    def __init__(self) -> None:
        self._parts: dict[tuple[int, int], dict[int, ray.ObjectRef[NDArray[np.uint8]]]] = {}
        """What has been read and not been asked for, by epoch and window, then worker."""
        self._nodes: dict[int, str] = {}

    def ready(self) -> None:
        """Return as soon as there is somebody to."""

    def part(
        self, key: tuple[int, int], rank: int, node: str, window: _Window
    ) -> "list[ray.ObjectRef[NDArray[np.uint8]]]":
        """Give worker `rank`, on a node, its rows of a window; in a list, not fetched."""
        self._nodes[rank] = node
        if key not in self._parts:
            # The workers' nodes take turns: a window's rows go to all of them, and reading must not
            # be one node's alone.
            turn = self._nodes.get(key[1] % (max(self._nodes) + 1), node)
            there = NodeAffinitySchedulingStrategy(turn, soft=True)
            read = _begin(window, scheduling_strategy=there)
            self._parts[key] = dict(zip(window.workers, read, strict=True))
        parts = self._parts[key]
        part = parts.pop(rank)
        if not parts:
            del self._parts[key]
        return [part]


def _windows(
    images: StreamedImages, order: NDArray[np.int64], worker: NDArray[np.int32]
) -> list[_Window]:
    """Cut rows `order`, of which each is given to a worker, into what tasks read."""
    nothing = replace(images, rows=images.rows[:0], reader=read_here)
    shared, at = [ray.put(nothing)], images.rows[order]
    bounds = images.window_bounds(order)
    return [_Window(shared, at[start:stop], worker[start:stop]) for start, stop in bounds]


def _begin(window: _Window, **options: Any) -> "list[ray.ObjectRef[NDArray[np.uint8]]]":
    """Begin to read a window; return each worker's rows, in the order of `workers`."""
    workers = len(window.workers)
    task: Any = _read.options(num_returns=workers, **options)
    read = task.remote(window.images[0], window.at, window.worker)
    return [read] if workers == 1 else read


@ray.remote(num_cpus=0)
def _read(images: StreamedImages, at: NDArray[np.int64], worker: NDArray[np.int32]) -> Any:
    rows = np.argsort(worker, kind="stable")  # each worker's together, in the order they had
    read = replace(images, rows=at[rows]).read(np.arange(len(at)))
    ends = np.cumsum(np.unique(worker, return_counts=True)[1])
    return read if len(ends) == 1 else tuple(np.split(read, ends[:-1]))


def _in_turn(asks: Sequence[Callable[[], Any]], ahead: int) -> Iterator[NDArray[np.uint8]]:
    """Give what is asked for in order, so many of the next already asked for."""
    waiting: deque[Any] = deque()
    for ask in asks:
        waiting.append(ask())
        if len(waiting) > ahead:
            yield _got(waiting.popleft())
    while waiting:
        yield _got(waiting.popleft())


def _got(asked: Any) -> NDArray[np.uint8]:
    """Wait for a window's rows, in a list or promised so; errors of reading are raised as such."""
    try:
        (part,) = asked if isinstance(asked, list) else ray.get(asked)
        found: Any = ray.get(part)
        return found  # type: ignore[no-any-return]
    except RayTaskError as error:
        if isinstance(error.cause, InputError):
            raise error.cause from None
        raise
