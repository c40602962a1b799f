"""What threads that wait by spinning cost a training: alone, and beside other programs.

    python benchmarks/spinning.py [--rounds 3]

A step of the reference CNN, forward and backward, on all cores in a process of its own each time:
as GNU OpenMP waits by default, and as our processes do; alone, and beside a busy loop a core.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

from orchestrator.base.machine import ALLOCATOR, COMPUTING, cores

WAYS = {"spinning long": ALLOCATOR, "as ours": COMPUTING}
STEPS = {(80, 32): 20, (24, 16): 100}
"""How many, by pixels a side and batch."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps([measure(*shape, steps) for shape, steps in STEPS.items()]))
        return
    print("| beside | pixels, batch | way | ms a step, median | ms of processors |")
    print("|---|---|---|---|---|")
    for busy in (0, cores()):
        loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
        try:
            rounds = [{way: run(WAYS[way]) for way in WAYS} for _ in range(arguments.rounds)]
        finally:
            for loop in loops:
                loop.kill()
        for number, (side, batch) in enumerate(STEPS):
            for way in WAYS:
                taken, used = (
                    statistics.median(each[way][number][column] for each in rounds)
                    for column in (0, 1)
                )
                print(f"| {busy} loops | {side}, {batch} | {way} | {taken:.1f} | {used:.1f} |")


def run(settings: dict[str, str]) -> list[tuple[float, float]]:
    environment = {k: v for k, v in os.environ.items() if k not in COMPUTING} | settings
    environment.pop("OMP_NUM_THREADS", None)
    command = [sys.executable, __file__, "--measure"]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    measured: list[tuple[float, float]] = json.loads(done.stdout.splitlines()[-1])
    return measured


def measure(side: int, batch: int, steps: int) -> tuple[float, float]:
    """Return a step's milliseconds by the clock, their median, and of processors, their mean."""
    import torch

    import models
    from orchestrator.config.layers import resolve

    torch.set_num_threads(cores())
    network = models.build(resolve().model, side).to(memory_format=torch.channels_last)
    images = torch.rand(batch, 3, side, side).to(memory_format=torch.channels_last)
    network(images).sum().backward()
    taken, used = [], time.process_time()
    for _ in range(steps):
        begun = time.perf_counter()
        network(images).sum().backward()
        taken.append(1000 * (time.perf_counter() - begun))
    return statistics.median(taken), 1000 * (time.process_time() - used) / steps


if __name__ == "__main__":
    main()
