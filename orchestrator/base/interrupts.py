"""SIGTERM as Ctrl-C, for commands that have something to finish."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130
"""The exit code after Ctrl-C, and after SIGTERM, which is taken for it; shells' own."""


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Let SIGTERM, from a job's stop or a batch system's time limit, act as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(_signal: int, frame: FrameType | None) -> None:
    handler = signal.getsignal(signal.SIGINT)  # Tune's own while it runs
    if not callable(handler):  # a shell's background jobs ignore SIGINT
        raise KeyboardInterrupt
    handler(signal.SIGINT, frame)
