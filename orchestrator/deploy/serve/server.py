"""The app on a socket: uvicorn, with an end to its patience."""

import logging
import socket
from asyncio import TimerHandle, Transport
from collections.abc import Callable

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from orchestrator.base.errors import InputError
from orchestrator.base.files import reason_of

HEAD_SECONDS, HEAD_BYTES = 10.0, 2**16
"""Within which the head of a request has come; uvicorn itself waits for ever, for any length."""
END_SECONDS = 5
"""For requests at work to be answered as the server ends."""


class Impatient(HttpToolsProtocol):
    """A connection that is closed where no request comes, or one whose head has no end.

    How long a request may take from there on is the app's to say.
    """

    _timer: TimerHandle | None = None
    _head_bytes: int | None = None
    """Of the head that is coming, beyond the first packet; None: none is."""

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Begin a connection."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """End it."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take a packet."""
        if self._head_bytes is not None:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self.send_400_response("The head of the request is too long.")
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """End its head."""
        self._head_bytes = None
        self._stop_waiting()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """End a request; what is left of its body is not kept, but has to come soon as well."""
        super().on_response_complete()
        if not self.transport.is_closing() and self.cycle.response_complete:
            self._wait()

    def _wait(self) -> None:
        self._stop_waiting()
        self._timer = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that has an address, and listens once there is something to answer.

    Raises
    ------
    InputError
        The address is none of this machine's, or the port is taken.
    """
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except (OSError, OverflowError, UnicodeError) as error:
        bound.close()
        raise InputError(
            f"--host {host} --port {port}: {reason_of(error)}; choose others"
        ) from None
    return bound


def url_of(bound: socket.socket) -> str:
    """Return the URL of what has an address."""
    host, port = bound.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


class _Told(uvicorn.Server):
    """A server that tells when it can be asked."""

    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._tell = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer."""
        await super().startup(sockets)
        self._tell()


def config_of(app: ASGIApp) -> uvicorn.Config:
    """Return how uvicorn is to serve the app."""
    return uvicorn.Config(
        app,
        http=Impatient,
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        log_level=logging.ERROR,
        server_header=False,
        timeout_graceful_shutdown=END_SECONDS,
    )


class _Log(logging.Handler):
    """What uvicorn has to say of faults of the server's own."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__()
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        """Say it."""
        self._say(self.format(record))


def run_app(
    app: ASGIApp,
    bound: socket.socket,
    started: Callable[[], None],
    say: Callable[[str], None],
) -> None:
    """Serve until Ctrl-C or SIGTERM, which raise `KeyboardInterrupt` in the end.

    Parameters
    ----------
    app
        What answers.
    bound
        What `bind` gave.
    started
        Called once it can be asked.
    say
        Told of faults of the server's own.
    """
    log = logging.getLogger("uvicorn.error")
    log.addHandler(_Log(say))
    log.propagate = False
    _Told(config_of(app), started).run(sockets=[bound])
