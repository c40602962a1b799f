"""Refusing to train on the CPU, without a word, what was given a GPU."""

import platform
import subprocess
from pathlib import Path
from typing import Any

import ray
import torch
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.base.files import one_line
from orchestrator.distributed.faults import DeviceError


def refuse_no_cuda() -> None:
    """Raise `DeviceError` in a process that Ray gave a GPU and whose torch can use none."""
    if ray.get_gpu_ids() and (complaint := _complaint()):
        raise DeviceError(complaint)


def refuse_nodes_without_cuda() -> None:
    """Raise `DeviceError` where a node has GPUs of Ray's and a torch that can use none.

    The nodes are asked without waiting for their GPUs, which a training that failed may still hold.
    """
    ask: Any = ray.remote(num_cpus=0)(_complaint)
    for node in ray.nodes():
        if node["Alive"] and node["Resources"].get("GPU"):
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            if complaint := ray.get(ask.options(scheduling_strategy=there).remote()):
                raise DeviceError(complaint)


def _complaint() -> str | None:
    if torch.cuda.is_available():
        return None
    return (
        f"{platform.node()}: Ray gives workers a GPU there, and {why_no_cuda()} (`ray start "
        "--num-gpus=0` on that node trains on its CPUs)"
    )


def why_no_cuda() -> str:
    """Say which wheel of torch cannot use a GPU under which driver, and the mend."""
    wheel, driver = torch.version.cuda, driver_version()
    known = f"driver {driver}" if driver else "no driver (nvidia-smi does not answer)"
    if wheel is None:
        mend = "install torch's wheel for CUDA, see https://pytorch.org/get-started/locally"
        return f"torch {torch.__version__} is a wheel without CUDA, under {known}; {mend}"
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
        reason = "it sees no device; look at CUDA_VISIBLE_DEVICES"
    except (RuntimeError, AssertionError) as error:
        reason = one_line(error)[:150]
    mend = f"install a driver that knows CUDA {wheel}, or a wheel of torch for an older one"
    return f"torch {torch.__version__}, for CUDA {wheel}, has none under {known}: {reason}; {mend}"


def driver_version() -> str | None:
    """Ask nvidia-smi for the version of the driver; None where it does not answer."""
    words = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return None
    return next(iter(done.stdout.split()), None)


def has_gpu() -> bool:
    """Tell whether this machine has an NVIDIA GPU, whether or not torch can use it."""
    return Path("/dev/nvidia0").exists() or driver_version() is not None
