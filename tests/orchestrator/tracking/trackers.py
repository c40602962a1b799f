"""Trackers that stand in for a real one, in a process of their own."""

import threading

from orchestrator.run.directory import Run
from orchestrator.tracking.destination import Destination, TrackingError


def recovers(run: Run, destination: Destination, *, at_work: bool) -> None:
    """Write down that it was asked, and fail the first two times."""
    asked = run.path / "asked"
    with asked.open("a") as file:
        file.write(f"{at_work}\n")
    print("what a tracker's package says, with s3cret", flush=True)
    if len(asked.read_text().splitlines()) <= 2:
        raise TrackingError(f"{destination}: away")


def hangs(run: Run, _destination: Destination, **_how: bool) -> None:
    """Never come to an end."""
    (run.path / "asked").touch()
    threading.Event().wait()


def dies(_run: Run, _destination: Destination, **_how: bool) -> None:
    """Take the process along."""
    raise SystemExit(3)
