"""Ray Train around the training loop: several workers on one trial."""

import signal
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import ray
import ray.train
import torch
from ray.exceptions import RayError
from ray.train import (
    FailureConfig,
    RunConfig,
    ScalingConfig,
    TrainingFailedError,
    UserCallback,
)
from ray.train.torch import TorchTrainer
from typing_extensions import override

from orchestrator.base.here import folder_here
from orchestrator.config.settings import Config
from orchestrator.distributed import devices, reservation
from orchestrator.distributed.faults import OWN_FAULTS, verdict
from orchestrator.distributed.no_cuda import refuse_no_cuda, refuse_nodes_without_cuda
from orchestrator.distributed.preemption import a_node_leaves
from orchestrator.distributed.sharing import Shared
from orchestrator.distributed.stream_windows import streamed_together
from orchestrator.training.trial import Assignment, report_row, run_trial


def train_on_workers(
    assignment: Assignment,
    shared: Shared,
    callbacks: Sequence[Any] = (),
    say: Callable[[str], None] | None = None,
) -> None:
    """Train one trial on ``config.workers`` processes with `TorchTrainer`, and wait for its end.

    A worker that is lost ends the others, and all of them go on from the trial's checkpoint, up to
    ``train.max_failures`` times. Ray Train counts apart, and without a limit, the nodes that are
    taken away as announced. With ``config.min_workers`` they are as many as there are devices for,
    and go on as more when nodes join.

    Parameters
    ----------
    assignment
        The trial; its first worker writes the files.
    shared
        What `share` returned.
    callbacks
        Called in Ray Train's controller after each epoch.
    say
        Told what is waited for.

    Raises
    ------
    TrainingError
        The trial cannot be trained, or its workers were lost too often. The message is one line.
    MachineError
        The machine failed it too often.
    InputError
        Its checkpoint is damaged, or a worker has no CUDA for its GPU.
    """
    trial = assignment.trial
    hooks: list[Any] = [*callbacks, StopAtOwnFault()]
    scaling = _scaling(assignment.config, devices.nodes())
    reserved: Any = scaling.resources_per_worker
    if say:
        each = reserved | ({"GPU": 1} if scaling.use_gpu else {})
        fewest = assignment.config.min_workers or assignment.config.workers
        reservation.say_what_is_waited_for(each, fewest, say)
    try:
        with folder_here(trial.run_path / "logs" / "train") as folder, _ctrl_c():
            TorchTrainer(
                _worker,
                train_loop_config={
                    **assignment.pack(),
                    "shared": shared,
                    "cpus": int(reserved["CPU"]),
                },
                scaling_config=scaling,
                run_config=RunConfig(
                    # Ray Train would silently restore a run of the same name.
                    name=f"{trial.id}-{uuid.uuid4().hex[:8]}",
                    storage_path=str(folder),  # of which we read nothing
                    failure_config=FailureConfig(max_failures=assignment.config.train.max_failures),
                    callbacks=hooks,
                ),
            ).fit()
    except (TrainingFailedError, RayError) as error:
        failures = _failures(error)
        if any("no GPUs found" in str(failure) for failure in failures):
            # Ray Train's process group stumbles on that before a worker could say why.
            refuse_nodes_without_cuda()
        raise own_fault(error) or verdict(failures, assignment.config) from error


class StopAtOwnFault(UserCallback):
    """Ends a training that would fail again; called in Ray Train's controller."""

    @override
    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """Raise the trial's own fault, which Ray Train does not try again as it does a worker's."""
        for error in worker_exceptions.values():
            if isinstance(error, OWN_FAULTS):
                raise error


def own_fault(error: Exception) -> Exception | None:
    """Return what `StopAtOwnFault` ended a training with, if it was that."""
    cause = getattr(error, "controller_failure", None)
    return cause if isinstance(cause, OWN_FAULTS) else None


def _failures(error: Exception) -> list[BaseException]:
    """Return what the workers failed of when Ray Train gave up."""
    failures = [
        getattr(failure, "health_check_failure", failure)  # what Ray Train has wrapped
        for failure in getattr(error, "worker_failures", {}).values()
    ]
    return failures or [getattr(error, "controller_failure", error)]


def _scaling(config: Config, nodes: Sequence[devices.Node]) -> ScalingConfig:
    """Put a worker on each GPU, of which `check_workers` found enough, or else divide the CPUs."""
    wanted = config.resources
    gpus = sum(node.gpus for node in devices.training_nodes(nodes, wanted))
    at_once = min(config.workers, gpus or config.workers)  # of an elastic run; none shares a GPU
    workers: Any = config.workers
    if config.min_workers is not None:
        workers = (config.min_workers, config.workers)
    return ScalingConfig(
        num_workers=workers,
        use_gpu=bool(gpus or wanted.gpus),
        resources_per_worker={"CPU": devices.share(nodes, wanted, at_once)["CPU"]},
        accelerator_type=wanted.accelerator_type,
    )


@contextmanager
def _ctrl_c() -> Iterator[None]:
    """Let Ctrl-C be what it is elsewhere: Ray Train exits on it with code 0, and for good."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit:
        raise KeyboardInterrupt from None
    finally:
        signal.signal(signal.SIGINT, before)


def _worker(config: dict[str, Any]) -> None:
    refuse_no_cuda()
    torch.set_num_threads(config["cpus"])
    assignment = Assignment.unpack(config)
    run_trial(
        assignment,
        streamed_together(config["shared"].get(assignment.config)),
        lambda metrics, kept: ray.train.report(report_row(metrics, kept)),
        a_node_leaves,
    )
