"""A server in the tests' own process, on networks that are known."""

import asyncio
import io
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from starlette.testclient import TestClient
from uvicorn.server import ServerState

from orchestrator.deploy.serve.answers import Served
from orchestrator.deploy.serve.app import Server
from orchestrator.deploy.serve.server import Impatient, config_of
from orchestrator.deploy.serve.uploads import Limits

SIDE = 8


class Brightness:
    """A network whose logit is -4 for black, and 4 for white."""

    places = 1

    def __init__(self) -> None:
        self.batches: list[int] = []

    async def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.batches.append(len(images))
        return (images.mean(axis=(1, 2, 3)) / 255 * 8 - 4).astype(np.float32)


def server(engine: Any = None, limits: Limits | None = None, **more: Any) -> Server:
    """A server of `Brightness`; of what is served, `threshold` and `by_gender` may be given."""
    token = more.pop("token", None)
    served = Served("runs/1", "t004", SIDE, more.pop("threshold", 0.5), **more)
    return Server(served, engine or Brightness(), limits or Limits(), token)


def client(*given: Any, **more: Any) -> TestClient:
    return TestClient(server(*given, **more).app, raise_server_exceptions=False)


def picture(grey: int, form: str = "PNG", size: tuple[int, int] = (20, 10), **more: Any) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", size, (grey, grey, grey)).save(data, form, **more)
    return data.getvalue()


@asynccontextmanager
async def listening(app: Any) -> AsyncIterator[int]:
    """Serve an app on a socket of this event loop; gives the port."""
    config, state = config_of(app), ServerState()
    config.load()
    loop = asyncio.get_running_loop()
    made = await loop.create_server(
        lambda: Impatient(config, state, {}), "127.0.0.1", 0, backlog=config.backlog
    )
    async with made:
        yield made.sockets[0].getsockname()[1]
        for connection in list(state.connections):
            connection.transport.abort()


@contextmanager
def in_a_thread(app: Any) -> Iterator[int]:
    """Serve an app beside this thread; gives the port."""
    began, told = threading.Event(), {}

    async def run() -> None:
        told["loop"], told["end"] = asyncio.get_running_loop(), asyncio.Event()
        async with listening(app) as told["port"]:
            began.set()
            await told["end"].wait()

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    began.wait()
    try:
        yield told["port"]
    finally:
        told["loop"].call_soon_threadsafe(told["end"].set)
        thread.join()
