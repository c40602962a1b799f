"""Compare a sweep on one node of one CPU with the same one on two such nodes.

    python benchmarks/nodes.py [--faces 4000] [--trials 12] [--epochs 3] [--rounds 1]

Each cluster is one of `fairfront cluster local`, of ``ray start`` processes of their own; the
machine needs two free cores. The trials are the same on both: none is stopped early, and random
settings do not depend on the order in which trials end. Hours count from the search's begin.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from cluster.launchers import local
from orchestrator.run.directory import Run
from orchestrator.run.progress import read

FAIRFRONT = (sys.executable, "-m", "orchestrator")
SETTINGS = ("sweep.halving=false", "train.precision=fp32", "train.patience=null")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faces", type=int, default=4000)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ff", dir="/tmp") as folder:
        data = Path(folder, "data")
        prepare = ["prepare", f"synthetic:{arguments.faces}", "--out", str(data)]
        subprocess.run([*FAIRFRONT, *prepare], check=True, capture_output=True)
        an_hour: dict[int, list[float]] = {1: [], 2: []}
        for number in range(arguments.rounds):
            for nodes, figures in an_hour.items():
                out = Path(folder, f"{number}-{nodes}")
                figures.append(sweep(Path(folder, "cluster"), nodes, data, out, arguments))
                print(f"{nodes} nodes: {figures[-1]:.0f} trials an hour", flush=True)
    print(f"{median(an_hour[2]) / median(an_hour[1]):.2f} times as many on two nodes as on one")


def sweep(folder: Path, nodes: int, data: Path, out: Path, asked: argparse.Namespace) -> float:
    """Return the trials an hour of a sweep on a cluster of its own."""
    cluster = local.start(folder, nodes, cpus=1)
    joined = {"RAY_ADDRESS": cluster.address, "RAY_AUTH_TOKEN_PATH": cluster.token_path}
    words = ["sweep", "--data", str(data), "--out", str(out), "--trials", str(asked.trials)]
    words += ["--finalists", "0"]
    more = ["--epochs", str(asked.epochs), "--sampler", "random", "--set", *SETTINGS]
    try:
        environment = os.environ | joined
        subprocess.run(
            [*FAIRFRONT, *words, *more], check=True, capture_output=True, env=environment
        )
    finally:
        local.stop(folder)
    run = Run(out)
    ended = read(run)
    assert ended is not None
    assert len(run.ended()) == asked.trials
    return asked.trials / ended.seconds() * 3600


if __name__ == "__main__":
    main()
