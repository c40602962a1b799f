"""Let a node join an elastic training, and check that it goes on with one worker more.

    python benchmarks/join_drill.py [--faces 800] [--epochs 30]

`fairfront train --workers 1-2` begins on a cluster of one CPU; after its first epoch a second node
joins. Ray Train looks for new nodes once a minute, so the epochs must last longer than that.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil
from ray.cluster_utils import Cluster

from orchestrator.run.directory import Run

FAIRFRONT = (sys.executable, "-m", "orchestrator")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faces", default="800")
    parser.add_argument("--epochs", type=int, default=30)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data, out = f"{folder}/data", f"{folder}/run"
        prepare = ["prepare", f"synthetic:{arguments.faces}", "--out", data]
        subprocess.run([*FAIRFRONT, *prepare], check=True, capture_output=True)
        cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": True}
        )
        try:
            drill(cluster, data, out, arguments.epochs)
        finally:
            cluster.shutdown()


def drill(cluster: Cluster, data: str, out: str, epochs: int) -> None:
    settings = ["train.precision=fp32", "train.checkpoint_seconds=0", f"train.patience={epochs}"]
    words = ["train", "--data", data, "--out", out, "--workers", "1-2", "--epochs", str(epochs)]
    training = subprocess.Popen(
        [*FAIRFRONT, *words, "--set", *settings],
        env={**os.environ, "RAY_ADDRESS": cluster.address},
    )
    trial = Run(Path(out)).trial("default")
    most = {False: 0, True: 0}
    joined = False
    while training.poll() is None:
        most[joined] = max(most[joined], workers())
        if not joined and (trial.path / "metrics.csv").exists():
            cluster.add_node(num_cpus=1)
            joined = True
        time.sleep(0.5)
    assert training.returncode == 0
    print(f"workers: {most[False]} at most before the node joined, {most[True]} after")
    assert list(most.values()) == [1, 2]
    assert trial.metrics["epoch"].tolist() == list(range(1, epochs + 1))
    print(f"begun {trial.starts} times; each of {epochs} epochs is there once")
    assert trial.starts == 2


def workers() -> int:
    """Count Ray Train's workers, of this cluster."""
    count = 0
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            count += "RayTrainWorker" in " ".join(process.cmdline())
    return count


if __name__ == "__main__":
    main()
