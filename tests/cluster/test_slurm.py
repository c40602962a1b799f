"""The sbatch script as Slurm would run it, with stand-ins for Slurm's programs and real Ray."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from namespaces import Network, network
from waiting import HANGS

from orchestrator.cli import main
from orchestrator.data.store.store import Store

pytestmark = pytest.mark.nodes

SCONTROL = """#!/bin/sh
test "$1 $2 $3" = "show hostnames $SLURM_JOB_NODELIST"
printf 'node-a\\nnode-b\\n'
"""
SRUN = """#!/bin/bash
# Runs a command on the node that --nodelist names, or on all; each has processes of its own and a
# folder of its own for Ray, as on machines of their own.
nodelist="node-a node-b"
while [[ $1 == --* ]]; do
  [[ $1 == --nodelist=* ]] && nodelist=${1#*=}
  shift
done
mkdir -p "$RAY_TMPDIR"
for node in $nodelist; do
  ip netns exec "$FF_PREFIX${node#node-}" unshare --mount --pid --fork --kill-child --mount-proc \\
    sh -c 'mount -t tmpfs tmpfs "$RAY_TMPDIR" && exec "$@"' - "$@" &
done
code=0
for job in $(jobs -p); do
  wait "$job" || code=$?
done
rmdir "$RAY_TMPDIR"
exit "$code"
"""


def run(script: Path, joined: Network, folder: Path) -> subprocess.CompletedProcess[str]:
    tools = folder / "tools"
    tools.mkdir(exist_ok=True)
    for name, text in (("scontrol", SCONTROL), ("srun", SRUN)):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    path = (str(tools), str(Path(sys.executable).parent), os.environ["PATH"])
    own = {
        "PATH": os.pathsep.join(path),
        "SLURM_JOB_ID": f"t{os.getpid()}",
        "SLURM_JOB_NODELIST": "node-[a-b]",
        "SLURM_JOB_NUM_NODES": "2",
        "FF_PREFIX": joined.names[0].removesuffix("a"),
    }
    kept = {k: v for k, v in joined.environment.items() if not k.startswith("RAY_AUTH")}
    return subprocess.run(
        ["bash", script], env=kept | own, capture_output=True, text=True, check=False, timeout=HANGS
    )


def test_a_job_of_two_nodes_runs_its_command_and_ends_with_it(tmp_path: Path) -> None:
    config, data = tmp_path / "cluster.yaml", tmp_path / "data"
    command = f"prepare synthetic:40 --image-size 10 --out {data}"
    workers = {"min": 2, "max": 2, "cpus": 1, "gpus": 0}
    config.write_text(json.dumps({"command": command, "workers": workers}))
    words = ["cluster", "render", "slurm", "--config", str(config), "--out", str(tmp_path)]
    assert main(words) == 0
    with network() as joined:
        done = run(tmp_path / "slurm.sh", joined, tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "On head node" in done.stdout
        assert "On worker node" in done.stdout
        assert Store.open(str(data)).meta.rows == 40
