"""What the cluster's nodes have to train on, and how processes divide it."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import ray
import torch

import models
from orchestrator.base.errors import InputError
from orchestrator.config.settings import Config, ResourcesConfig
from orchestrator.distributed.ray_session import await_place
from orchestrator.training.loop import norms_apart

TYPE = "accelerator_type:"
"""What Ray's resources that stand for a type of accelerator begin with."""
ANY = ResourcesConfig()
"""Nothing asked for: what there is."""


class Node(NamedTuple):
    """A node of the cluster."""

    cpus: int
    gpus: int
    id: str = ""
    shared_memory: float = 0.0
    """Bytes for objects."""
    accelerators: frozenset[str] = frozenset()
    """Their types, by Ray's names."""


def nodes() -> list[Node]:
    """Return the nodes of the cluster that are alive."""
    return [_node(node["NodeID"], node["Resources"]) for node in ray.nodes() if node["Alive"]]


def _node(name: str, has: Mapping[str, float]) -> Node:
    types = (key.removeprefix(TYPE) for key in has if key.startswith(TYPE))
    return Node(
        cpus=int(has.get("CPU", 0)),
        gpus=int(has.get("GPU", 0)),
        id=name,
        shared_memory=float(has.get("object_store_memory", 0)),
        accelerators=frozenset(types),
    )


def training_nodes(nodes: Sequence[Node], wanted: ResourcesConfig = ANY) -> list[Node]:
    """Return the nodes that trials run on; none: they are still to come.

    Where there are GPUs, only their nodes train, unless CPUs are asked for.
    """
    kind = wanted.accelerator_type
    fit = [node for node in nodes if kind is None or kind in node.accelerators]
    with_gpus = [node for node in fit if node.gpus]
    if wanted.gpus or (wanted.gpus is None and with_gpus):
        return with_gpus
    return [node._replace(gpus=0) for node in fit if node.cpus]


def share(nodes: Sequence[Node], wanted: ResourcesConfig, processes: int) -> dict[str, float]:
    """Return what Ray is to reserve for each of some processes, as a placement group's bundle.

    It is what is asked for, and else the largest share with which all of them run at once.
    """
    there = training_nodes(nodes, wanted)
    each = largest_share(there, processes)
    if wanted.gpus:
        parts = (int(node.cpus * wanted.gpus / node.gpus) for node in there)
        each = {"CPU": max(1, min(parts, default=1)), "GPU": wanted.gpus}
    if wanted.cpus:
        each["CPU"] = wanted.cpus
    if wanted.accelerator_type:
        each[TYPE + wanted.accelerator_type] = 0.001  # as Ray writes it
    return each


def room(nodes: Sequence[Node], wanted: ResourcesConfig, each: Mapping[str, float]) -> int:
    """Count the processes, each with what `share` returned, that fit on nodes that are idle."""
    fit = 0
    for node in training_nodes(nodes, wanted):
        of_cpus = int(node.cpus // each["CPU"])
        # No process has parts of two GPUs.
        of_gpus = node.gpus * int(1 / each["GPU"] + 1e-9) if "GPU" in each else of_cpus
        fit += min(of_cpus, of_gpus)
    return fit


def in_words(each: Mapping[str, float]) -> str:
    """Say what a process reserves, as "1 GPU and 8 CPUs"."""
    parts = [
        f"{each[name]:.3g} {name}{'s' * (each[name] != 1)}"
        for name in ("GPU", "CPU")
        if name in each
    ]
    types = [key.removeprefix(TYPE) for key in each if key.startswith(TYPE)]
    return " and ".join(parts) + "".join(f" of type {name}" for name in types)


def largest_share(nodes: Sequence[Node], processes: int) -> dict[str, float]:
    """Return the largest equal share with which processes run at once, none across two nodes.

    Several processes may share a GPU.

    Parameters
    ----------
    nodes
        Of the cluster; `training_nodes` of them count.
    processes
        How many are to run at once; if even the smallest share is too large, fewer do.

    Returns
    -------
    dict
        ``CPU``, at least 1, and ``GPU`` where there are some: what Ray is to reserve for each.
    """
    there = training_nodes(nodes)
    gpus = sum(node.gpus for node in there)
    if not gpus:
        return {"CPU": _largest(there, [node.cpus for node in there], processes)}
    each = -(-processes // gpus)
    return {
        "CPU": _largest(there, [node.gpus * each for node in there], processes),
        "GPU": 1 / each,
    }


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


def may_grow() -> bool:
    """Tell whether nodes may join: the cluster was joined, not started by this command alone."""
    return bool(os.environ.get("RAY_ADDRESS"))


def await_node(wanted: ResourcesConfig, say: Callable[[str], None]) -> None:
    """Wait until the cluster has a node that a process may run on, where one is asked for.

    Ray's autoscaler brings it, if the cluster has one: that it is waited for is what it goes by.

    Raises
    ------
    InputError
        There is no such node, and none can join.
    """
    each = share([], wanted, 1)
    there = nodes()
    if not wanted.asked or room(there, wanted, each):
        return
    if not may_grow():
        raise InputError(
            f"resources: a trial asks for {in_words(each)}, which this machine has not; ask for "
            "less, or join a cluster with RAY_ADDRESS"
        )
    where = f"none of the cluster's {len(there)} is one; Ctrl-C ends the waiting"
    await_place(
        lambda: say(f"waiting for a node with {in_words(each)}: {where}"),
        0.0,
        num_cpus=each["CPU"],
        num_gpus=wanted.gpus,
        accelerator_type=wanted.accelerator_type,
    )


def check_workers(config: Config, image_size: int, say: Callable[[str], None]) -> None:
    """Raise `InputError` when the cluster's devices cannot train a network on so many workers.

    Because they are too few, and Ray would wait for more for ever; or because the network has batch
    norm, which several CPUs do not share. Where nodes with what is asked for may join, it waits for
    the first, and Ray for the others.
    """
    wanted = config.resources
    await_node(wanted, say)
    there = training_nodes(nodes(), wanted)
    gpus = sum(node.gpus for node in there)
    if config.workers > 1 and not gpus:
        network = models.build(config.model, image_size, pretrained=False)
        if models.normalises_over_batch(network):
            raise InputError(norms_apart(config.workers))
    if wanted.asked and may_grow():
        return
    most = room(there, wanted, {"CPU": wanted.cpus or 1} | ({"GPU": 1} if gpus else {}))
    fewest = config.min_workers or config.workers
    if fewest > most and config.workers > 1:
        asked = config.workers if config.min_workers is None else f"{fewest}-{config.workers}"
        raise InputError(f"--workers {asked}: the cluster has {most} devices; give that or fewer")
