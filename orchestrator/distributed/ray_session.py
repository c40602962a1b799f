"""A Ray session that keeps quiet: its words go to log files, and the terminal is ours."""

import contextlib
import logging
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

# Read when Ray is imported: send no usage statistics, and leave CUDA_VISIBLE_DEVICES as it is in
# a task that asks for no GPU (Ray's future default; it warns until one chooses).
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray

from orchestrator.base.machine import COMPUTING, environment
from orchestrator.distributed.before_ray import check_address, give_token, temporary_parent

TUNE = {"TUNE_FUNCTION_THREAD_TIMEOUT_S": "60"}
"""How long a stopped trial may take to leave its actor to the next; Ray's 2 s fail that one on a
machine that is busy."""
WORKERS = COMPUTING | TUNE
"""What the processes that work have in their environment."""
WORKER_LOGS = ("worker-*.out", "worker-*.err", "raylet.err", "ray-data/ray-data.log", "train/*.log")


@contextlib.contextmanager
def session(
    num_cpus: int | None = None,
    address: str | None = None,
    log_dir: Path | None = None,
    *,
    dashboard: bool = False,
) -> Iterator[None]:
    """Start Ray, or connect to a running cluster, for the length of a ``with`` block.

    Inside a session that has been started already it does nothing, and leaves it running.

    Parameters
    ----------
    num_cpus
        CPUs of a local cluster; None: all of them. A running cluster has its own.
    address
        A running cluster to connect to; None: ``RAY_ADDRESS``, or else a new local cluster.
    log_dir
        Where a local cluster's workers leave their logs as it ends.
    dashboard
        Start the dashboard with a local cluster. Training on several workers asks it for the
        actors' state.

    Raises
    ------
    InputError
        The running cluster cannot be joined, or there is no folder in which Ray can start.
    """
    if ray.is_initialized():
        yield
        return
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    local: dict[str, Any] = {"num_cpus": num_cpus, "include_dashboard": dashboard}
    if address == "local":
        os.environ["RAY_TMPDIR"] = str(temporary_parent())
        give_token()
    else:
        check_address(address)
    # Workers as nice as this command: at Ray's 15, any other program leaves them next to nothing.
    os.environ.setdefault("RAY_worker_niceness", "0")
    on_termination = signal.getsignal(signal.SIGTERM)
    quietly: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.WARNING}
    if address == "local":
        # Inherited. By a runtime environment each process would be begun twice, by a program that
        # takes as long to start, and those that Ray has ready would not do.
        with environment(WORKERS):
            ray.init(address, **quietly, **local)
    else:
        ray.init(address, **quietly, runtime_env={"env_vars": WORKERS})
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, on_termination)  # Ray has put its own there
    context = ray.get_runtime_context()
    logs = Path(context.get_temp_dir(), context.get_session_name(), "logs")
    try:
        with _silent_data():
            yield
    finally:
        ray.shutdown()
        if log_dir is not None and address == "local":
            _keep_logs(logs, log_dir)


def wait_for_cpu(say: Callable[[str], None], patience: float = 5.0) -> None:
    """Wait until a cluster that was joined has a CPU free.

    Ray Data waits without a word, and does not let go on Ctrl-C.

    Parameters
    ----------
    say
        Told what is waited for.
    patience
        Seconds before it is.
    """
    if ray.available_resources().get("CPU", 0) >= 1:
        return

    def tell() -> None:
        cpus = int(ray.cluster_resources().get("CPU", 0))
        state = f"all {cpus} CPUs of the cluster are taken" if cpus else "the cluster has none"
        say(f"waiting for a free CPU ({state}); Ctrl-C ends the waiting")

    await_place(tell, patience, num_cpus=1)


def await_place(tell: Callable[[], None], patience: float, **resources: Any) -> None:
    """Wait until the cluster has a place for a task; that one waits has an autoscaler bring it.

    Parameters
    ----------
    tell
        Called where there is none after `patience` seconds.
    resources
        What the task asks for, as Ray's `options` have it.
    """
    placed = ray.remote(_nothing).options(**resources).remote()
    try:
        if not ray.wait([placed], timeout=patience)[0]:
            tell()
        while not ray.wait([placed], timeout=1)[0]:
            pass
    except BaseException:  # not in any case: Ray 2.60 aborts on who cancels what has just ended
        ray.cancel(placed)
        raise


def _nothing() -> None:
    """Do nothing, in a place of the cluster."""


@contextlib.contextmanager
def quiet(log_file: Path) -> Iterator[TextIO]:
    """Send all that this process writes to its terminal into a file instead.

    File descriptors 1 and 2 are redirected, so what C++ code and child processes write goes there
    too. They are restored as the block ends, also by an exception.

    Parameters
    ----------
    log_file
        Appended to; its folder is made.

    Yields
    ------
    TextIO
        The stdout of before, for our own words; a terminal still, if it was one.
    """
    log_file.parent.mkdir(parents=True, exist_ok=True)
    saved = {1: os.dup(1), 2: os.dup(2)}
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        with (
            log_file.open("ab", buffering=0) as log,
            os.fdopen(os.dup(1), "w", encoding=encoding, errors="replace", buffering=1) as terminal,
        ):
            _flush()
            for descriptor in saved:
                os.dup2(log.fileno(), descriptor)
            yield terminal
    finally:
        _flush()
        for descriptor, copy in saved.items():
            os.dup2(copy, descriptor)
            os.close(copy)


def _flush() -> None:
    """Write out what Python still holds, while the descriptors lead where it was meant to go."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # closed, or its reader has gone
            stream.flush()


@contextlib.contextmanager
def _silent_data() -> Iterator[None]:
    """Show neither Ray Data's progress bars nor its plans; its log file in the session has all."""
    from ray.data import DataContext  # half a second, which a process that trains does not need

    context = DataContext.get_current()
    before = context.enable_progress_bars, context.print_on_execution_start
    context.enable_progress_bars = context.print_on_execution_start = False
    consoles = [
        handler
        for handler in logging.getLogger("ray.data").handlers
        if isinstance(handler, logging.StreamHandler)
    ]
    levels = [handler.level for handler in consoles]
    for handler in consoles:
        handler.setLevel(logging.WARNING)
    try:
        yield
    finally:
        context.enable_progress_bars, context.print_on_execution_start = before
        for handler, level in zip(consoles, levels, strict=True):
            handler.setLevel(level)


def _keep_logs(logs: Path, log_dir: Path) -> None:
    log_dir.mkdir(parents=True, exist_ok=True)
    for pattern in WORKER_LOGS:
        for log in logs.glob(pattern):
            if log.stat().st_size:
                shutil.copyfile(log, log_dir / log.name)
