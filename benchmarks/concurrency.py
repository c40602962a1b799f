"""How many trials should a CPU train at a time? One of all cores against one a core, in turn.

Prints each round's images per second, all trials together, and the ratio's median. It trains the
reference CNN at its batch of 32 on random pixels, in processes started as Ray starts its workers.

    python benchmarks/concurrency.py [rounds]
"""

import os
import statistics
import subprocess
import sys

from orchestrator.raysession import ALLOCATOR

TRIAL = """
import sys, numpy as np, torch, models
from orchestrator.config import resolve
from orchestrator.loop import Training
from orchestrator.arrays import Arrays
torch.set_num_threads(int(sys.argv[1]))
rng, n = np.random.default_rng(0), 1600
def arrays(n):
    ones = np.ones(n, np.int8)
    return Arrays(rng.integers(0, 256, (n, 80, 80, 3), np.uint8), rng.integers(0, 2, n, np.int8),
                  np.where(rng.random(n) < 0.5, -ones, ones), np.arange(n, dtype=np.int32),
                  np.arange(n).astype(str).astype(object), np.arange(n, dtype=np.int32))
config = resolve("plain", settings=["train.epochs=3"])
training = Training(config, models.build(config.model, 80), arrays(n), arrays(64))
print(sorted(epoch.images_per_second for epoch in training)[1])
"""


def images_per_second(trials: int, threads: int) -> float:
    """Train so many trials at a time; return their speeds' sum."""
    environment = {**os.environ, **ALLOCATOR, "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-c", TRIAL, str(threads)]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(trials)
    ]
    return sum(float(process.communicate()[0]) for process in running)


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    cores = os.cpu_count() or 1
    ratios = []
    for _ in range(rounds):
        together, alone = images_per_second(cores, 1), images_per_second(1, cores)
        ratios.append(together / alone)
        print(f"{cores} trials of 1 thread: {together:.0f}/s   1 of {cores}: {alone:.0f}/s")
    print(f"ratio, median of {rounds}: {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
