"""Trackers that are told of a run while it goes on, by a process of their own.

What a tracker's package brings, of threads, signals and exits, stays out of the sweep's process,
whose cores it leaves after seconds; and one that hangs is ended. It looks at the run's files, as
anyone does who is told of a run that has ended: nothing of the sweep knows of it.
"""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing.connection import Connection

from orchestrator.base.files import one_line
from orchestrator.run.directory import Run
from orchestrator.tracking.destination import Destination, TrackingError, track

LOOK = 10.0
"""Seconds between looks at a run's files."""
MOST = 0.02
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
    with ExitStack() as stack:
        for destination in destinations:
            stack.enter_context(_followed(run, destination, say, how, look))
        yield


@contextmanager
def _followed(
    run: Run, destination: Destination, say: Callable[[str], None], how: Track, look: float
) -> Iterator[None]:
    # Not forked: this process may have threads. And the place, with its password, is in a pipe.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    told = (theirs, run, destination, how, look)
    process = context.Process(target=_follow, args=told, daemon=True)
    process.start()
    theirs.close()
    warned, failing = threading.Event(), threading.Event()

    def listen() -> None:
        with suppress(EOFError, OSError):  # it has ended
            while True:
                why = ours.recv()
                if why is None:
                    failing.clear()
                    continue
                failing.set()
                if not warned.is_set():
                    warned.set()
                    say(_warning(run, destination, why))

    listener = threading.Thread(target=listen, name=f"{destination.kind}-words", daemon=True)
    listener.start()
    try:
        yield
    finally:
        try:
            _end(process, ours, destination, say, failing=failing.is_set())
        finally:
            in_time = not process.is_alive()
            process.kill()
            process.join()
            listener.join()
            ours.close()
        if process.exitcode != 0 and not warned.is_set():
            why = f"its process ended with {process.exitcode}" if in_time else "it takes too long"
            say(_warning(run, destination, f"{destination}: {why}"))


def _end(
    process: multiprocessing.process.BaseProcess,
    pipe: Connection,
    destination: Destination,
    say: Callable[[str], None],
    *,
    failing: bool,
) -> None:
    """Have it tell the rest, and wait for that."""
    try:
        pipe.send("over")
    except OSError:  # it has ended
        return
    if failing:
        process.join(LAST_OF_FAILING)
        return
    process.join(PATIENCE)
    if process.is_alive():
        say(f"telling {destination} the rest; Ctrl-C leaves it untold")
        process.join(LAST)


def _warning(run: Run, destination: Destination, why: str) -> str:
    again = f"fairfront track {run.path} --to {destination}"
    return f"{destination.without_secrets(why)}; the run goes on, and later {again} tells the rest"


def _follow(pipe: Connection, run: Run, destination: Destination, how: Track, look: float) -> None:
    """Tell a tracker, again and again until the run is over, or the process that works on it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the other process's to see to
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for stream in (sys.stdout, sys.stderr):  # a tracker's package has its own words, and the URI
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    over = failing = False
    while True:
        begun = time.process_time()
        try:
            how(run, destination, over=over)
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
        over = _wait(pipe, max(look, (time.process_time() - begun) / MOST))


def _wait(pipe: Connection, seconds: float) -> bool:
    """Wait before the next look; tell whether the run is over."""
    if not pipe.poll(seconds):
        return False
    with suppress(EOFError, OSError):  # the other process was killed
        pipe.recv()
    return True
