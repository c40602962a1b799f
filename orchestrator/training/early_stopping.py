"""What an epoch came to, and when to stop."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from orchestrator.config.settings import Monitor, TrainConfig
from orchestrator.judging.fairness import Accuracies, with_worst_gender


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochMetrics(Accuracies):
    """A row of ``metrics.csv``; the accuracies are on validation data at threshold 0.5."""

    epoch: int
    """From 1."""
    lr: float
    """As the epoch ended."""
    train_loss: float
    """The weighted loss that was minimised, a mean over the epoch's draw."""
    val_loss: float
    """The unweighted loss, a mean over the rows that the balance policy draws from val."""
    seconds: float
    """Training and validation."""
    images_per_second: float
    """Training images over the seconds of training alone, all workers together."""

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "EpochMetrics":
        """Take an epoch from what was written of it."""
        return cls(**{**with_worst_gender(row), "epoch": int(row["epoch"])})

    def as_row(self) -> dict[str, Any]:
        """Return it as it is written, the epoch first."""
        return {"epoch": self.epoch, **asdict(self)}


class EarlyStopping:
    """Keras's ``EarlyStopping`` without a minimum change: which epoch is best, and when to stop.

    Parameters
    ----------
    monitor
        A field of `EpochMetrics`; ``val_loss`` is minimised, the others are maximised.
    patience
        Epochs in a row without improvement before it says stop; None: never.
    """

    def __init__(self, monitor: Monitor, patience: int | None) -> None:
        self._monitor: Monitor = monitor
        self._patience = patience
        self._best = math.inf
        self._wait = 0

    def improved(self, metrics: EpochMetrics) -> bool:
        """Take an epoch in and tell whether it is the best so far."""
        value: float = getattr(metrics, self._monitor)
        value = value if self._monitor == "val_loss" else -value
        if value < self._best:
            self._best, self._wait = value, 0
            return True
        self._wait += 1
        return False

    @property
    def should_stop(self) -> bool:
        """Whether patience has run out."""
        return self._patience is not None and self._wait >= self._patience

    def state_dict(self) -> dict[str, float]:
        """Return what the next epochs are judged by."""
        return {"best": self._best, "wait": self._wait}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Go on from where `state_dict` was taken."""
        self._best, self._wait = state["best"], int(state["wait"])


def kept_so_far(table: pd.DataFrame, config: TrainConfig) -> Iterator[tuple[int, EpochMetrics]]:
    """Give each epoch with the one kept by its end, as `orchestrator.training.loop` keeps it.

    Parameters
    ----------
    table
        A trial's ``metrics.csv``.
    config
        The trial's.

    Yields
    ------
    The epoch, from 1, and the metrics of the kept one. A retrained last layer is no epoch.
    """
    stopping = EarlyStopping(config.monitor, config.patience)
    kept: EpochMetrics | None = None
    for row in table.to_dict("records"):
        metrics = EpochMetrics.of({str(name): value for name, value in row.items()})
        if metrics.epoch > config.epochs:
            return
        if stopping.improved(metrics) or config.keep == "last":
            kept = metrics
        if kept:
            yield metrics.epoch, kept
