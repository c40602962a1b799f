"""How fast a trial will train, found out before there is one."""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import torch
from ray.exceptions import RayError

import models
from orchestrator.base.errors import InputError
from orchestrator.config.layers import with_overrides
from orchestrator.config.settings import Config
from orchestrator.data.store.arrays import Arrays
from orchestrator.training.loop import Training, TrainingError

STEPS, SECONDS = 8, 1.0
"""The most steps that are taken, and the time after which no more are begun."""
PATIENCE = 60.0
"""Seconds for a GPU of the cluster to come free."""


def images_per_second(config: Config, image_size: int, each: Mapping[str, float]) -> float | None:
    """Train a few steps on noise, as a trial would; return the images a second.

    Parameters
    ----------
    config
        Of the sweep; what a trial varies may make it faster or slower.
    image_size
        Pixels a side.
    each
        What a trial, or a worker of one, reserves. On CPUs the steps are this process's, which has
        torch in memory.

    Returns
    -------
    float or None
        None: it cannot be told, as of a network whose features are computed once.
    """
    if models.caches_features(config.model):
        return None
    try:
        if "GPU" not in each:
            return _measure(config, image_size, int(each["CPU"]), torch.device("cpu"))
        there: Any = ray.remote(_measure).options(num_cpus=0, num_gpus=each["GPU"])
        measured = there.remote(config, image_size, int(each["CPU"]))
        rate: float = ray.get(measured, timeout=PATIENCE)
        return rate
    except (TrainingError, InputError, RuntimeError, RayError, TimeoutError):
        return None  # the trials will say what is wrong


def _measure(
    config: Config, image_size: int, threads: int, device: torch.device | None = None
) -> float:
    """Return the images a second of the fastest of some steps, but for the first."""
    before, random = torch.get_num_threads(), torch.get_rng_state()
    torch.set_num_threads(threads)
    try:
        size = config.train.batch_size
        steps: dict[str, Any] = {
            "train.epochs": STEPS,
            "train.patience": None,
            "last_layer.held_out": 0.0,
        }
        steps |= {"last_layer.held_out": 0.0, "balance.policy": "none"}
        steps |= {"workers": 1, "min_workers": None}
        training = Training(
            with_overrides(config, steps),
            models.build(config.model, image_size, pretrained=False),
            _noise(size, image_size),
            _noise(4, image_size),
            device,
        )
        begun, rates = time.perf_counter(), []
        for epoch in training:
            rates.append(epoch.images_per_second)
            if time.perf_counter() - begun > SECONDS and len(rates) > 1:
                break
        return max(rates[1:])
    finally:
        torch.set_num_threads(before)
        torch.set_rng_state(random)


def _noise(rows: int, image_size: int) -> Arrays:
    """Make faces of noise, as many women as men."""
    at, shape = np.arange(rows), (rows, image_size, image_size, 3)
    return Arrays(
        images=np.random.default_rng(0).integers(0, 256, shape, np.uint8),
        label=(at // 2 % 2).astype(np.int8),
        gender=np.where(at % 2, 1, -1).astype(np.int8),
        rank=(at // 4).astype(np.int32),
        filename=pa.array([""] * rows, pa.large_string()),
        identity=np.full(rows, -1, np.int32),
        block=np.zeros(rows, np.int32),
    )
