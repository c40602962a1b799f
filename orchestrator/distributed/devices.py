"""What the cluster's nodes have to train on, and how processes divide it."""

from collections.abc import Sequence
from typing import NamedTuple

import ray
import torch

import models
from orchestrator.base.errors import InputError
from orchestrator.config.settings import Config
from orchestrator.training.loop import norms_apart


class Node(NamedTuple):
    """A node of the cluster."""

    cpus: int
    gpus: int


def nodes() -> list[Node]:
    """Return the nodes of the cluster that are alive."""
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [Node(int(node.get("CPU", 0)), int(node.get("GPU", 0))) for node in alive]


def largest_share(nodes: Sequence[Node], processes: int) -> dict[str, float]:
    """Return the largest equal share with which processes run at once, none across two nodes.

    Where there are GPUs, only their nodes count, and several processes may share a GPU.

    Parameters
    ----------
    nodes
        Of the cluster.
    processes
        How many are to run at once; if even the smallest share is too large, fewer do.

    Returns
    -------
    dict
        ``CPU``, at least 1, and ``GPU`` where there are some: what Ray is to reserve for each.
    """
    with_gpus = [node for node in nodes if node.gpus]
    if not with_gpus:
        return {"CPU": _largest(nodes, [node.cpus for node in nodes], processes)}
    each = -(-processes // sum(node.gpus for node in with_gpus))
    room = [node.gpus * each for node in with_gpus]
    return {"CPU": _largest(with_gpus, room, processes), "GPU": 1 / each}


def _largest(nodes: Sequence[Node], room: Sequence[int], processes: int) -> int:
    """Return how many CPUs each process can have, where a node has room for some."""
    for cpus in range(max((node.cpus for node in nodes), default=1), 1, -1):
        fit = (min(node.cpus // cpus, most) for node, most in zip(nodes, room, strict=True))
        if sum(fit) >= processes:
            return cpus
    return 1


def keep_to_share() -> None:
    """Have a process that has a part of a GPU take no more of its memory than that part.

    Else one trial's hunger would be told as another's, whose allocation happened to fail.
    """
    share = ray.get_runtime_context().get_assigned_resources().get("GPU", 0)
    if torch.cuda.is_available() and 0 < share < 1:
        torch.cuda.set_per_process_memory_fraction(share)


def check_workers(config: Config, image_size: int) -> None:
    """Raise `InputError` when the cluster's devices cannot train a network on so many workers.

    Because they are too few, and Ray would wait for more for ever; or because the network has batch
    norm, which several CPUs do not share.
    """
    there = nodes()
    gpus = sum(node.gpus for node in there)
    most = gpus or sum(node.cpus for node in there)
    if config.workers > 1 and not gpus:
        network = models.build(config.model, image_size, pretrained=False)
        if models.normalises_over_batch(network):
            raise InputError(norms_apart(config.workers))
    fewest = config.min_workers or config.workers
    if fewest > most:
        asked = config.workers if config.min_workers is None else f"{fewest}-{config.workers}"
        raise InputError(f"--workers {asked}: the cluster has {most} devices; give that or fewer")
