"""A trial's checkpoint: all that it needs to end as if it had never been interrupted."""

import io
import time
from typing import Any

import torch
import torch.distributed as dist

from orchestrator.base.errors import InputError
from orchestrator.base.files import Anywhere, one_line, read_bytes, writing
from orchestrator.config.settings import Config
from orchestrator.training.inference import rank_and_world

FILE = "checkpoint.pt"
MAY_CHANGE: dict[str, Any] = {
    **dict.fromkeys(("workers", "min_workers", "resources", "sweep"), True),
    "data": {"residence"},
    "train": {"checkpoint_seconds", "max_failures"},
}
"""What a training may be gone on with otherwise: the same rows come in the same order however many
workers share them, and wherever they lie."""


class Checkpoints:
    """Writes a trial's checkpoint now and then, and reads it back.

    It is written by the first worker, after an epoch, once ``train.checkpoint_seconds`` have passed
    since the last one: so much, and the epoch that it was in, is the most that a killed trial
    loses. What is drawn in an epoch is a function of the seed and the epoch's number, so neither a
    generator's state nor a position in the data has to be kept.

    Parameters
    ----------
    folder
        The trial's.
    config
        The trial's; a checkpoint of another configuration is not gone on from.
    """

    def __init__(self, folder: Anywhere, config: Config) -> None:
        self._path, self._every = folder / FILE, config.train.checkpoint_seconds
        self._config = config.model_dump_json(exclude=MAY_CHANGE)
        self._written = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """Read the checkpoint, on every worker alike; None where there is none.

        Raises
        ------
        InputError
            It is damaged.
        """
        rank, world = rank_and_world()
        state = self._read() if rank == 0 else None
        if world > 1:  # not read by each: a shared disk may show one an older file than another
            shared = [state]
            dist.broadcast_object_list(shared, src=0)
            state = shared[0]
        return state

    def due(self) -> bool:
        """Tell whether it is time for the next one."""
        return time.monotonic() - self._written >= self._every

    def write(self, state: dict[str, Any]) -> None:
        """Write a checkpoint in the place of the last one."""
        with writing(self._path) as file:
            torch.save({"config": self._config, "state": state}, file)
        self._written = time.monotonic()

    def remove(self) -> None:
        """Take it away: the trial has ended."""
        self._path.unlink(missing_ok=True)

    def _read(self) -> dict[str, Any] | None:
        try:
            content = io.BytesIO(read_bytes(self._path))  # that a disk fails of this is no damage
        except FileNotFoundError:
            return None
        try:
            saved = torch.load(content, map_location="cpu", weights_only=True)
            return dict(saved["state"]) if saved["config"] == self._config else None
        except Exception as error:  # a damaged file raises whatever its reader stumbled over
            raise InputError(
                f"{self._path}: damaged ({one_line(error)[:80]}); remove it to begin the trial anew"
            ) from None
