"""What runs the network for the server, and the batches that it runs it on."""

import asyncio
from collections import deque
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from orchestrator.base.files import one_line

BATCH = 32
"""Pictures that the network sees together, at most."""

Images = NDArray[np.uint8]
"""Shape (n, H, W, 3)."""
Logits = NDArray[np.float32]
"""Shape (n,)."""


class EngineError(Exception):
    """What runs the network has failed, not the request."""


class Engine(Protocol):
    """A network, wherever it runs."""

    places: int
    """Batches that it takes at a time, those that wait for their turn there included."""

    async def logits(self, images: Images) -> Logits:
        """Return the logits of a batch."""


class Batches:
    """Puts together what waits: as soon as the engine has a place it gets all of it, up to `BATCH`.

    Nobody waits for others to come, and the busier the server the larger are the batches.

    Parameters
    ----------
    engine
        What runs the network.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine, self._free = engine, engine.places
        self._waiting: deque[tuple[Images, asyncio.Future[Logits]]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()  # which asyncio itself does not hold

    async def logits(self, images: Images) -> Logits:
        """Return the logits of the pictures of a request, `BATCH` at most.

        Raises
        ------
        EngineError
            The engine failed.
        """
        answer: asyncio.Future[Logits] = asyncio.get_running_loop().create_future()
        self._waiting.append((images, answer))
        self._begin()
        return await answer

    def _begin(self) -> None:
        while self._free and self._waiting:
            together, rows = [], 0
            while self._waiting and rows + len(self._waiting[0][0]) <= BATCH:
                images, answer = self._waiting.popleft()
                if not answer.done():  # whoever asked may have given up
                    together.append((images, answer))
                    rows += len(images)
            if together:
                self._free -= 1
                task = asyncio.create_task(self._run(together))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _run(self, together: list[tuple[Images, asyncio.Future[Logits]]]) -> None:
        failed, logits = None, np.empty(0, np.float32)
        try:
            logits = await self._engine.logits(np.concatenate([images for images, _ in together]))
        except Exception as error:  # an engine's are of no common kind
            failed = one_line(error) or type(error).__name__
        self._free += 1
        self._begin()
        at = 0
        for images, answer in together:
            part = logits[at : at + len(images)]
            at += len(images)
            if answer.done():
                continue
            if failed is None:
                answer.set_result(part)
            else:
                answer.set_exception(EngineError(failed))
