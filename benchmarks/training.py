"""How fast the bare training loop is on this machine's device, and how near to what it could be.

    python benchmarks/training.py [--images N] [--epochs 4] [--batches 32 128] [--models cnn ...]

Trains on random pixels that are resident, 95,306 of them on a GPU (the reference's train split,
after under-sampling) and 3,000 on a CPU, in the loop that every trial runs. The first epoch is left
out: it fills caches and, with ``--compile``, compiles. "Of peak" is the network's arithmetic,
forward and backward as `torch.utils.flop_counter` counts it, over what a large bf16 matrix product
reaches on the same device in the same run; the floor is the epoch's arithmetic at that peak.
"""

import argparse
import os
import statistics
import sys
import time

import numpy as np
import pyarrow as pa
import torch
from torch.utils.flop_counter import FlopCounterMode

import models
from orchestrator.base.machine import COMPUTING
from orchestrator.config.layers import resolve
from orchestrator.config.settings import Config
from orchestrator.data.store.arrays import Arrays
from orchestrator.training.inference import pick_device
from orchestrator.training.loop import Training

GPU_IMAGES, CPU_IMAGES = 95_306, 3_000
SIDE = 80
RUNS = {
    "cnn": (),
    "resnet50 head": ("model.name=resnet50", "model.weights=random", "model.head=pooled"),
    "resnet50 all": ("model.name=resnet50", "model.weights=random", "model.unfreeze=all",
                     "model.head=pooled"),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 128, 512])
    parser.add_argument("--models", nargs="+", default=["cnn"], choices=list(RUNS))
    parser.add_argument("--compile", action="store_true")
    arguments = parser.parse_args()
    device = pick_device()
    images = arguments.images or (GPU_IMAGES if device.type == "cuda" else CPU_IMAGES)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    peak = measured_peak(device)
    print(f"{name}, {torch.get_num_threads()} threads; peak {peak / 1e12:.2f} TFLOP/s in bf16")
    print(f"{images:,} images of {SIDE}x{SIDE}, median of {arguments.epochs - 1} epochs\n")
    print("| model | batch | images/s | epoch, s | floor, s | of peak |")
    print("|---|---|---|---|---|---|")
    for model in arguments.models:
        for batch in arguments.batches:
            settings = [*RUNS[model], f"train.batch_size={batch}", f"seed={batch}"]
            config = resolve(
                "reference", settings=[*settings, "balance.policy=none", "train.patience=null",
                f"train.epochs={arguments.epochs}", f"train.compile={arguments.compile}".lower()],
            )  # fmt: skip
            rate = images_per_second(config, images, device)
            flops = flops_per_image(config, device)
            floor = images * flops / peak
            print(
                f"| {model} | {batch} | {rate:,.0f} | {images / rate:.2f} | {floor:.2f} | "
                f"{rate * flops / peak:.1%} |",
                flush=True,
            )


def images_per_second(config: Config, images: int, device: torch.device) -> float:
    torch.manual_seed(0)
    model = models.build(config.model, SIDE)
    training = Training(config, model, pixels(images, 0), pixels(256, 1), device)
    return statistics.median([epoch.images_per_second for epoch in training][1:])


def flops_per_image(config: Config, device: torch.device, batch: int = 8) -> float:
    model = models.build(config.model, SIDE).to(device).train()
    with FlopCounterMode(display=False) as counter:
        model(torch.rand(batch, 3, SIDE, SIDE, device=device)).sum().backward()
    return counter.get_total_flops() / batch


def measured_peak(device: torch.device, seconds: float = 2.0) -> float:
    """Return the FLOP/s of a large bf16 matrix product."""
    size = 8192 if device.type == "cuda" else 2048
    left, right = (torch.randn(size, size, device=device).bfloat16() for _ in range(2))
    best, begun = 0.0, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        start = time.perf_counter()
        for _ in range(4):
            product = left @ right
        float(product[0, 0])
        best = max(best, 4 * 2 * size**3 / (time.perf_counter() - start))
    return best


def pixels(rows: int, seed: int, side: int = SIDE) -> Arrays:
    rng = np.random.default_rng(seed)
    return Arrays(
        images=rng.integers(0, 256, (rows, side, side, 3), dtype=np.uint8),
        label=(np.arange(rows) % 5 == 0).astype(np.int8),
        gender=np.where(np.arange(rows) % 2, 1, -1).astype(np.int8),
        rank=np.zeros(rows, np.int32),
        filename=pa.array(map(str, range(rows)), pa.large_string()),
        identity=np.arange(rows, dtype=np.int32),
        block=np.arange(rows, dtype=np.int32) // 54,
    )


if __name__ == "__main__":
    if not os.environ.keys() >= COMPUTING.keys():  # glibc reads them as a process starts
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **COMPUTING})
    main()
