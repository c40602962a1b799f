"""A network behind Ray Serve: replicas on the devices of a cluster, which see batches."""

import asyncio
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import ray
import torch
from numpy.typing import NDArray
from ray import serve
from ray.serve.config import ProxyLocation
from ray.serve.handle import DeploymentHandle

from orchestrator.base.errors import InputError
from orchestrator.base.files import Anywhere, one_line, parse_uri
from orchestrator.training.labeller import Network

EACH = 4
"""Calls that are under way for each replica, so that none waits for the next one to reach it."""


class RayEngine:
    """What the server knows of the replicas.

    A call costs about as much of a core as the CNN takes to see a picture: the server sends what
    waits as one call, and a replica joins those that wait for it.
    """

    def __init__(self, handle: "DeploymentHandle[Any]", replicas: int) -> None:
        self._handle, self.places = handle, EACH * replicas

    async def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the logits of a batch, shape (n, H, W, 3)."""
        made: NDArray[np.float32] = await self._handle.logits.remote(images)
        return made


class _Replica:
    """A network on one device, a GPU where the cluster has some."""

    def __init__(self, model: str, threads: int) -> None:
        torch.set_num_threads(threads)
        self._network = Network(parse_uri(model))

    @serve.batch(max_batch_size=EACH, batch_wait_timeout_s=0)
    async def logits(self, calls: list[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        """Return the logits of each call; its loop goes on to answer Serve's questions."""
        made = await asyncio.to_thread(self._network.logits, np.concatenate(calls))
        return np.split(made, np.cumsum([len(call) for call in calls[:-1]]))


@contextmanager
def replicas_of(model: Anywhere, count: int) -> Iterator[RayEngine]:
    """Have replicas of a network on the running Ray session, for the length of a ``with`` block.

    Parameters
    ----------
    model
        A trial's ``model.safetensors``, where all nodes reach it.
    count
        How many replicas; each takes a GPU, or where there is none, a CPU.

    Raises
    ------
    InputError
        There is no place for them, or they cannot begin.
    """
    device = "GPU" if ray.cluster_resources().get("GPU", 0) >= 1 else "CPU"
    there = int(ray.cluster_resources().get(device, 0))
    if count > there:
        raise InputError(f"--replicas {count}: each takes a {device}, and there are {there}")
    resources = {"num_cpus": 1, "num_gpus": int(device == "GPU")}
    deployment: Any = serve.deployment(
        _Replica,
        num_replicas=count,
        ray_actor_options=resources,
        max_ongoing_requests=2 * EACH,
    )
    name = f"fairfront-{uuid.uuid4().hex[:12]}"
    # The server is in front of them: neither Serve's proxies nor their ports are needed.
    serve.start(proxy_location=ProxyLocation.Disabled)
    try:
        try:
            handle = serve.run(deployment.bind(str(model), 1), name=name, route_prefix=None)
        except RuntimeError as error:
            raise InputError(f"{model}: no replica began ({one_line(error)})") from None
        yield RayEngine(handle, count)
    finally:
        serve.delete(name)
        if not serve.status().applications:  # of others who use this cluster's Serve
            serve.shutdown()
