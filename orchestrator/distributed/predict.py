"""Images labelled by all devices of a Ray cluster, streamed through Ray Data."""

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import ray
import ray.data
from numpy.typing import NDArray

from orchestrator.base.errors import InputError, ReadingError
from orchestrator.training.labeller import Decoder, Network, Seen, Task

BATCH, CUDA_BATCH = 256, 1024
"""Images that go from process to process together, and where a GPU predicts them."""


def label_on_cluster(task: Task, row: NDArray[np.int64], paths: list[str]) -> Iterator[Seen]:
    """Label images on all of the cluster's devices.

    Parameters
    ----------
    task
        What is to be done.
    row, paths
        The images: which of all they are, shape (n,), and where.

    Yields
    ------
    Seen
        In the order in which they are done.

    Raises
    ------
    ReadingError
        The place of the images cannot be reached, or a shard of the store is damaged.
    """
    cluster = ray.cluster_resources()
    cpus, gpus = max(1, int(cluster.get("CPU", 1))), int(cluster.get("GPU", 0))
    size = CUDA_BATCH if gpus else BATCH
    table = pd.DataFrame({"row": row, "path": [os.fsencode(path) for path in paths]})
    rows: ray.data.Dataset = ray.data.from_pandas(table)
    rows = rows.repartition(-(-len(table) // size))
    each: Any = {
        "batch_size": size,
        "batch_format": "numpy",
        "fn_constructor_kwargs": {"task": task},
    }
    if gpus:  # a process of its own has one of them, and the CPUs' processes keep it busy
        rows = rows.map_batches(_Decoder, num_cpus=1, concurrency=(1, cpus), **each)
    predicted = rows.map_batches(
        _Predictor,
        num_cpus=0 if gpus else 1,
        num_gpus=1 if gpus else None,
        concurrency=(1, gpus or cpus),
        **each,
    )
    batch: Any
    for batch in predicted.iter_batches(batch_size=None, batch_format="numpy"):
        failures = [failure for failure in batch["failure"] if failure]
        if failures:
            raise ReadingError(failures[0])
        yield Seen(batch["row"], list(batch["reason"]), batch["logit"], batch.get("appearance"))


class _Decoder:
    """A worker that reads images, and decodes them where nobody has."""

    def __init__(self, task: Task) -> None:
        self._task, self._decoder = task, Decoder(task)

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, Any]:
        paths = [os.fsdecode(path) for path in batch.pop("path")]
        side = self._task.image_size
        images = np.zeros((len(paths), side, side, 3), np.uint8)
        reasons, measures, failure = [""] * len(paths), None, ""
        try:
            reasons, measures = self._decoder.decode(paths, images)
        except (ReadingError, InputError) as error:  # for the user to mend, not a worker to die of
            failure = str(error)
            measures = np.zeros((len(paths), 3), np.float32) if self._task.measured else None
        failures = np.full(len(paths), failure, object)
        reason = np.array(reasons, object)
        more = {} if measures is None else {"appearance": measures}
        return {**batch, **more, "image": images, "reason": reason, "failure": failures}


class _Predictor:
    """A worker that holds the network on its device, and decodes where nobody else did."""

    def __init__(self, task: Task) -> None:
        self._decode, self._network = _Decoder(task), Network(task.model)

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, Any]:
        if "image" not in batch:
            batch = self._decode(batch)
        return {**batch, "logit": self._network.logits(batch.pop("image"))}
