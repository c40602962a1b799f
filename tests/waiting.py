"""Waiting for what is to happen: the deadline says that it hangs, never that it is slow."""

import subprocess
import time
from collections.abc import Callable
from typing import Any

HANGS = 600.0
"""Seconds after which nothing will come of it, however busy the machine is."""


def wait_until(
    happened: Callable[[], Any],
    process: subprocess.Popen[Any] | None = None,
    every: float = 0.01,
) -> None:
    """Wait until something has happened; a process that should bring it about must not end."""
    deadline = time.monotonic() + HANGS
    while not happened():
        if process is not None and process.poll() is not None:
            assert happened(), f"the process ended with {process.returncode}, and it did not happen"
            return
        assert time.monotonic() < deadline, "it hangs"
        time.sleep(every)
