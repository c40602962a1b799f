"""What a training reserves beside others, and what it says while it waits."""

import pytest
import ray

from orchestrator.distributed import devices
from orchestrator.distributed.devices import Node
from orchestrator.distributed.reservation import of_one_worker, say_what_is_waited_for


@pytest.fixture
def cluster(monkeypatch):
    """Gives a cluster its nodes, and what it has free each time that it is asked."""

    def be(nodes, *free):
        left = list(free)
        monkeypatch.setattr(devices, "nodes", lambda: nodes)
        monkeypatch.setattr(
            ray, "available_resources", lambda: left.pop(0) if len(left) > 1 else left[0]
        )
        total = {"CPU": sum(node.cpus for node in nodes), "GPU": sum(node.gpus for node in nodes)}
        monkeypatch.setattr(ray, "cluster_resources", lambda: total)

    return be


def test_one_worker_takes_a_gpu_and_its_part_of_the_cpus(cluster):
    said = []
    cluster([Node(64, 8), Node(64, 8), Node(4, 0)], {"CPU": 60.0, "GPU": 3.0})
    assert of_one_worker(said.append) == {"CPU": 8, "GPU": 1}
    assert said == []


def test_it_says_which_gpu_it_waits_for(cluster):
    said = []
    cluster([Node(16, 2)], {"CPU": 16.0})  # Ray leaves out what is all taken
    assert of_one_worker(said.append, patience=0) == {"CPU": 8, "GPU": 1}
    assert said == ["waiting for 1 GPU (0 of the cluster's 2 are free); Ctrl-C ends the waiting"]


def test_a_node_that_is_busy_gives_the_cpus_that_it_has_free(cluster):
    said = []
    cluster([Node(16, 0)], {"CPU": 5.0})
    assert of_one_worker(said.append, patience=0) == {"CPU": 5}
    assert said == ["training on 5 of a node's 16 CPUs: others are taken"]
    cluster([Node(16, 0)], {})
    assert of_one_worker(said.append, patience=0) == {"CPU": 1}
    assert said[1:] == [
        "waiting for 1 CPU (0 of the cluster's 16 are free); Ctrl-C ends the waiting"
    ]


def test_what_comes_free_in_a_moment_is_taken_whole(cluster):
    said = []
    cluster([Node(16, 0)], {"CPU": 1.0}, {"CPU": 16.0})
    assert of_one_worker(said.append) == {"CPU": 16}
    assert said == []


def test_several_workers_wait_for_all_their_devices(cluster):
    said = []
    cluster([Node(16, 2)], {"CPU": 16.0, "GPU": 1.0})
    say_what_is_waited_for({"CPU": 8, "GPU": 1}, 2, said.append, patience=0)
    assert said == ["waiting for 2 GPUs (1 of the cluster's 2 are free); Ctrl-C ends the waiting"]
