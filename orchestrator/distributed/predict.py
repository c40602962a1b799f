"""Predict with a trained network, streamed through Ray Data."""

import os
from typing import Any

import numpy as np
import pandas as pd
import ray
import ray.data
import torch
from numpy.typing import NDArray

from orchestrator.base.errors import InputError
from orchestrator.base.files import Anywhere, parse_uri, writing
from orchestrator.data.reading.decode import decode_into
from orchestrator.data.reading.image_bytes import ReadingError, read_many
from orchestrator.data.store.store import Store
from orchestrator.data.to_label import read_faces
from orchestrator.judging.fairness import predict_labels
from orchestrator.training.images import held_for
from orchestrator.training.inference import pick_device, predict_logits, uses_bf16
from orchestrator.training.trial import load_model

BATCH, CUDA_BATCH = 256, 1024
"""Images that go from process to process together, and where a GPU predicts them."""


def predict(
    model: Anywhere, images: pd.DataFrame, threshold: float = 0.5, store: Store | None = None
) -> pd.DataFrame:
    """Predict every image with the network at `model`, on all of the cluster's devices.

    Parameters
    ----------
    model
        A trial's ``model.safetensors``.
    images
        Columns filename and path, as `ToLabel` has them.
    threshold
        A probability above it means class 1.
    store
        The data set that they are in, decoded already.

    Returns
    -------
    pandas.DataFrame
        In the order of `images`: filename, label (1 or -1, 0 where unread), probability (float32),
        and reason (why an image could not be read, else empty).

    Raises
    ------
    InputError
        No network at `model`, one that sees faces of another size than those of `store`, or the
        place of the images cannot be reached.
    """
    cluster = ray.cluster_resources()
    cpus, gpus = max(1, int(cluster.get("CPU", 1))), int(cluster.get("GPU", 0))
    trained = load_model(model)  # one that cannot be read is the user's to mend, not a worker's
    if store is not None and store.meta.image_size != trained.image_size:
        raise InputError(
            f"{store.path}: its faces have {store.meta.image_size} pixels a side, and the network "
            f"sees {trained.image_size}; give the images themselves"
        )
    size = CUDA_BATCH if gpus else BATCH
    paths = [os.fsencode(path) for path in images["path"]]
    table = pd.DataFrame({"row": np.arange(len(images)), "path": paths})
    rows: ray.data.Dataset = ray.data.from_pandas(table)
    rows = rows.repartition(-(-len(images) // size))
    each: Any = {"batch_size": size, "batch_format": "numpy"}
    if gpus:  # a process of its own has one of them, and the CPUs' processes keep it busy
        made: Any = {"fn_constructor_kwargs": {"size": trained.image_size, "store": store}}
        rows = rows.map_batches(_Decoder, num_cpus=1, concurrency=(1, cpus), **made, **each)
    predicted = rows.map_batches(
        _Predictor,
        fn_constructor_kwargs={"model": str(model), "store": store},
        num_cpus=0 if gpus else 1,
        num_gpus=1 if gpus else None,
        concurrency=(1, gpus or cpus),
        **each,
    )
    result = predicted.to_pandas().sort_values("row", ignore_index=True)
    failures = result["failure"][result["failure"] != ""]
    if len(failures):
        raise InputError(f"{failures.iloc[0]}; mend that and run the same command again")
    label = np.where(predict_labels(result["logit"].to_numpy(), threshold) == 1, 1, -1)
    read = result["reason"] == ""
    return pd.DataFrame(
        {
            "filename": images["filename"].reset_index(drop=True),
            "label": np.where(read, label, 0).astype(np.int8),
            "probability": 1 / (1 + np.exp(-result["logit"].astype(np.float64))),
            "reason": result["reason"],
        }
    )


def refuse_unread(predicted: pd.DataFrame, where: str) -> None:
    """Raise `InputError` where none of the images of `where` could be read."""
    if (predicted["reason"] == "").any():
        return
    first = predicted.iloc[0]
    raise InputError(
        f"{where}: none of the {len(predicted):,} images can be read: {first['filename']} "
        f"({first['reason']}){', …' if len(predicted) > 1 else ''}; mend them"
    )


def write_predictions(
    predicted: pd.DataFrame, out: Anywhere, *, proba: bool, kept: pd.DataFrame | None = None
) -> int:
    """Write ``filename,label[,probability]`` for the images that could be read, and what is kept.

    The others go to a file beside it, ``<name>.dropped.csv`` (filename, reason).

    Returns
    -------
    int
        How many could not be read.
    """
    columns = ["filename", "label"] + ["probability"] * proba
    labels = pd.concat([predicted[columns], kept], axis="columns")
    dropped = predicted[predicted["reason"] != ""]
    # A name that is no UTF-8 is written as the bytes that it has on the disk.
    text: dict[str, Any] = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}
    with writing(out, "w", **text) as file:
        labels[predicted["reason"] == ""].to_csv(file, index=False, float_format="%.6f")
    if len(dropped):
        with writing(out.with_suffix(".dropped.csv"), "w", **text) as file:
            dropped[["filename", "reason"]].to_csv(file, index=False)
    return len(dropped)


class _Decoder:
    """A worker of `predict`: reads images, and decodes them where nobody has."""

    def __init__(self, size: int, store: Store | None) -> None:
        torch.set_num_threads(1)
        self._size, self._store = size, store

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, Any]:
        paths = [os.fsdecode(path) for path in batch.pop("path")]
        images = np.zeros((len(paths), self._size, self._size, 3), np.uint8)
        reasons, failure = [""] * len(paths), ""
        try:
            if self._store is not None:
                images = read_faces(self._store, paths)
            else:
                decoded = zip(images, read_many(paths), strict=True)
                reasons = [decode_into(*pair) or "" for pair in decoded]
        except (ReadingError, InputError) as error:  # for the user to mend, not a worker to die of
            failure = str(error)
        failures = np.full(len(paths), failure, object)
        reason = np.array(reasons, object)
        return {**batch, "image": images, "reason": reason, "failure": failures}


class _Predictor:
    """A worker of `predict`: holds the network on its device, and decodes where nobody else did."""

    def __init__(self, model: str, store: Store | None) -> None:
        trained = load_model(parse_uri(model))
        self._decode = _Decoder(trained.image_size, store)
        self._device = pick_device()
        self._network = trained.network.to(self._device)
        self._autocast = uses_bf16(trained.precision, self._device)

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, Any]:
        if "image" not in batch:
            batch = self._decode(batch)
        images = held_for(batch.pop("image"), self._device)
        rows = len(batch["row"])
        return {**batch, "logit": predict_logits(self._network, images, rows, self._autocast)}
