"""What those who do the work know of the user's screen; `orchestrator.cli` has one."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from orchestrator.run.directory import Run
from orchestrator.run.progress import Progress


class ProgressDisplay(Protocol):
    """Shows the progress of a run."""

    @property
    def progress(self) -> Progress:
        """The newest state."""

    def update(self, progress: Progress) -> None:
        """Take the newest state; cheap enough for every event."""

    def say(self, text: str) -> None:
        """Write a line."""


class Screen(Protocol):
    """Where a command tells its user what goes on."""

    def say(self, text: str) -> None:
        """Write a line."""

    def show(self, run: Run, progress: Progress) -> AbstractContextManager[ProgressDisplay]:
        """Show a run's progress, and keep its ``progress.json`` fresh, in a context."""

    def count_rows(self, what: str) -> AbstractContextManager[Callable[[int, int], None]]:
        """Show how many rows are done, in a context; gives what is told those done and in all."""
