"""What a sweep's trials reserve, and how many of them run at a time as nodes come and go."""

from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.exceptions import OutOfMemoryError, RayActorError

from orchestrator.config.layers import resolve
from orchestrator.distributed.devices import Node
from orchestrator.run.trial import Trial
from orchestrator.search.killed_for_memory import taken_for_dead
from orchestrator.search.trials import ListedTrials
from orchestrator.search.tune_trials import at_a_time, plan
from orchestrator.training.trial import Assignment

A100 = frozenset({"A100"})


@pytest.mark.parametrize(
    ("settings", "nodes", "each", "trials"),
    [
        (["sweep.concurrent=1"], [Node(8, 0)], {"CPU": 8}, 1),
        ([], [Node(2, 0)], {"CPU": 1}, 2),
        ([], [Node(32, 0)], {"CPU": 8}, 4),
        ([], [Node(16, 0)] * 10, {"CPU": 16}, 10),  # a trial a node: none has two
        ([], [Node(0, 0)] + [Node(16, 0)] * 2, {"CPU": 8}, 4),
        ([], [Node(32, 4)], {"CPU": 8, "GPU": 1.0}, 4),
        (["sweep.concurrent=8"], [Node(32, 4)], {"CPU": 4, "GPU": 0.5}, 8),
        (["workers=2"], [Node(4, 0)], {"memory": 1}, 2),
        (["resources.cpus=4"], [Node(16, 0)] * 10, {"CPU": 4}, 40),
        (["resources.cpus=4", "sweep.concurrent=6"], [Node(16, 0)] * 10, {"CPU": 4}, 6),
        (["resources.gpus=0.25"], [Node(4, 0), Node(16, 2)], {"CPU": 2, "GPU": 0.25}, 8),
        (["resources.gpus=0"], [Node(4, 0), Node(16, 2)], {"CPU": 4}, 4),
        (["resources.gpus=1"], [Node(4, 0)], {"CPU": 1, "GPU": 1}, 1),  # it waits for a node
        (
            ["resources.accelerator_type=A100"],
            [Node(8, 1), Node(16, 2, accelerators=A100)],
            {"CPU": 8, "GPU": 1, "accelerator_type:A100": 0.001},
            2,
        ),
    ],
)  # fmt: skip
def test_trials_share_what_there_is(settings, nodes, each, trials):
    config = resolve(settings=settings)
    assert plan(config, nodes) == each
    assert at_a_time(config, each, nodes) == trials


def test_nodes_that_join_raise_the_trials_at_a_time(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    on_gpus, on_cpus = resolve(), resolve(settings=["sweep.concurrent=6"])
    each = plan(on_gpus, [Node(8, 2)])
    assert [at_a_time(on_gpus, each, [Node(8, 2)] * count) for count in (1, 2, 5)] == [2, 4, 10]
    each = plan(on_cpus, [Node(4, 0)])
    assert [at_a_time(on_cpus, each, [Node(4, 0)] * count) for count in (1, 2, 5)] == [4, 6, 6]
    asked = resolve(settings=["sweep.concurrent=6", "resources.gpus=1"])
    each = plan(asked, [Node(4, 0)])
    assert at_a_time(asked, each, [Node(4, 0)]) == 1
    monkeypatch.setenv("RAY_ADDRESS", "auto")  # an autoscaler goes by those that wait
    assert at_a_time(asked, each, [Node(4, 0)]) == 6


def test_no_more_trials_are_handed_out_than_may_run_at_a_time(tmp_path):
    config, most = resolve(), [2]
    trials = ListedTrials(
        [Assignment(Trial(tmp_path / name), config, {}) for name in ("a", "b", "c", "d")]
    )
    trials.limit = lambda: most[0]
    assert [bool(trials.suggest(name)) for name in ("1", "2", "3")] == [True, True, False]
    most[0] = 3  # a node has joined
    assert [bool(trials.suggest(name)) for name in ("4", "5")] == [True, False]
    trials.on_trial_complete("1")
    assert trials.suggest("6")["path"] == str(tmp_path / "d")
    trials.on_trial_complete("2", error=True)
    assert trials.suggest("7") == ListedTrials.FINISHED


def test_a_process_ended_for_want_of_memory_is_one_that_died():
    told = []
    actor = SimpleNamespace(actor_id=7, _on_error=lambda _, error: told.append(error))
    task = SimpleNamespace(_tracked_actor=actor, _on_error=actor._on_error)
    manager = SimpleNamespace(_failed_actor_ids=set(), _cleanup_actor=Mock())
    killed = OutOfMemoryError("1 worker(s) were killed due to the node running low on memory.")
    with taken_for_dead():
        RayActorManager._actor_task_failed(manager, tracked_actor_task=task, exception=killed)
    assert manager._failed_actor_ids == {7}
    assert [type(error) for error in told] == [RayActorError] * 2  # of the actor, and of its task
    assert str(told[0]) == str(killed)
    # Where Ray knows this itself, killed_for_memory.py can go.
    with pytest.raises(RuntimeError, match="Caught unexpected exception"):
        RayActorManager._actor_task_failed(manager, task, killed)
