"""Optuna Dashboard and TensorBoard on a run, as two child processes that end with the command."""

import importlib.util
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TextIO

from orchestrator.base.errors import InputError
from orchestrator.base.files import Anywhere, is_local
from orchestrator.base.interrupts import sigterm_interrupts
from orchestrator.run.directory import Run

START_SECONDS = 120
"""How long a server may take until it answers; a few seconds, where nothing else runs."""

POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Service:
    """A web server on one of the run's files."""

    name: str
    module: str
    """The package that must be there."""
    command: list[str]
    """Arguments of the interpreter."""
    url: str
    log: Anywhere


@dataclass(frozen=True)
class Running:
    """A service and its process."""

    service: Service
    process: subprocess.Popen[bytes]


def dashboard(run: Run, *, host: str = "127.0.0.1", port: int | None, out: TextIO) -> int:
    """Serve Optuna Dashboard (where the run has a study) and TensorBoard until Ctrl-C.

    Parameters
    ----------
    host
        The address to listen on; anyone who reaches it can read the run.
    port
        Of the first server; the other one takes the next. None: free ports.

    Returns
    -------
    int
        0 after Ctrl-C (or SIGTERM), 1 when a server ended by itself.

    Raises
    ------
    InputError
        A package or the port is not to be had.
    """
    if not is_local(run.path):
        raise InputError(f"{run.path}: a dashboard needs a run on a disk; copy it there first")
    services = _services(run, host, port)
    with sigterm_interrupts(), ExitStack() as children:
        try:
            running = [children.enter_context(_start(service)) for service in services]
            for child in running:
                if not _wait_until_up(child):
                    return _report_end(child, out)
                print(f"{child.service.name:<17}{child.service.url}", file=out, flush=True)
            print(
                "Ctrl-C ends both" if len(running) > 1 else "Ctrl-C ends it", file=out, flush=True
            )
            while True:
                for child in running:
                    if child.process.poll() is not None:
                        return _report_end(child, out)
                time.sleep(POLL_SECONDS)
        except KeyboardInterrupt:
            return 0


def _services(run: Run, host: str, port: int | None) -> list[Service]:
    # Optuna Dashboard's command line serves each request in a thread of its own. Its
    # `run_server` has a single one, which a browser's idle connection blocks.
    journal = run.path / "optuna.journal"
    optuna = ["optuna_dashboard._cli", str(journal), "--storage-class", "JournalFileStorage"]
    optuna += ["--server", "wsgiref"]
    board = ["tensorboard.main", "--logdir", str(run.trials_path), "--reload_interval", "5"]
    tools = [("TensorBoard", "tensorboard", board)]
    if journal.exists():
        tools.insert(0, ("Optuna Dashboard", "optuna_dashboard", optuna))
    if any(importlib.util.find_spec(module) is None for _, module, _ in tools):
        raise InputError("dashboard: packages are missing; pip install 'fairfront[dashboard]'")
    ports = _ports(host, port, len(tools))
    return [
        Service(
            name,
            module,
            ["-m", *command, "--host", host, "--port", str(free)],
            f"http://{host}:{free}/",
            run.logs_path / f"{module}.log",
        )
        for (name, module, command), free in zip(tools, ports, strict=True)
    ]


def _ports(host: str, first: int | None, count: int) -> Sequence[int]:
    """Return `count` ports that can be listened on now."""
    wanted = [0] * count if first is None else list(range(first, first + count))
    with ExitStack() as sockets:  # all held at once, so that no port is given twice
        free = []
        for port in wanted:
            probe = sockets.enter_context(socket.socket())
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except (OSError, OverflowError) as error:
                raise InputError(f"--port {port}: {error}; choose another, or none") from None
            free.append(probe.getsockname()[1])
    return free


@contextmanager
def _start(service: Service) -> Iterator[Running]:
    with service.log.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *service.command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Running(service, process)
    finally:
        process.terminate()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_up(child: Running) -> bool:
    """Tell whether the server answers, before it ends or the time is up."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback needs no proxy
    deadline = time.monotonic() + START_SECONDS
    while child.process.poll() is None and time.monotonic() < deadline:
        try:
            with direct.open(child.service.url, timeout=10):
                return True
        except OSError:  # not listening yet, or not ready
            time.sleep(POLL_SECONDS)
    return False


def _report_end(child: Running, out: TextIO) -> int:
    code = child.process.poll()
    what = f"ended with exit code {code}" if code is not None else "does not answer"
    lines = child.service.log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:]
    print(f"{child.service.name} {what}; the end of {child.service.log}:", file=out)
    print("\n".join(f"  {line}" for line in lines), file=out, flush=True)
    return 1
