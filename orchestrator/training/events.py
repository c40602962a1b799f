"""TensorBoard's events of a trial: its settings for the tab HParams, and its curves."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from tensorboardX import SummaryWriter
from tensorboardX.summary import hparams

from orchestrator.training.early_stopping import EpochMetrics

KEPT = ("fair", "acc_women", "acc_men", "gap")
"""What of the epoch kept so far has a curve of its own, whose end the tab HParams shows."""


class Events:
    """Writes the events of a trial; the settings first, without which the tab shows nothing.

    Parameters
    ----------
    folder
        Of the trial, on this machine.
    recipe, params
        Its settings.
    epochs
        Those that there are already. What was written of others, which were lost with a killed
        process, is shown no more.
    """

    def __init__(
        self, folder: Path, recipe: str, params: Mapping[str, Any], epochs: int = 0
    ) -> None:
        self._writer = SummaryWriter(str(folder), purge_step=epochs + 1)
        settings = {"recipe": recipe, **{name: _setting(value) for name, value in params.items()}}
        # TensorBoard finds the metrics by itself: all that have a curve.
        _, start, _ = hparams(settings, {})
        self._writer.file_writer.add_summary(start)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._writer.close()

    def add(self, metrics: EpochMetrics, kept: EpochMetrics | None) -> None:
        """Take an epoch in, and which one is kept by then."""
        row = metrics.as_row()
        for name, value in row.items():
            if name != "epoch":
                self._writer.add_scalar(name, value, metrics.epoch)
        if kept is not None:
            best = kept.as_row()
            for name in KEPT:
                self._writer.add_scalar(f"kept/{name}", best[name], metrics.epoch)
        self._writer.flush()


def _setting(value: Any) -> bool | float | str:
    """Return a value as the tab knows values."""
    return value if isinstance(value, bool | int | float | str) else json.dumps(value)
