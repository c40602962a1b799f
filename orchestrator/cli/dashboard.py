"""Optuna Dashboard and TensorBoard on a run, as two child processes that end with the command."""

import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TextIO

from orchestrator.base.errors import InputError
from orchestrator.base.files import Anywhere, is_local, read_json
from orchestrator.base.interrupts import sigterm_interrupts
from orchestrator.base.web import is_loopback
from orchestrator.cli.argparsing import SECRETS
from orchestrator.run.directory import Run

START_SECONDS = 120
"""How long a server may take until it answers; a few seconds, where nothing else runs."""

POLL_SECONDS = 0.2
VARIABLE = SECRETS["--study-storage"]
IN_DATABASE = f"""
import os, sys
from optuna_dashboard._cli import main
sys.argv[1:1] = [os.environ["{VARIABLE}"], "--storage-class", "RDBStorage"]
main()
"""
"""Optuna Dashboard on a database, whose URL is on no command line: all users can read those."""


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
    environment: Mapping[str, str] = field(default_factory=dict)
    """Beside this process's own."""


@dataclass(frozen=True)
class Running:
    """A service and its process."""

    service: Service
    process: subprocess.Popen[bytes]


def dashboard(
    run: Run, *, host: str = "127.0.0.1", port: int | None, out: TextIO, storage: str | None = None
) -> int:
    """Serve Optuna Dashboard (where the run has a study) and TensorBoard until Ctrl-C.

    Parameters
    ----------
    host
        The address to listen on; anyone who reaches it can read the run, and delete its study.
    port
        Of the first server; the other one takes the next. None: free ports.
    storage
        The URL of the database that has the run's study, if it is in one; its password is shown
        nowhere.

    Returns
    -------
    int
        0 after Ctrl-C (or SIGTERM), 1 when a server ended by itself.

    Raises
    ------
    InputError
        A package or the port is not to be had, or `storage` is not where the run's study is.
    """
    if not is_local(run.path):
        raise InputError(f"{run.path}: a dashboard needs a run on a disk; copy it there first")
    url = _study_url(run, storage, out)
    services = _services(run, host, port, url)
    if not is_loopback(host):
        print(f"anyone who reaches {host} can read this run, and delete its study", file=out)
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


def _study_url(run: Run, given: str | None, out: TextIO) -> str | None:
    """Return the URL of the database of a run's study; None: the study is not there, or not known.

    Raises
    ------
    InputError
        It is in another database, or in none.
    """
    if not run.is_joint:
        if given is not None:
            raise InputError(f"{run.path}: its study is in no database; leave --study-storage out")
        return None
    from orchestrator.search.study import PLACE, without_password

    known = str(read_json(run.path / PLACE)["storage"])
    given = given or os.environ.get(VARIABLE)
    if given is None:
        print(f"the study is in {known}; give that with --study-storage to see it", file=out)
        return None
    if (shown := without_password(given)) != known:
        raise InputError(f"--study-storage {shown}: the run's study is in {known}; give that")
    return given


def _services(run: Run, host: str, port: int | None, url: str | None = None) -> list[Service]:
    # Optuna Dashboard's command line serves each request in a thread of its own. Its
    # `run_server` has a single one, which a browser's idle connection blocks.
    journal = run.path / "optuna.journal"
    optuna = ["-m", "optuna_dashboard._cli", str(journal), "--storage-class", "JournalFileStorage"]
    if url is not None:
        optuna = ["-c", IN_DATABASE]
    optuna += ["--server", "wsgiref"]
    board = ["-m", "tensorboard.main", "--logdir", str(run.trials_path), "--reload_interval", "5"]
    tools = [("TensorBoard", "tensorboard", board)]
    if url is not None or journal.exists():
        tools.insert(0, ("Optuna Dashboard", "optuna_dashboard", optuna))
    if any(importlib.util.find_spec(module) is None for _, module, _ in tools):
        raise InputError("dashboard: packages are missing; pip install 'fairfront[dashboard]'")
    ports = _ports(host, port, len(tools))
    return [
        Service(
            name,
            module,
            [*command, "--host", host, "--port", str(free)],
            f"http://{host}:{free}/",
            run.logs_path / f"{module}.log",
            {} if url is None else {VARIABLE: url},
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
                given = f"--host {host}" if port == 0 else f"--port {port}"
                raise InputError(f"{given}: {error}; choose another, or none") from None
            free.append(probe.getsockname()[1])
    return free


@contextmanager
def _start(service: Service) -> Iterator[Running]:
    with service.log.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *service.command],
            env={**os.environ, **service.environment},
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
