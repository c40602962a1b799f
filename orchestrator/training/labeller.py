"""What each process does that has images labelled: it decodes them, and perhaps runs the network.

`begin` says once what a process is to do, and `look` does it for some images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from orchestrator.base.files import Anywhere
from orchestrator.data.reading.decode import decode_into
from orchestrator.data.reading.prefetch import read_ahead
from orchestrator.data.store.store import Store
from orchestrator.data.to_label import read_faces
from orchestrator.judging.appearance import appearance
from orchestrator.training.images import held_for
from orchestrator.training.inference import pick_device, predict_logits, uses_bf16
from orchestrator.training.model_file import load_model

READ_TOGETHER = 64
"""Files read ahead while as many are decoded."""
PIECE_ROWS, PIECE_BYTES = 256, 5 * 2**20
"""Images that are decoded, and seen by the network, together; and the most bytes of them."""


def piece_rows(image_size: int) -> int:
    """Return how many images of so many pixels a side a process has in memory at a time."""
    return max(1, min(PIECE_ROWS, PIECE_BYTES // (3 * image_size**2)))


@dataclass(frozen=True)
class Seen:
    """What was made of some images; arrays of n."""

    row: NDArray[np.int64]
    """Which of all images they are."""
    reason: Sequence[str]
    """Why an image could not be read, else empty; nothing else of such a row means anything."""
    logit: NDArray[np.float32] | None
    """None: the pixels are at hand, for another process's network."""
    appearance: NDArray[np.float32] | None
    """Shape (n, 3), where that was asked for; see `orchestrator.judging.appearance`."""


@dataclass(frozen=True)
class Task:
    """What a process is to do with images."""

    model: Anywhere
    """A trial's ``model.safetensors``."""
    image_size: int
    """Pixels a side that it sees."""
    store: Store | None
    """The data set that the images are in, decoded already."""
    measured: bool
    """Whether their appearance is measured."""
    shared: Any = None
    """Memory for pixels, as `multiprocessing.RawArray` gives it, of pieces of `piece_rows`; None:
    the process runs the network itself."""
    threads: int = 1


class Decoder:
    """Reads images, and decodes them where nobody has.

    Parameters
    ----------
    task
        What to do.
    """

    def __init__(self, task: Task) -> None:
        torch.set_num_threads(task.threads)
        self._task = task

    def decode(
        self, paths: list[str], images: NDArray[np.uint8]
    ) -> tuple[list[str], NDArray[np.float32] | None]:
        """Fill `images`, shape (n, H, W, 3); return why any could not be read, and the appearance.

        Raises
        ------
        InputError
            A shard of the store is damaged.
        ReadingError
            The place of the images failed.
        """
        if self._task.store is not None:
            images[:] = read_faces(self._task.store, paths)
            reason = [""] * len(paths)
        else:
            together = (
                paths[at : at + READ_TOGETHER] for at in range(0, len(paths), READ_TOGETHER)
            )
            files = read_ahead(together)
            reason = [decode_into(*pair) or "" for pair in zip(images, files, strict=True)]
        return reason, appearance(images) if self._task.measured else None


class Network:
    """A trial's network on this process's device."""

    def __init__(self, model: Anywhere) -> None:
        trained = load_model(model)
        self.device = pick_device()
        self.network = trained.network.to(self.device)
        self.autocast = uses_bf16(trained.precision, self.device)

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the logits of images, shape (n, H, W, 3)."""
        held = held_for(images, self.device)
        return predict_logits(self.network, held, len(images), self.autocast)


class Labeller:
    """A process of `orchestrator.deploy.processes`, between `begin` and its end."""

    def __init__(self, task: Task) -> None:
        self._task, self._decoder = task, Decoder(task)
        self._network: Network | None = None
        side = task.image_size
        shape = (-1, piece_rows(side), side, side, 3)
        if task.shared is None:
            self._slots = np.empty((1, *shape[1:]), np.uint8)
        else:
            self._slots = np.frombuffer(task.shared, np.uint8).reshape(shape)

    def look(self, row: NDArray[np.int64], paths: list[str], slot: int) -> Seen:
        """Decode a piece into a slot, and run the network unless the slots are another's too."""
        images = self._slots[slot][: len(paths)]
        reason, measures = self._decoder.decode(paths, images)
        logit = None
        if self._task.shared is None:
            self._network = self._network or Network(self._task.model)
            logit = self._network.logits(images)
        return Seen(row, reason, logit, measures)


_here: Labeller | None = None


def begin(task: Task) -> None:
    """Make this process one that does `look`."""
    global _here  # noqa: PLW0603  # a pool's processes have no other place for what they keep
    _here = Labeller(task)


def look(row: NDArray[np.int64], paths: list[str], slot: int) -> Seen:
    """Do a piece of the task, in a process that has begun it."""
    if _here is None:
        raise RuntimeError("`begin` comes first")
    return _here.look(row, paths, slot)
