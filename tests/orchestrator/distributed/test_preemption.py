"""A node that is drained is known of by trainings, on a real cluster of two nodes."""

import subprocess
import sys

import pytest
from waiting import HANGS

pytestmark = pytest.mark.nodes

SCRIPT = """
import os, subprocess, sys, time
import ray
from ray.cluster_utils import Cluster
from orchestrator.distributed.preemption import a_node_leaves

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
other = cluster.add_node(num_cpus=1)
ray.init(address=cluster.address, log_to_driver=False)


@ray.remote(num_cpus=1)
class Training:  # one a node: a node that has nothing to do is gone as soon as it is drained
    def asks(self):
        return a_node_leaves()


trainings = [Training.remote(), Training.remote()]
assert ray.get([each.asks.remote() for each in trainings]) == [False, False]
subprocess.run(
    [os.path.join(os.path.dirname(sys.executable), "ray"), "drain-node", "--address",
     cluster.address, "--node-id", other.node_id, "--reason", "DRAIN_NODE_REASON_PREEMPTION",
     "--reason-message", "spot", "--deadline-remaining-seconds", "600"],
    check=True,
)
while not all(ray.get([each.asks.remote() for each in trainings])):  # once the head has heard
    time.sleep(0.1)
cluster.remove_node(other)
ray.shutdown()
cluster.shutdown()
print("known")
"""


def test_a_drained_node_is_known_of():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False, timeout=HANGS
    )
    assert done.stdout.splitlines()[-1:] == ["known"], done.stderr[-2000:]
