"""Runs in a line each: how each stands and what it came to, as its last report has it."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.base.errors import InputError
from orchestrator.base.files import Anywhere, children, is_local, read_json
from orchestrator.run.directory import Run
from orchestrator.run.notes import read_notes
from orchestrator.run.progress import STALE, read

DEPTH = 3
"""Folders below the one that is given, in which runs are looked for."""


@dataclass(frozen=True)
class Outline:
    """A run in a line; what its report would say is None where there is none yet."""

    path: str
    state: str
    """As `orchestrator.run.progress.Progress` has it, or ``silent``: running, and long unheard of;
    ``new``: it has not begun."""
    done: float
    """How much of what it is at is done, in [0, 1]."""
    trials: int | None
    """Of the search, that are complete."""
    best: str | None
    """What its verdict says to use."""
    fair: float | None
    """Of the chosen trial: on the faces of the folds where it was retrained, else on validation."""
    verdict: str | None
    """supported, undecided or refuted."""
    hours: float | None
    tags: Sequence[str]
    note: str


def find_runs(folder: Anywhere, depth: int = DEPTH) -> Iterator[Run]:
    """Find the runs in a folder, by path; a run itself is one, and has none within."""
    if Run(folder).exists:
        yield Run(folder)
    elif depth and not (folder / "meta.json").exists():
        for path in children(folder):
            if not path.name.startswith(".") and (not is_local(path) or path.is_dir()):
                yield from find_runs(path, depth - 1)


def outline(run: Run, now: float | None = None) -> Outline:
    """Put a run into a line.

    Parameters
    ----------
    run
        The run.
    now
        Seconds since 1970, if not the clock's.

    Raises
    ------
    InputError
        A file of the run was edited, and is no such file any more.
    """
    progress, notes, summary = read(run), read_notes(run), summary_of(run)
    now = time.time() if now is None else now
    state: str = progress.state if progress else "new"
    if progress and state == "running" and now - progress.updated > STALE:
        state = "silent"
    return Outline(
        path=str(run.path),
        state=state,
        done=progress.share_done() if progress else 0.0,
        trials=summary["trials"]["complete"] if summary else None,
        best=summary["verdict"]["trial_id"] if summary else None,
        fair=chosen_on(summary)["fair"] if summary and summary["best"] else None,
        verdict=summary["verdict"]["word"] if summary else None,
        hours=progress.seconds(now if state == "running" else None) / 3600 if progress else None,
        tags=notes.tags,
        note=notes.text,
    )


def summary_of(run: Run) -> dict[str, Any] | None:
    """Return what a run's last report says; None where there is none."""
    file = run.path / "summary.json"
    if not file.exists():
        return None
    summary: dict[str, Any] = read_json(file)
    if "verdict" not in summary:
        raise InputError(f"{file}: of before there were verdicts; fairfront report {run.path}")
    return summary


def chosen_on(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures by which a run's best was chosen, with intervals; it has one."""
    best, confirmed = summary["best"], summary["confirmed"]
    if confirmed and confirmed["best"]:
        best = confirmed["trials"][confirmed["best"]]
    figures: dict[str, Any] = best["val"]
    return figures
