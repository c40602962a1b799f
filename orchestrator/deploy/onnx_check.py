"""An ONNX file held against torch and the run that it is of; one in 8 bits, and what that costs."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quant_pre_process,
    quantize_static,
)
from torch import nn

from orchestrator.data.store.store import Store
from orchestrator.data.store.streaming import stream
from orchestrator.deploy.shipped import INPUT
from orchestrator.judging.fairness import GroupMetrics, group_metrics, predict_labels
from orchestrator.run.trial import PredictedRows

FACES = 2000
"""Test faces, at most, that a file is held against."""
CALIBRATION = 256
"""Validation faces, at most, that give the ranges of 8 bits."""
BATCH = 64


@dataclass(frozen=True)
class Agreement:
    """What a file makes of test faces, and what else was made of the same."""

    faces: int
    largest_difference: float
    """Between its probabilities and torch's in float32."""
    labels_changed: int
    """From the run's, which may have computed in bf16."""
    run: GroupMetrics
    file: GroupMetrics


class Faces(CalibrationDataReader):  # type: ignore[misc]
    """The first faces of a split, in the order of the store, some at a time.

    Parameters
    ----------
    store
        The data set.
    split
        val or test.
    count
        How many, at most.
    """

    def __init__(self, store: Store, split: str, count: int) -> None:
        arrays = stream(store, split)
        self.filename = arrays.filename[:count]
        self._batches = self._read(arrays.images)

    def _read(self, images: Any) -> Iterator[NDArray[np.uint8]]:
        for rows in np.array_split(np.arange(len(self.filename)), -(-len(self.filename) // BATCH)):
            yield images.read(rows)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """Return what onnxruntime is to be fed next, shape (m, H, W, 3); None: that was all."""
        images = next(self._batches, None)
        return None if images is None else {INPUT: images}


@torch.inference_mode()
def compare(
    file: Path, network: nn.Module, store: Store, of_run: PredictedRows, threshold: float
) -> Agreement:
    """Run an ONNX file on test faces, and compare.

    Parameters
    ----------
    file, network
        The network in ONNX, and in torch.
    store
        The run's data set.
    of_run
        The run's predictions of its test split.
    threshold
        A probability above it means class 1.
    """
    faces = Faces(store, "test", FACES)
    row = {name: number for number, name in enumerate(of_run.filename)}
    rows = np.array([row[name] for name in faces.filename.to_pylist()])
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    made, difference = [], 0.0
    for feed in iter(faces.get_next, None):
        made.append(session.run(None, feed)[0])
        expected = network(torch.from_numpy(feed[INPUT])).numpy()
        difference = max(difference, float(np.abs(made[-1] - expected).max()))
    label, gender = of_run.label[rows], of_run.gender[rows]
    before = predict_labels(of_run.logit[rows], threshold)
    after = (np.concatenate(made) > threshold).astype(np.int8)
    return Agreement(
        faces=len(rows),
        largest_difference=difference,
        labels_changed=int((before != after).sum()),
        run=group_metrics(label, before, gender),
        file=group_metrics(label, after, gender),
    )


def quantise(file: Path, out: Path, store: Store) -> None:
    """Write an ONNX file whose layers compute in 8 bits, by ranges seen on validation faces."""
    prepared = out.with_suffix(".prepared")
    quant_pre_process(file, prepared, skip_symbolic_shape=True)
    quantize_static(
        prepared,
        out,
        Faces(store, "val", CALIBRATION),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["Conv", "Gemm", "MatMul"],
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    prepared.unlink()
