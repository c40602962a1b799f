"""What a trained network says of images, on this machine or a cluster, going on where it was."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.base.errors import InputError, ReadingError
from orchestrator.base.files import Anywhere, version_of
from orchestrator.data.prepare.chunks import Job
from orchestrator.data.prepare.work_folder import KeptError, Mark, mark_of
from orchestrator.data.store.store import Store
from orchestrator.deploy.processes import Rows, label_here
from orchestrator.deploy.unfinished import Kept
from orchestrator.judging.appearance import NAMES
from orchestrator.training.inference import pick_device
from orchestrator.training.labeller import Seen, Task, piece_rows
from orchestrator.training.model_file import load_model

SECTION = 16
"""Pieces of `piece_rows` images that are kept together."""


@dataclass(frozen=True)
class Predicted:
    """What was made of images, in their order; arrays of n."""

    logit: NDArray[np.float32]
    """0 where an image could not be read."""
    reason: NDArray[np.object_]
    """Why it could not be, else empty."""
    appearance: NDArray[np.float32] | None
    """Shape (n, 3), see `orchestrator.judging.appearance`; None where nobody asked."""

    @property
    def read(self) -> NDArray[np.bool_]:
        """Which images could be read."""
        return np.equal(self.reason, "")

    @property
    def missing(self) -> list[int]:
        """The images that could not be."""
        found: list[int] = np.flatnonzero(~self.read).tolist()
        return found


def task_of(model: Anywhere, store: Store | None = None, *, measured: bool = False) -> Task:
    """Say what is to be done with images.

    Parameters
    ----------
    model
        A trial's ``model.safetensors``.
    store
        The data set that they are in, decoded already.
    measured
        Measure their appearance, too.

    Raises
    ------
    InputError
        No network at `model`, or one that sees faces of another size than those of `store`.
    """
    image_size = load_model(model).image_size  # that it can be read is not a worker's to find out
    if store is not None and store.meta.image_size != image_size:
        raise InputError(
            f"{store.path}: its faces have {store.meta.image_size} pixels a side, and the network "
            f"sees {image_size}; give the images themselves"
        )
    return Task(model, image_size, store, measured)


def mark_for(task: Task, folder: Anywhere, paths: list[str]) -> Mark:
    """Return all that decides the logits, but for the bytes of images that are loose files."""
    parts = [version_of(task.model), pick_device().type]
    parts += [task.store.meta.fingerprint] if task.store else []
    return mark_of(Job(folder, task.image_size, " ".join(parts)), paths)


def predict(
    task: Task,
    paths: list[str],
    *,
    kept: Kept | None = None,
    on_cluster: bool = False,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Predicted:
    """Have a network see images.

    Parameters
    ----------
    task
        What is to be done.
    paths
        The images, as `orchestrator.data.to_label.ToLabel` has them.
    kept
        What is done already, and gets what is done now.
    on_cluster
        By the running Ray session, instead of this machine's processes.
    on_progress
        Told images done so far and in all.

    Raises
    ------
    KeptError
        The place of the images cannot be reached, or a process died.
    InputError
        A shard of the store is damaged.
    """
    total, piece = len(paths), piece_rows(task.image_size)
    logit = np.zeros(total, np.float32)
    reason = np.full(total, "", object)
    measures = np.zeros((total, len(NAMES)), np.float32) if task.measured else None
    sections = range(-(-total // (SECTION * piece)))
    bounds = {s: slice(SECTION * piece * s, SECTION * piece * (s + 1)) for s in sections}
    left = np.array([len(paths[rows]) for rows in bounds.values()])
    for section, rows in bounds.items():
        before = kept.read(section, left[section]) if kept else None
        if before is not None:
            logit[rows], left[section] = before, 0
    todo = [section for section in sections if left[section]]
    done = total - int(left.sum())
    on_progress(done, total)
    for seen in _seen(task, paths, [bounds[s] for s in todo], piece, on_cluster) if todo else ():
        reason[seen.row] = seen.reason
        logit[seen.row] = seen.logit
        if measures is not None:
            measures[seen.row] = seen.appearance
        np.subtract.at(left, seen.row // (SECTION * piece), 1)
        for section in np.unique(seen.row // (SECTION * piece)).tolist():
            if kept and not left[section]:
                kept.write(section, logit[bounds[section]], reason[bounds[section]])
        done += len(seen.row)
        on_progress(done, total)
    return Predicted(np.where(reason == "", logit, np.float32(0)), reason, measures)


def _seen(
    task: Task, paths: list[str], todo: list[slice], piece: int, on_cluster: bool
) -> Iterator[Seen]:
    pieces: list[Rows] = []
    for section in todo:
        for start in range(section.start, min(section.stop, len(paths)), piece):
            some = paths[start : min(start + piece, section.stop)]
            pieces.append((np.arange(start, start + len(some)), some))
    try:
        if on_cluster:
            from orchestrator.distributed.predict import label_on_cluster

            row = np.concatenate([row for row, _ in pieces])
            yield from label_on_cluster(task, row, [path for _, some in pieces for path in some])
        else:
            yield from label_here(task, pieces)
    except ReadingError as error:
        raise KeptError(str(error)) from None
