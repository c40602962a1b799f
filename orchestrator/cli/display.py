"""One progress display: live on a terminal, plain lines elsewhere, and a file for `watch`."""

import os
import shlex
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Literal, TextIO

from rich.console import Console, ConsoleDimensions, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.text import Text

from orchestrator.base.files import write_text
from orchestrator.base.words import duration
from orchestrator.cli.progress_text import line, render, status_line
from orchestrator.run.directory import Run
from orchestrator.run.progress import RESUMED_AS, STALE, Progress, own_file, read

TICK = 0.5
"""Seconds between looks at what changed; ``progress.json`` is written no more often."""
HEARTBEAT = 15.0
"""Seconds after which ``progress.json`` is written though nothing changed."""
STATUS_LINE = 30.0
"""Seconds between lines on what runs, where there is no terminal."""


class Lines:
    """Shows progress on a text stream: redrawn in place on a terminal, else line by line.

    Parameters
    ----------
    stream
        Where to write.
    known
        How many ended trials need no line any more.
    """

    def __init__(self, stream: TextIO, known: int = 0) -> None:
        self._stream = stream
        self._progress: Progress | None = None
        self._printed, self._last_line = known, time.monotonic()
        self._console = Console(file=stream, markup=False, highlight=False, emoji=False)
        self._live: Live | None = None
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            # Ray's output, on the process's own streams, goes to log files: Live must not catch it.
            self._live = Live(
                console=self._console,
                get_renderable=self._render,
                redirect_stdout=False,
                redirect_stderr=False,
            )

    def __enter__(self) -> "Lines":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live:
            self._live.stop()

    def show(self, progress: Progress) -> None:
        """Show the newest state."""
        changed = self._progress is None or progress.state != self._progress.state
        self._progress = progress
        if self._live:
            return  # it redraws by itself
        while self._printed < len(progress.ended):
            self.say(line(progress, self._printed))
            self._printed += 1
        if changed or time.monotonic() - self._last_line >= STATUS_LINE:
            self.say(status_line(progress, time.time()))

    def say(self, text: str) -> None:
        """Write a line; that its reader went away is no reason to end a run."""
        self._last_line = time.monotonic()
        if self._live:
            self._console.print(Text(text))
            return
        with suppress(OSError):
            print(text, file=self._stream, flush=True)

    def _render(self) -> RenderableType:
        with suppress(OSError):  # rich asks the process's own streams, which are log files
            size = os.get_terminal_size(self._stream.fileno())
            if size.columns and size.lines:  # terminals made by programs may not know theirs
                self._console.size = ConsoleDimensions(*size)
        return render(self._progress, time.time()) if self._progress else Text("starting")


class Display:
    """Shows a run's progress on `stream` and keeps ``RUN/progress.json`` fresh, in a context.

    Leaving the context ends a progress that is still running: finished, or by an exception
    interrupted (Ctrl-C) or failed.
    """

    def __init__(self, run: Run, stream: TextIO, progress: Progress) -> None:
        self.progress = progress
        """The newest state."""
        self._path = own_file(run)
        self._lines = Lines(stream, known=len(progress.ended))  # earlier sessions have shown them
        self._written, self._changed = -HEARTBEAT, True
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._beat, name="progress", daemon=True)

    def __enter__(self) -> "Display":
        self._lines.__enter__()
        self._tick()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        state = _final_state(kind) if kind or self.progress.state == "running" else None
        ended = {"running": (), "state": state or self.progress.state}
        self.progress = self.progress.model_copy(update=ended)
        self._lines.show(self.progress)
        self._lines.__exit__(kind, error, trace)
        self._write()

    def update(self, progress: Progress) -> None:
        """Take the newest state; cheap enough for every event."""
        with self._lock:
            self.progress, self._changed = progress, True
            self._lines.show(progress)

    def say(self, text: str) -> None:
        """Write a line, on a terminal above what is redrawn."""
        with self._lock:
            self._lines.say(text)

    def _beat(self) -> None:
        # A thread, so that a run shows that it lives however long its epochs are.
        while not self._stop.wait(TICK):
            with suppress(OSError):  # the next beat writes again
                self._tick()

    def _tick(self) -> None:
        with self._lock:
            self._lines.show(self.progress)
            if self._changed or time.monotonic() - self._written >= HEARTBEAT:
                self._write()

    def _write(self) -> None:
        self._written, self._changed = time.monotonic(), False
        self.progress = self.progress.model_copy(update={"updated": time.time()})
        # Twice a second, and of no use after a power cut.
        write_text(self._path, self.progress.model_dump_json() + "\n", lasting=False)


def _final_state(
    kind: type[BaseException] | None,
) -> Literal["finished", "interrupted", "failed"]:
    if kind is None:
        return "finished"
    return "interrupted" if issubclass(kind, KeyboardInterrupt) else "failed"


def watch(run: Run, stream: TextIO, poll: float = 1.0) -> int:
    """Show a run's progress, as its own terminal does, until it ends.

    Parameters
    ----------
    run
        A run, perhaps of another process or machine.
    stream
        Where to show it.
    poll
        Seconds between looks at the file.

    Returns
    -------
    The exit code: 0 when the run finished or Ctrl-C ended the watching, 1 when the run failed,
    was interrupted or seems dead.
    """
    with Lines(stream) as lines, suppress(KeyboardInterrupt):
        if read(run) is None:
            lines.say(f"{run.path}: waiting for the run to start; Ctrl-C ends the watching")
        while True:
            progress = read(run)
            if progress is not None:
                lines.show(progress)
                silent = time.time() - progress.updated
                if progress.state != "running":
                    break
                if silent > STALE:
                    lines.say(died(run, progress, silent))
                    return 1
            time.sleep(poll)
        if progress.state != "finished":
            lines.say(f"the run was {progress.state}. {how_to_resume(run, progress.command)}")
            return 1
    return 0


def died(run: Run, progress: Progress, silent: float) -> str:
    """Say that a run has given no sign of life for so many seconds."""
    return (
        f"{run.path}: no sign of life for {duration(silent)}; the run seems to have stopped. "
        + how_to_resume(run, progress.command)
    )


def how_to_resume(run: Run, command: str) -> str:
    """Say how to go on with a run that ended before its time."""
    command = RESUMED_AS.get(command, command)
    data = shlex.quote(str(run.data.get("path", "DATA")))
    # A study in a database, which is not named in full anywhere.
    joint = " --study-storage URL" if run.is_joint else ""
    return (
        "What finished is kept. Resume with: "
        f"fairfront {command} --data {data} --out {shlex.quote(str(run.path))} --resume{joint}"
    )


def _row_lines(stream: TextIO, what: str) -> Callable[[int, int], None]:
    started = time.monotonic()
    last = started - STATUS_LINE

    def update(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < STATUS_LINE and done < total:
            return
        last = now
        seconds = max(now - started, 1e-9)
        with suppress(OSError):
            print(
                f"{what}: {done:,}/{total:,} images  {done / seconds:,.0f} images/s  "
                f"{duration(seconds)} elapsed",
                file=stream,
                flush=True,
            )

    return update


class Terminal:
    """The user's terminal, or whatever text stream stands in for it.

    Parameters
    ----------
    stream
        Where to write; the process's own streams may lead into a log file.
    """

    _shown: Display | None

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._shown = stream, None

    def say(self, text: str) -> None:
        """Write a line, above what is shown."""
        if self._shown:
            self._shown.say(text)
        else:
            print(text, file=self._stream, flush=True)

    def show(self, run: Run, progress: Progress) -> Display:
        """Show a run's progress, and keep its ``progress.json`` fresh, in a context."""
        self._shown = Display(run, self._stream, progress)
        return self._shown

    @contextmanager
    def count_rows(self, what: str) -> Iterator[Callable[[int, int], None]]:
        """Show how many rows are done, in a context; gives what is told those done and in all."""
        console = Console(file=self._stream, markup=False, highlight=False, emoji=False)
        if not console.is_terminal or console.is_dumb_terminal:
            yield _row_lines(self._stream, what)
            return
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}", markup=False),
            TimeRemainingColumn(),
        )
        bar = RichProgress(*columns, console=console, redirect_stdout=False, redirect_stderr=False)
        started = time.monotonic()
        with bar:
            task = bar.add_task(what, total=None, speed="")

            def update(done: int, total: int) -> None:
                speed = f"{done / max(time.monotonic() - started, 1e-9):,.0f} images/s"
                bar.update(task, completed=done, total=total, speed=speed)

            yield update
