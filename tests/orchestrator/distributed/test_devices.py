"""How processes divide the devices of a cluster."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.base.errors import InputError
from orchestrator.config.layers import resolve
from orchestrator.config.settings import ResourcesConfig
from orchestrator.distributed import many_workers as trainer
from orchestrator.distributed.devices import (
    ANY,
    Node,
    await_node,
    in_words,
    largest_share,
    room,
    share,
    training_nodes,
)

SMALL = st.lists(st.builds(Node, st.integers(0, 6), st.integers(0, 2)), min_size=1, max_size=3)


def at_once(nodes, reserved):
    """Count the processes that fit, by trying how many each node takes."""
    most = 0
    for taken in product(range(13), repeat=len(nodes)):
        if all(
            count * reserved["CPU"] <= node.cpus
            and count * reserved.get("GPU", 0) <= node.gpus + 1e-9
            for count, node in zip(taken, nodes, strict=True)
        ):
            most = max(most, sum(taken))
    return most


@given(SMALL, st.integers(1, 5))
def test_the_share_is_the_largest_with_which_all_run_at_once(nodes, processes):
    reserved = largest_share(nodes, processes)
    assert room(nodes, ANY, reserved) == at_once(training_nodes(nodes), reserved)
    gpus = sum(node.gpus for node in nodes)
    assert ("GPU" in reserved) == bool(gpus)
    if at_once(nodes, reserved) < processes:
        assert reserved["CPU"] == 1  # the smallest is too large already
    else:
        assert at_once(nodes, {**reserved, "CPU": reserved["CPU"] + 1}) < processes
        if gpus:  # nor a larger part of a GPU
            each = round(1 / reserved["GPU"])
            assert each == 1 or gpus * (each - 1) < processes


@pytest.mark.parametrize(
    ("nodes", "processes", "reserved"),
    [
        # A head without GPUs has more CPUs than the node that trains: nobody could have their sum.
        ([Node(16, 0), Node(4, 1)], 1, {"CPU": 4, "GPU": 1}),
        ([Node(8, 0), Node(8, 0)], 1, {"CPU": 8}),
        ([Node(8, 0), Node(8, 0)], 3, {"CPU": 4}),
        ([Node(0, 0), Node(8, 2)], 3, {"CPU": 2, "GPU": 0.5}),
        ([Node(2, 0)], 5, {"CPU": 1}),
        ([Node(1, 4)], 4, {"CPU": 1, "GPU": 1}),
        ([], 1, {"CPU": 1}),
    ],
)
def test_no_share_is_more_than_a_node_has(nodes, processes, reserved):
    assert largest_share(nodes, processes) == reserved


@pytest.mark.parametrize(
    ("nodes", "settings", "on_gpus", "cpus"),
    [
        ([Node(8, 0)], ["workers=2"], False, 4),
        ([Node(16, 4)], ["workers=4"], True, 4),
        ([Node(16, 2)], ["workers=4", "min_workers=2"], True, 8),
        ([Node(3, 0), Node(3, 0)], ["workers=4"], False, 1),
        ([Node(8, 0)], ["workers=2", "resources.gpus=1", "resources.cpus=3"], True, 3),
        ([Node(8, 0), Node(8, 2)], ["workers=2", "resources.gpus=0"], False, 8),
    ],
)
def test_the_workers_of_a_trial_never_share_a_gpu(nodes, settings, on_gpus, cpus):
    scaling = trainer._scaling(resolve(settings=settings), nodes)
    assert scaling.use_gpu == on_gpus
    assert scaling.resources_per_worker == {"CPU": cpus}


@given(SMALL, st.integers(1, 5), st.sampled_from([0.25, 0.5, 1.0]))
def test_what_is_asked_for_is_reserved_and_counted(nodes, cpus, gpus):
    wanted = ResourcesConfig(gpus=gpus, cpus=cpus)
    each = share(nodes, wanted, 3)
    assert each == {"CPU": cpus, "GPU": gpus}
    fit = room(nodes, wanted, each)
    assert fit == sum(min(node.cpus // cpus, int(node.gpus / gpus)) for node in nodes)
    on_cpus = ResourcesConfig(gpus=0)
    assert "GPU" not in share(nodes, on_cpus, 3)
    assert not any(node.gpus for node in training_nodes(nodes, on_cpus))
    elsewhere = ResourcesConfig(accelerator_type="H100")
    assert training_nodes(nodes, elsewhere) == []
    assert training_nodes([node._replace(accelerators={"H100"}) for node in nodes], elsewhere) == (
        training_nodes([node._replace(accelerators={"H100"}) for node in nodes])
    )


def test_what_this_machine_has_not_is_not_waited_for(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("orchestrator.distributed.devices.nodes", lambda: [Node(2, 0)])
    await_node(ResourcesConfig(cpus=2), pytest.fail)
    wanted = ResourcesConfig(gpus=0.25, cpus=2, accelerator_type="A100")
    with pytest.raises(InputError, match=r"0\.25 GPU.* and 2 CPUs of type A100, which"):
        await_node(wanted, pytest.fail)
    assert in_words({"CPU": 1, "GPU": 1}) == "1 GPU and 1 CPU"


def test_workers_of_a_trial_cannot_share_a_gpu():
    with pytest.raises(InputError, match=r"resources\.gpus is 0\.5: the workers of a trial cannot"):
        resolve(settings=["workers=2", "resources.gpus=0.5"])
