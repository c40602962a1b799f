"""What a training reserves of a cluster that others use too, and what it waits for, in words."""

import time
from collections.abc import Callable, Mapping

import ray

from orchestrator.config.settings import ResourcesConfig
from orchestrator.distributed import devices

PATIENCE = 5.0
"""Seconds that resources may take to come free of what was done before: Ray tells of it late."""
TICK = 0.2


def of_one_worker(
    say: Callable[[str], None], asked: ResourcesConfig = devices.ANY, patience: float = PATIENCE
) -> dict[str, float]:
    """Return what one worker is to reserve: a GPU and its part of the CPUs, or the CPUs of a node.

    Of the CPUs of a node without GPUs, it takes those that are free, unless it was told how many.

    Parameters
    ----------
    say
        Told where that is less than a node's, and what is waited for where there is nothing.
    asked
        What it must have.
    patience
        Seconds to wait for the whole of it.
    """
    nodes = devices.nodes()
    gpus = sum(node.gpus for node in devices.training_nodes(nodes, asked))
    wanted = devices.share(nodes, asked, gpus or 1)
    if "GPU" in wanted or asked.cpus:
        say_what_is_waited_for(wanted, 1, say, patience)
        return wanted
    free = _lacking(wanted, patience).get("CPU")
    if free is None:
        return wanted
    taken = {"CPU": max(1.0, float(int(free)))}
    if free >= 1:
        say(f"training on {taken['CPU']:g} of a node's {wanted['CPU']:g} CPUs: others are taken")
    else:
        say_what_is_waited_for(taken, 1, say, 0.0)
    return taken


def say_what_is_waited_for(
    each: Mapping[str, float],
    workers: int,
    say: Callable[[str], None],
    patience: float = PATIENCE,
) -> None:
    """Say what a cluster has not free of what workers are to reserve, each the same."""
    needed = {name: each[name] * workers for name in ("CPU", "GPU") if name in each}
    there = ray.cluster_resources()
    for name, free in _lacking(needed, patience).items():
        say(
            f"waiting for {needed[name]:g} {name}{'s' * (needed[name] != 1)} ({free:g} of the "
            f"cluster's {there.get(name, 0):g} are free); Ctrl-C ends the waiting"
        )


def _lacking(needed: Mapping[str, float], patience: float) -> dict[str, float]:
    """Return how much is free of each resource of which too little is, once patience is over."""
    end = time.monotonic() + patience
    while True:
        free = ray.available_resources()
        short = {name: free.get(name, 0.0) for name in needed if free.get(name, 0.0) < needed[name]}
        if not short or time.monotonic() >= end:
            return short
        time.sleep(TICK)
