"""An S3 server on loopback, moto's, in a process of its own that is told to stop and to start.

Stopped, it takes no connection, as a server that is down; what it holds it has again once started.
It can be had in a network namespace as well, where other machines of a test's see it.
"""

import ctypes
import os
import random
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

KEY, SECRET = "AKIDFAIRFRONTTESTS", "a-secret-that-must-be-in-no-file"


@dataclass
class S3Server:
    """The server, as a test sees it."""

    process: subprocess.Popen[str]
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        self._tell("stop")

    def start(self) -> None:
        self._tell("start")

    def appear(self, namespace: str, address: str) -> str:
        """Serve in a network namespace as well, the last one named; return the URL there."""
        self._tell("appear", namespace, address)
        return f"http://{address}:{self.port}"

    def _tell(self, word: str, *more: str) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(word, *more, file=self.process.stdin, flush=True)
        assert self.process.stdout.readline().split()[0] == word

    @classmethod
    def begin(cls) -> "S3Server":
        command = [sys.executable, __file__]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        assert process.stdout is not None
        return cls(process, int(process.stdout.readline()))

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()  # which ends it
        self.process.wait()


def refusing_strangers(app: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """Answer other keys as Amazon does; moto takes any."""

    def answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if f"Credential={KEY}/" in environ.get("HTTP_AUTHORIZATION", ""):
            return app(environ, start_response)
        head = environ["REQUEST_METHOD"] == "HEAD"
        body = b"<Error><Code>InvalidAccessKeyId</Code><Message>no such key</Message></Error>"
        start_response("403 Forbidden", [("Content-Type", "application/xml")])
        return [] if head else [body]

    return answer


def own_port() -> int:
    """Return a port that the system gives nobody by itself: it is free still after a stop."""
    while True:
        port = random.randrange(20_000, 30_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def serve() -> None:
    """Serve until standard input ends."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log(self, *_: Any) -> None:
            pass

    app: Any = refusing_strangers(DomainDispatcherApplication(create_backend_app))

    def start(place: Place) -> tuple[BaseWSGIServer, threading.Thread]:
        with _inside(place.namespace):  # a socket belongs to where it was made
            server = make_server(*place[1:], app, threaded=True, request_handler=Quiet)
        thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )  # of a process that dies: whoever tells it something is not left waiting
        thread.start()
        return server, thread

    def stop(running: list[tuple[BaseWSGIServer, threading.Thread]]) -> None:
        for server, thread in running:
            server.shutdown()
            thread.join()
            server.server_close()

    port = own_port()
    places = [Place(None, "127.0.0.1", port)]
    running = [start(places[0])]
    print(port, flush=True)
    for line in sys.stdin:
        word, *more = line.split()
        if word == "stop":
            stop(running)
            running = []
        elif word == "start":
            places = [place for place in places if place.is_there]  # a test's network has gone
            running = [start(place) for place in places]
        else:
            stop(running[1:])
            places[1:] = [Place(*more, port)]
            running[1:] = [start(places[1])]
        print(word, flush=True)
    stop(running)


class Place(NamedTuple):
    """Where the server is to be had."""

    namespace: str | None
    address: str
    port: int

    @property
    def is_there(self) -> bool:
        return self.namespace is None or Path("/run/netns", self.namespace).exists()


@contextmanager
def _inside(namespace: str | None) -> Iterator[None]:
    """Have this thread in a network namespace. (Python's own `os.setns` came with 3.12.)"""
    if namespace is None:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        if libc.setns(there, 0):
            raise OSError(ctypes.get_errno(), "setns")
        yield
    finally:
        libc.setns(here, 0)
        os.close(here)
        os.close(there)


if __name__ == "__main__":
    serve()
