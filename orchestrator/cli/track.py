"""`fairfront track`, and what a sweep has to say of its trackers."""

import argparse
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from orchestrator.cli.argparsing import SECRETS
from orchestrator.run.directory import Run
from orchestrator.run.screen import Screen
from orchestrator.tracking.destination import Destination, TrackingError
from orchestrator.tracking.destination import track as tell

VARIABLE = SECRETS["--track"]
DONE, FAILED = 0, 1


def track(arguments: argparse.Namespace) -> int:
    """Tell trackers of a run, however far it is."""
    destinations = [Destination.of(text, "--to") for text in arguments.to]
    run, code = Run.open(arguments.target), DONE
    for destination in destinations:
        try:
            print(f"{destination}: {tell(run, destination)}", flush=True)
        except TrackingError as error:  # which is no reason not to tell the next
            print(f"fairfront: {error}", file=sys.stderr)
            code = FAILED
    return code


def destinations_of(given: Sequence[str] | None) -> list[Destination]:
    """Return whom to tell, of ``--track`` or `VARIABLE`; none of it goes into a file of the run.

    Raises
    ------
    InputError
        There is no such tracker, or its package is missing.
    """
    return [Destination.of(text, "--track") for text in given or _from_environment()]


def _from_environment() -> list[str]:
    return os.environ.get(VARIABLE, "").split()


class Words:
    """Says what there is to say of trackers where the user sees it, from any thread.

    On a screen while there is one, else on stderr; what comes while stderr leads into Ray's log,
    and there is no screen, waits.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._screen: Screen | None = None
        self._waiting: list[str] | None = None

    def say(self, text: str) -> None:
        """Say a line."""
        with self._lock:
            if self._screen is not None:
                self._screen.say(text)
            elif self._waiting is not None:
                self._waiting.append(text)
            else:
                print(f"fairfront: {text}", file=sys.stderr)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Keep off stderr in the block."""
        with self._lock:
            self._waiting = []
        try:
            yield
        finally:
            with self._lock:
                waited, self._waiting = self._waiting, None
            for text in waited:
                self.say(text)

    @contextmanager
    def on(self, screen: Screen) -> Iterator[None]:
        """Use a screen in the block."""
        with self._lock:
            self._screen = screen
        try:
            yield
        finally:
            with self._lock:
                self._screen = None
