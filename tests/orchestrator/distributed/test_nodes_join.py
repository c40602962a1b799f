"""A cluster whose nodes come as they are asked for, as an autoscaler has them come."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from preparing import synthetic
from waiting import HANGS, wait_until

from orchestrator.run import progress
from orchestrator.run.directory import Run

CLUSTER = """
import sys
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
print(cluster.address, flush=True)
for line in sys.stdin:  # the CPUs of a node that is to join
    cluster.add_node(num_cpus=int(line), resources={"accelerator_type:FAKE": 1})
cluster.shutdown()
"""


@pytest.fixture
def cluster(monkeypatch):
    """A head without what trials ask for; a number written to it has a node with that join."""
    folder = Path(tempfile.mkdtemp(prefix="ff", dir="/tmp"))  # for sockets, whose paths are short
    monkeypatch.setenv("RAY_TMPDIR", str(folder))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_worker_niceness", "0")
    process = subprocess.Popen(
        [sys.executable, "-c", CLUSTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    monkeypatch.setenv("RAY_ADDRESS", process.stdout.readline().strip())
    try:
        yield process
    finally:
        process.communicate(timeout=HANGS)
        shutil.rmtree(folder, ignore_errors=True)


def join(cluster, cpus):
    cluster.stdin.write(f"{cpus}\n")
    cluster.stdin.flush()


@pytest.mark.nodes
def test_a_sweep_waits_for_its_nodes_and_uses_those_that_join(cluster, tmp_path):
    data, out, said = synthetic(tmp_path / "data"), tmp_path / "run", tmp_path / "said"
    words = ["sweep", "--data", data, "--out", out, "--trials", "3", "--epochs", "100000"]
    words += ["--concurrent", "3", "--accelerator-type", "FAKE", "--cpus-per-trial", "1"]
    words += ["--finalists", "0"]
    with said.open("w") as output:
        sweep = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", *map(str, words)],
            env=dict(os.environ), stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        waits = "waiting for a node with 1 CPU of type FAKE: none of the cluster's 1 is one"
        wait_until(lambda: waits in said.read_text(), sweep)
        join(cluster, 1)
        wait_until(lambda: running(out), sweep)
        assert len(running(out)) == 1
        join(cluster, 2)
        wait_until(lambda: len(running(out)) > 1, sweep)
    finally:
        sweep.send_signal(signal.SIGINT)
        code = sweep.wait(timeout=HANGS)
    assert code == 130, said.read_text()


def running(out):
    """Return the trials that are being trained."""
    if not (out / "config.yaml").exists():
        return ()
    now = progress.read(Run.open(str(out)))
    return now.running if now else ()
