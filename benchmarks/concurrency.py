"""How many trials should a CPU train at a time? One of all cores against one a core, in turn.

Prints each round's images per second, all trials together, and the ratio's median. It trains the
reference CNN at its batch of 32 on random pixels, in processes started as Ray starts its workers.

    python benchmarks/concurrency.py [rounds]
"""

import os
import statistics
import subprocess
import sys
from pathlib import Path

from orchestrator.base.machine import COMPUTING

TRIAL = """
import sys, torch
from training import images_per_second
from orchestrator.config.layers import resolve
torch.set_num_threads(int(sys.argv[1]))
config = resolve("plain", settings=["train.epochs=3"])
print(images_per_second(config, 1600, torch.device("cpu")))
"""


def images_per_second(trials: int, threads: int) -> float:
    """Train so many trials at a time; return their speeds' sum."""
    here = str(Path(__file__).parent)
    environment = {**os.environ, **COMPUTING, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": here}
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
