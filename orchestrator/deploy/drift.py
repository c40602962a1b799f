"""Whether images without labels are still of the kind that a network was judged on."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.base.errors import InputError
from orchestrator.data.store.store import Store
from orchestrator.data.store.streaming import stream
from orchestrator.deploy.predict import Predicted
from orchestrator.judging.appearance import NAMES, appearance
from orchestrator.judging.drift import Moved, moved
from orchestrator.judging.intervals import wilson
from orchestrator.judging.thresholds import Thresholds
from orchestrator.run.directory import Run

FEWEST = 100
"""Images of which a distribution says something."""
MEASURED = 10_000
"""Faces of the run whose appearance is measured, at most."""
WORDS = {"val": "validation", "test": "test"}


@dataclass(frozen=True)
class Drift:
    """New images against faces of the run."""

    numbers: dict[str, Moved]
    """The logit and, where the run's faces are at hand, `NAMES`."""
    split: str
    """Which faces of the run: ``val``; of an ensemble, which was trained on these, ``test``."""
    positives: dict[str, Any]
    """The share of label 1: of `split`, and ``new`` with its interval."""
    images: int
    """That could be read."""

    @property
    def drifted(self) -> list[str]:
        """The numbers that did."""
        return [name for name, of in self.numbers.items() if of.drifted(len(self.numbers))]

    def sentence(self) -> str:
        """Say it all in one."""
        new, (low, high) = self.positives["new"], self.positives["new_ci95"]
        rate = (
            f"{new:.1%} of {self.images:,} images are labelled 1 ({low:.1%} to {high:.1%}), of "
            f"{WORDS[self.split]} {self.positives[self.split]:.1%}"
        )
        if not self.drifted:
            return f"No drift: {rate}."
        told = ", ".join(
            f"{name} {of.before:.3g} to {of.now:.3g} on average, stability index {of.psi:.2f}"
            for name, of in self.numbers.items()
            if name in self.drifted
        )
        return f"Drift: {told}; {rate}."

    def as_json(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        numbers = {
            name: asdict(of) | {"drifted": name in self.drifted}
            for name, of in self.numbers.items()
        }
        return {
            "drift": bool(self.drifted),
            "images": self.images,
            "positives": self.positives,
            "numbers": numbers,
            "sentence": self.sentence(),
        }


def drift(
    run: Run, trial_id: str, predicted: Predicted, thresholds: Thresholds, store: Store | None
) -> Drift:
    """Compare what a trial made of new images with what it made of faces it was not trained on.

    Parameters
    ----------
    run, trial_id
        The run and a complete trial of it.
    predicted
        Of the new images.
    thresholds
        One for all.
    store
        The data set of the run; None: it is not at hand, and appearance is not compared.

    Raises
    ------
    InputError
        Fewer than `FEWEST` images could be read.
    """
    read = predicted.read
    images = int(read.sum())
    if images < FEWEST:
        raise InputError(
            f"--images: {images} images could be read, and of fewer than {FEWEST} a distribution "
            "says nothing; give more"
        )
    trial = run.trial(trial_id)
    split = "test" if trial.result.members else "val"
    known = trial.predicted()[split].logit
    new = predicted.logit[read]
    numbers = {"logit": moved(known, new)}
    if store is not None and predicted.appearance is not None:
        there = _appearance(store, split)
        here = predicted.appearance[read]
        numbers |= {name: moved(there[:, at], here[:, at]) for at, name in enumerate(NAMES)}
    rates = [wilson((thresholds.labels(of, of) == 1).sum(), of.size) for of in (known, new)]
    low, high = float(rates[1].low), float(rates[1].high)
    positives = {
        split: float(rates[0].value),
        "new": float(rates[1].value),
        "new_ci95": [low, high],
        "threshold": thresholds.women,
    }
    return Drift(numbers, split, positives, images)


def _appearance(store: Store, split: str) -> NDArray[np.float32]:
    """Measure the faces of a split, shape (n, 3), as they lie in the data set."""
    faces = stream(store, split)
    rows = np.arange(len(faces))
    if len(rows) > MEASURED:
        rows = np.sort(np.random.default_rng(0).choice(rows, MEASURED, replace=False))
    windows = faces.images.windows(rows)  # type: ignore[union-attr]  # not in memory
    return np.concatenate([appearance(window) for window in windows])
