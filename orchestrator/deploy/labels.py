"""The labels of images as a file: CSV, or Parquet by its suffix."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from orchestrator.base.errors import InputError
from orchestrator.base.files import Anywhere, writing
from orchestrator.data.reading.columnar import PARQUET
from orchestrator.data.to_label import ToLabel
from orchestrator.deploy.predict import Predicted
from orchestrator.judging.fairness import WOMAN
from orchestrator.judging.thresholds import Thresholds

Form = Literal["-1/1", "0/1"]
"""What class 0 and class 1 are written as."""


@dataclass(frozen=True)
class Labels:
    """What images are labelled, and by what."""

    images: ToLabel
    predicted: Predicted
    trial_id: str
    thresholds: Thresholds

    def refuse_unread(self, where: str) -> None:
        """Raise `InputError` where none of the images of `where` could be read."""
        if self.predicted.read.any():
            return
        (name, reason), *others = self.unread()
        raise InputError(
            f"{where}: none of the {1 + len(others):,} images can be read: {name} ({reason})"
            f"{', …' if others else ''}; mend them"
        )

    def unread(self) -> list[tuple[str, str]]:
        """Return the images that could not be read, each with the reason."""
        names = self.images.images["filename"]
        return [(names[row], self.predicted.reason[row]) for row in self.predicted.missing]

    def write(self, out: Anywhere, form: Form, *, proba: bool) -> None:
        """Write the labels, in the order of the images, with what is kept of their table.

        Parameters
        ----------
        out
            ``filename,label`` as CSV; with one of `PARQUET` also probability, logit, trial and
            threshold. It appears whole or not at all. An image that could not be read has no label.
        form
            Of the labels.
        proba
            Add the probability to a CSV, too.
        """
        if out.suffix.lower() in PARQUET:
            with writing(out) as file:
                pq.write_table(self._table(form), file)
            return
        logit, read = self.predicted.logit, self.predicted.read
        columns: dict[str, Any] = {
            "filename": self.images.images["filename"],
            "label": pd.array(self._labels(form), "Int8"),
        }
        if proba:
            columns["probability"] = np.where(read, probabilities(logit), np.nan)
        columns["label"][~read] = pd.NA
        table = pd.concat([pd.DataFrame(columns), self.images.kept], axis="columns")
        # A name that is no UTF-8 is written as the bytes that it has on the disk.
        text: dict[str, Any] = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}
        with writing(out, "w", **text) as file:
            table.to_csv(file, index=False, float_format="%.6f")

    def _labels(self, form: Form) -> NDArray[np.int8]:
        gender = self.images.gender
        if gender is None:
            gender = np.full(len(self.predicted.logit), WOMAN)
        label = self.thresholds.labels(self.predicted.logit, gender)
        return label if form == "0/1" else 2 * label - 1

    def _table(self, form: Form) -> pa.Table:
        names = [_written(name) for name in self.images.images["filename"]]
        unread, gender = ~self.predicted.read, self.images.gender
        women = np.ones(len(names), np.bool_) if gender is None else gender == WOMAN
        columns: dict[str, Any] = {
            "filename": pa.array(names, pa.string()),
            "label": pa.array(self._labels(form), mask=unread),
            "probability": pa.array(probabilities(self.predicted.logit), mask=unread),
            "logit": pa.array(self.predicted.logit, mask=unread),
            "trial": pa.array([self.trial_id] * len(names), pa.string()),
            "threshold": np.where(women, *self.thresholds),
        }
        kept = self.images.kept
        others = [] if kept is None else [_column(kept.iloc[:, at]) for at in range(kept.shape[1])]
        named = [*columns, *([] if kept is None else kept.columns)]
        return pa.table([*columns.values(), *others], names=named)


def write_unread(unread: Sequence[tuple[str, str]], out: Anywhere) -> None:
    """Write the images that could not be read as CSV, filename and reason."""
    text: dict[str, Any] = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}
    with writing(out, "w", **text) as file:
        pd.DataFrame(unread, columns=["filename", "reason"], dtype=object).to_csv(file, index=False)


def probabilities(logit: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the probabilities of class 1 of some logits, of the same shape."""
    probability: NDArray[np.float64] = np.exp(-np.logaddexp(0, -logit.astype(np.float64)))
    return probability


def _column(values: "pd.Series[Any]") -> pa.Array:
    """Return a column of a table as it was; of several types, as text."""
    try:
        return pa.array(values.tolist())
    except pa.ArrowException:
        return pa.array([None if value is None else str(value) for value in values], pa.string())


def _written(name: str) -> str:
    """Return a name in UTF-8, which Parquet needs; other bytes of a disk's are written out."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
