"""`fairfront watch --once`: how a run stands now."""

import time
from typing import TextIO

from orchestrator.base.console import open_console
from orchestrator.cli.display import died
from orchestrator.cli.progress_text import render
from orchestrator.run.directory import Run
from orchestrator.run.progress import STALE, read


def glance(run: Run, stream: TextIO) -> int:
    """Show a run's progress once; return 1 where it failed, was interrupted or seems dead, else 0.

    Parameters
    ----------
    run
        A run, perhaps of another process or machine.
    stream
        Where to show it.
    """
    progress, now = read(run), time.time()
    if progress is None:
        print(f"{run.path}: not started yet", file=stream)
        return 0
    open_console(stream).print(render(progress, now))
    silent = now - progress.updated
    if progress.state == "running" and silent > STALE:
        print(died(run, progress, silent), file=stream)
        return 1
    return int(progress.state in ("failed", "interrupted"))
