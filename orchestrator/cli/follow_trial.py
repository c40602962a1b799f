"""A trial that other processes train, shown as its files grow; knows nothing of Ray."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from csv import DictReader

from orchestrator.base.files import read_text
from orchestrator.cli.progress_text import EPOCH_HEADER, epoch_row
from orchestrator.run.progress import EndedTrial, RunningTrial, Score
from orchestrator.run.screen import ProgressDisplay
from orchestrator.run.trial import Trial
from orchestrator.training.trial import Assignment


@contextmanager
def following(
    assignment: Assignment, display: ProgressDisplay, poll: float = 0.5
) -> Iterator[None]:
    """Show the epochs of a trial as they end, a row each, and how the trial ended.

    Ray Train calls its callbacks in a process of its own, so the driver looks at the trial's files.

    Parameters
    ----------
    assignment
        The trial, which is begun inside the ``with`` block, perhaps again.
    display
        Where to show it.
    poll
        Seconds between looks at the files.
    """
    follower, over = _Follower(assignment, display), threading.Event()

    def follow() -> None:
        while not over.wait(poll):
            with suppress(OSError):  # a shared disk may hiccup; the next look shows all
                follower.look()

    thread = threading.Thread(target=follow, name="follow", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        follower.end()
    ended = Trial(assignment.trial.path)  # reads anew
    display.update(display.progress.with_ended(EndedTrial.of(ended)))


class _Follower:
    def __init__(self, assignment: Assignment, display: ProgressDisplay) -> None:
        self._trial, self._display = assignment.trial, display
        self._config = assignment.config
        self._shown = self._lines()
        self._resumed = bool(self._shown)
        self._starts = self._trial.starts + 1
        """The last one accounted for."""
        self._headed = False

    def look(self) -> None:
        """Show what is new in the trial's files."""
        starts, lines = self._trial.starts, self._lines()  # a start comes before its rows
        news = (n for n, row in enumerate(lines) if row not in self._shown[n : n + 1])
        first = next(news, None)
        if first is None:
            return
        self._say_restart(starts, f"went on from epoch {max(first, 1)}")
        if not self._headed:
            self._display.say(EPOCH_HEADER)
            self._headed = True
        epochs = max(self._config.train.epochs, len(lines) - 1)
        for row in DictReader([lines[0], *lines[max(first, 1) :]]):
            metrics = {name: float(value) for name, value in row.items()}
            self._display.say(epoch_row(metrics, epochs))
            running = RunningTrial(
                trial_id=self._trial.id,
                epoch=int(metrics["epoch"]),
                epochs=epochs,
                score=Score.of(metrics),
                images_per_second=metrics["images_per_second"],
            )
            self._display.update(self._display.progress.with_running(running))
        self._shown = lines

    def end(self) -> None:
        """Show what is left to show."""
        self.look()
        self._say_restart(self._trial.starts, "all epochs were done")

    def _say_restart(self, starts: int, then: str) -> None:
        if starts > self._starts:
            lost = "a worker was lost"
            if self._config.min_workers is not None:  # nodes that join restart the others, too
                lost += ", or more joined,"
            epoch = min(max(len(self._shown), 1), self._config.train.epochs)
            self._display.say(f"recovered: {lost} in epoch {epoch}; {then}")
            self._starts = starts
        elif self._resumed:
            self._display.say(f"resumed: {then}")
        self._resumed = False

    def _lines(self) -> list[str]:
        """Read the header and a row for each epoch so far."""
        try:
            text = read_text(self._trial.path / "metrics.csv")
        except FileNotFoundError:
            return []
        return text.splitlines()
