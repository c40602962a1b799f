"""One worker on one trial, in a Ray actor of its own."""

from collections.abc import Callable
from typing import Any

import ray
import torch
from ray.exceptions import RayError, RayTaskError

from orchestrator.distributed import reservation
from orchestrator.distributed.faults import OWN_FAULTS, verdict
from orchestrator.distributed.no_cuda import refuse_no_cuda
from orchestrator.distributed.preemption import a_node_leaves
from orchestrator.distributed.sharing import Shared
from orchestrator.training.trial import Assignment, run_trial


def train_alone(
    assignment: Assignment, shared: Shared, say: Callable[[str], None] = lambda _: None
) -> None:
    """Train one trial in one process, and wait for its end.

    Ray Train would do so as well, but takes 12 s to start, and its six processes wake up a
    hundred times a second each, which costs a loop on two cores a twentieth (docs/performance.md).

    A process that is lost, or fails of something else than the trial, is begun again and goes on
    from the trial's checkpoint, up to ``train.max_failures`` times; Ray does not count nodes that
    are taken away as announced.

    Parameters
    ----------
    assignment
        The trial.
    shared
        What `share` returned.
    say
        Told what is waited for.

    Raises
    ------
    TrainingError
        The trial cannot be trained, or its process was lost too often. The message is one line.
    MachineError
        The machine failed it too often.
    InputError
        Its checkpoint is damaged, or the worker has no CUDA for its GPU.
    """
    config = assignment.config
    for left in reversed(range(config.train.max_failures + 1)):
        try:
            _train_once(assignment, shared, say)
            return
        except RayTaskError as error:
            if not left or isinstance(error.cause, OWN_FAULTS):
                raise verdict([error], config) from error
        except RayError as error:  # Ray has begun it again as often
            raise verdict([error], config) from error


def _train_once(assignment: Assignment, shared: Shared, say: Callable[[str], None]) -> None:
    config = assignment.config
    resources = reservation.of_one_worker(say, config.resources)
    cpus = int(resources["CPU"])
    # An actor, since Ray begins a task again for ever when memory runs out.
    actor: Any = OneWorker.options(  # type: ignore[attr-defined]
        num_cpus=cpus,
        num_gpus=resources.get("GPU"),
        accelerator_type=config.resources.accelerator_type,
        max_restarts=config.train.max_failures,
        max_task_retries=config.train.max_failures,
    ).remote()
    try:
        ray.get(actor.train.remote(assignment.pack(), shared, cpus))
    finally:
        ray.kill(actor)


@ray.remote
class OneWorker:
    """A process that trains."""

    def train(self, packed: dict[str, Any], shared: Shared, cpus: int) -> None:
        """Train the trial that was packed, on so many threads."""
        refuse_no_cuda()
        torch.set_num_threads(cpus)
        assignment = Assignment.unpack(packed)
        run_trial(assignment, shared.get(assignment.config), leaving=a_node_leaves)
