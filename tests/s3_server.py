"""An S3 server on loopback, moto's, in a process of its own that is told to stop and to start.

Stopped, it takes no connection, as a server that is down; what it holds it has again once started.
"""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

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

    def _tell(self, word: str) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(word, file=self.process.stdin, flush=True)
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


def serve() -> None:
    """Serve until standard input ends."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log(self, *_: Any) -> None:
            pass

    app: Any = refusing_strangers(DomainDispatcherApplication(create_backend_app))

    def start(port: int) -> tuple[BaseWSGIServer, threading.Thread]:
        server = make_server("127.0.0.1", port, app, threaded=True, request_handler=Quiet)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        return server, thread

    def stop() -> None:
        server.shutdown()
        thread.join()
        server.server_close()

    server, thread = start(0)
    port = server.server_port
    print(port, flush=True)
    for line in sys.stdin:
        word = line.strip()
        if word == "start":
            server, thread = start(port)
        else:
            stop()
        print(word, flush=True)
    stop()


if __name__ == "__main__":
    serve()
