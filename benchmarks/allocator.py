"""What glibc's settings do for training in a thread, as Ray runs it.

    python benchmarks/allocator.py [--batches 32 256] [--rounds 3] [--images 1500]

Trains on random pixels with all cores in a process of its own each time: with glibc as it is, with
all blocks kept, and with all threads in one arena as well, as Ray's workers have it.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from orchestrator.base.machine import ALLOCATOR

WAYS = {
    "glibc as it is": {},
    "blocks kept": {name: ALLOCATOR[name] for name in ALLOCATOR if name != "MALLOC_ARENA_MAX"},
    "blocks kept, one arena": ALLOCATOR,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 256])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=1500)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        with ThreadPoolExecutor(1) as thread:
            measured = thread.submit(measure, arguments.batches[0], arguments.images).result()
        print(json.dumps(measured))
        return
    print("| batch | way | images/s, median | of the last | page faults |")
    print("|---|---|---|---|---|")
    for batch in arguments.batches:
        words = [sys.executable, __file__, "--measure", "--batches", str(batch)]
        words += ["--images", str(arguments.images)]
        rounds = [
            [run(words, settings) for settings in WAYS.values()] for _ in range(arguments.rounds)
        ]
        for number, way in enumerate(WAYS):
            rate = statistics.median(one[number][0] for one in rounds)
            ratio = statistics.median(one[number][0] / one[-1][0] for one in rounds)
            faults = statistics.median(one[number][1] for one in rounds)
            print(f"| {batch} | {way} | {rate:.0f} | {ratio:.2f} | {faults:,.0f} |", flush=True)


def run(words: list[str], settings: dict[str, str]) -> tuple[float, int]:
    environment = {k: v for k, v in os.environ.items() if k not in ALLOCATOR} | settings
    done = subprocess.run(words, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    rate, faults = json.loads(done.stdout.splitlines()[-1])
    return rate, faults


def measure(batch: int, images: int) -> tuple[float, int]:
    """Return the images/s of a training, and how many pages it was given by the system."""
    import torch
    from training import images_per_second

    from orchestrator.config.layers import resolve

    settings = [f"train.batch_size={batch}", "train.epochs=4", "balance.policy=none"]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    rate = images_per_second(resolve("plain", settings=settings), images, torch.device("cpu"))
    return rate, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


if __name__ == "__main__":
    main()
