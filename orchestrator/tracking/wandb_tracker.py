"""Runs for Weights & Biases, written for ``wandb sync``: one for the whole, and one for each trial.

Nothing is sent from here. They are in ``RUN/wandb``, each in a folder that ends with its name, and
the same name is the same run wherever it is synced to.
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from orchestrator.base.errors import InputError
from orchestrator.base.files import Anywhere, read_text, write_text
from orchestrator.tracking.entries import Entry

TOLD = "fairfront-told"
"""The file in a run's folder that says what of it is there."""
ENVIRONMENT = {"WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true"}


def send(folder: Anywhere, name: str, place: str, entries: Sequence[Entry]) -> str:
    """Write what has ended; see `orchestrator.tracking.destination.Send`.

    Parameters
    ----------
    place
        The project.
    """
    if not isinstance(folder, Path):
        raise InputError(f"{folder}: --to wandb writes into the run; copy it to a disk first")
    for entry in entries:
        if entry.state != "running":
            _write(folder, name, place, entry, group=entries[0].name)
    return f"written; wandb sync {folder / 'wandb'}/offline-run-* sends it"


def _write(folder: Path, name: str, project: str, entry: Entry, *, group: str) -> None:
    """Write an entry, unless it is there as it is now."""
    run_id = f"{name[:12]}-{entry.trial_id or 'run'}"
    there = [path for path in (folder / "wandb").glob(f"offline-run-*-{run_id}") if path.is_dir()]
    told = f"{project} {entry.digest}\n"
    if any((path / TOLD).exists() and read_text(path / TOLD) == told for path in there):
        return
    for path in there:  # of before it went on, or a process that was killed as it wrote
        shutil.rmtree(path)
    os.environ.update(ENVIRONMENT)
    import wandb

    settings = wandb.Settings(
        console="off",
        disable_git=True,
        save_code=False,
        x_disable_meta=True,
        x_disable_stats=True,
    )
    run = wandb.init(
        mode="offline",
        dir=str(folder),
        project=project,
        id=run_id,
        name=entry.name,
        group=group,
        job_type="trial" if entry.trial_id else "run",
        tags=entry.tags.get("words", "").split() or None,
        notes=entry.tags.get("note"),
        config={**entry.params, **{f"about.{key}": value for key, value in entry.tags.items()}},
        settings=settings,
        reinit="create_new",
    )
    for epoch in entry.epochs:
        run.log(dict(epoch.figures), step=epoch.number)
    run.summary.update(dict(entry.figures))
    for file in entry.files.values():
        run.save(str(file), base_path=str(folder), policy="end")
    kept = Path(run.dir).parent
    run.finish(exit_code=int(entry.state == "failed"))
    write_text(kept / TOLD, told)
