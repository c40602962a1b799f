"""Trackers that are told of a run while it goes on, by a process of their own.

What a tracker's package brings, of threads, signals and exits, stays out of the sweep's process,
whose cores it leaves after seconds; and one that hangs is ended. It looks at the run's files, as
anyone does who is told of a run that has ended: nothing of the sweep knows of it.
"""

import itertools
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection

from orchestrator.base.files import one_line
from orchestrator.run.directory import Run
from orchestrator.tracking.destination import Destination, TrackingError, track

LOOK = 10.0
"""Seconds between looks at a run's files."""
MOST = 0.05
"""The share of a core that it may take: a run of hundreds of trials is looked at less often."""
LAST, LAST_OF_FAILING = 60.0, 5.0
"""Seconds for what is left as the run ends, and where the tracker fails by then."""
PATIENCE = 2.0
"""Seconds after which it is said what is waited for."""

Track = Callable[..., str]
"""`track`, or what stands in for it."""


@contextmanager
def tracked(
    run: Run,
    destinations: Sequence[Destination],
    say: Callable[[str], None],
    how: Track = track,
    look: float = LOOK,
) -> Iterator[None]:
    """Have trackers told of a run in the block, and of how it ended, each by its own process.

    Parameters
    ----------
    run
        The run, which lies there already.
    destinations
        Whom to tell.
    say
        Told, in a line, of a tracker that fails, once; called from other threads, too.
    how
        Tells one; a function of a module.
    look
        Seconds between looks at the run's files, or more where these take long.
    """
    tellers: list[_Teller] = []
    try:
        for destination in destinations:
            tellers.append(_Teller(run, destination, say, how, look))
        yield
    finally:
        try:
            for teller in tellers:
                teller.end()
            for teller in tellers:
                teller.wait()
        finally:
            for teller in tellers:
                teller.close()


class _Teller:
    """The process that tells one tracker, and who listens to it."""

    def __init__(
        self,
        run: Run,
        destination: Destination,
        say: Callable[[str], None],
        how: Track,
        look: float,
    ) -> None:
        self._run, self._destination, self._say = run, destination, say
        # Not forked: this process may have threads. The place, with its password, is in a pipe.
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        told = (theirs, run, destination, how, look)
        self._process = context.Process(target=_follow, args=told, daemon=True)
        self._process.start()
        theirs.close()
        self._warned, self._failing = threading.Event(), threading.Event()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def end(self) -> None:
        """Have it tell the rest, and end."""
        with suppress(OSError):  # it has ended
            self._pipe.send("over")

    def wait(self) -> None:
        """Wait for that; not for long where the tracker fails."""
        if self._failing.is_set():
            self._process.join(LAST_OF_FAILING)
            return
        self._process.join(PATIENCE)
        if self._process.is_alive():
            self._say(f"telling {self._destination} the rest; Ctrl-C leaves it untold")
            self._process.join(LAST)

    def close(self) -> None:
        """End it, whatever it is at."""
        in_time = not self._process.is_alive()
        self._process.kill()
        self._process.join()
        self._listener.join()
        self._pipe.close()
        if self._process.exitcode != 0:
            why = f"its process ended with {self._process.exitcode}"
            self._warn(f"{self._destination}: {why if in_time else 'it takes too long'}")

    def _listen(self) -> None:
        with suppress(EOFError, OSError):  # it has ended
            while True:
                why = self._pipe.recv()
                if why is None:
                    self._failing.clear()
                else:
                    self._failing.set()
                    self._warn(why)

    def _warn(self, why: str) -> None:
        """Say it, the first time."""
        if self._warned.is_set():
            return
        self._warned.set()
        later = f"fairfront track {self._run.path} --to {self._destination}"
        why = self._destination.without_secrets(why)
        self._say(f"{why}; that stops nothing, and {later} tells it later")


def _follow(pipe: Connection, run: Run, destination: Destination, how: Track, look: float) -> None:
    """Tell a tracker, again and again until the run is over, or the process that works on it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the other process's to see to
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for stream in (sys.stdout, sys.stderr):  # a tracker's package has its own words, and the URI
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    over = failing = False
    for number in itertools.count():
        begun = time.process_time()
        try:
            how(run, destination, at_work=not over)
            why = None
        except TrackingError as error:
            why = str(error)
        except Exception as error:
            why = f"{destination}: {one_line(error)}"
        if why or failing:
            with suppress(OSError):  # the other process was killed
                pipe.send(why)
        failing = why is not None
        if over:
            return
        spent = time.process_time() - begun
        # The first look is not counted: it imports the tracker's package.
        over = _wait(pipe, max(look, spent / MOST) if number else look)


def _wait(pipe: Connection, seconds: float) -> bool:
    """Wait before the next look; tell whether the run is over."""
    if not pipe.poll(seconds):
        return False
    with suppress(EOFError, OSError):  # the other process was killed
        pipe.recv()
    return True
