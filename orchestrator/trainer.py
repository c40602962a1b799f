"""Ray Train around the training loop: several workers on one trial."""

import signal
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import ray
import ray.train
import torch
from ray.exceptions import OutOfMemoryError, RayError, RayTaskError
from ray.train import (
    FailureConfig,
    RunConfig,
    ScalingConfig,
    TrainingFailedError,
    UserCallback,
)
from ray.train.torch import TorchTrainer
from typing_extensions import override

from orchestrator import devices
from orchestrator.arrays import Arrays
from orchestrator.config import Config
from orchestrator.data import Placement, Residence, load, place_pixels
from orchestrator.errors import InputError
from orchestrator.features import Features, basis, cache_here
from orchestrator.files import one_line
from orchestrator.lastlayer import held_out
from orchestrator.loop import TrainingError
from orchestrator.splits import Counts, count_strata
from orchestrator.stopping import EpochMetrics
from orchestrator.store import Store
from orchestrator.trial import Assignment, run_trial

OWN_FAULTS = (TrainingError, InputError)
"""What a trial would fail of again, whoever trains it."""
MOST_OF_REASON = 300
"""Characters."""


@dataclass(frozen=True)
class Shared:
    """The splits of a run in the object store, for every process of the cluster."""

    references: "list[ray.ObjectRef[dict[str, Arrays]]]"
    """One; in a list, Ray passes it on without fetching what it refers to."""
    store: Store
    """Where they are from."""
    basis: tuple[object, ...] | None = None
    """Of the features in them, if there are any."""

    def get(self, config: Config) -> dict[str, Arrays]:
        """Return the splits for a trial, whose network may not be that of the features.

        A frozen one then has features of its own, which the first trial with it makes.

        Raises
        ------
        InputError, OSError
            They cannot be made.
        """
        ours = basis(config)
        another = ours is not None and ours != self.basis and config.workers == 1
        if another and (features := cache_here(self.store, config)):
            return load(self.store, config.data, "stream", features)
        splits: dict[str, Arrays] = ray.get(self.references[0])
        if self.basis is None or self.basis == ours:
            return splits
        return {split: replace(arrays, features=None) for split, arrays in splits.items()}


class SharedData(NamedTuple):
    """A run's data, ready for every process of the cluster."""

    splits: Shared
    placement: Placement
    counts: Counts
    """Of the rows that are trained on, but for those that are kept for the last layer."""


def shared_memory() -> float:
    """Return the bytes for objects on the training node that has the least."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    training = [node for node in nodes if node.get("CPU") or node.get("GPU")] or nodes
    return min(float(node.get("object_store_memory", 0)) for node in training)


def share(store: Store, config: Config, features: Features | None = None) -> SharedData:
    """Make the splits ready for every process of the cluster.

    Resident pixels, or the features in their place, are put into the object store once, and
    processes of a node then read them in place.

    Raises
    ------
    InputError
        A shard is damaged, the pixels are to be resident and do not fit, or a fold is too small.
    """
    data = config.data
    if features:  # then nobody reads the pixels, but for trials of another network
        data = data.model_copy(update={"residence": "stream"})
    placement = place_pixels(data, store, shared_memory())
    # Loaded by a process of its own, whose memory is free again once the splits are in the object
    # store, and not fetched to this one's node, which may not train.
    reading = config.model_copy(update={"data": data})
    loading: Any = _load.remote(store, reading, placement.residence, features)
    splits, counts = loading
    try:
        shared = Shared([splits], store, basis(config) if features else None)
        return SharedData(shared, placement, ray.get(counts))
    except RayTaskError as error:
        if isinstance(error.cause, InputError):
            raise error.cause from None
        raise


@ray.remote(num_cpus=0, num_returns=2)
def _load(store: Store, config: Config, residence: Residence, features: Features | None) -> Any:
    data = load(store, config.data, residence, features)
    train = data["train"]
    apart = held_out(config.last_layer, train.gender, train.label, train.rank)
    return data, count_strata(train.gender[~apart], train.label[~apart])


def report_row(metrics: EpochMetrics, kept: EpochMetrics) -> dict[str, Any]:
    """Return what a trial reports of an epoch; ``kept`` is of the epoch kept so far."""
    return {**asdict(metrics), "kept": {**asdict(kept), "mean_accuracy": kept.mean_accuracy}}


def check_workers(config: Config) -> None:
    """Raise `InputError` when the cluster has too few devices: Ray would wait for more for ever."""
    nodes = devices.nodes()
    most = sum(node.gpus for node in nodes) or sum(node.cpus for node in nodes)
    fewest = config.min_workers or config.workers
    if fewest > most:
        asked = config.workers if config.min_workers is None else f"{fewest}-{config.workers}"
        raise InputError(f"--workers {asked}: the cluster has {most} devices; give that or fewer")


def train_on_workers(
    assignment: Assignment,
    shared: "Shared",
    callbacks: Sequence[Any] = (),
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

    Raises
    ------
    TrainingError
        The trial cannot be trained, or its workers were lost too often. The message is one line.
    InputError
        Its checkpoint is damaged.
    """
    trial = assignment.trial
    hooks: list[Any] = [*callbacks, StopAtOwnFault()]
    scaling = _scaling(assignment.config, devices.nodes())
    reserved: Any = scaling.resources_per_worker
    trainer = TorchTrainer(
        _worker,
        train_loop_config={**assignment.pack(), "shared": shared, "cpus": int(reserved["CPU"])},
        scaling_config=scaling,
        run_config=RunConfig(
            # Ray Train would silently restore a run of the same name.
            name=f"{trial.id}-{uuid.uuid4().hex[:8]}",
            storage_path=str(trial.run_path / "logs" / "train"),
            failure_config=FailureConfig(max_failures=assignment.config.train.max_failures),
            callbacks=hooks,
        ),
    )
    try:
        with _ctrl_c():
            trainer.fit()
    except (TrainingFailedError, RayError) as error:
        raise own_fault(error) or TrainingError(_reason(error, assignment.config)) from error


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


def _reason(error: Exception, config: Config) -> str:
    """Say in a line why Ray Train gave up."""
    failures = [
        getattr(failure, "health_check_failure", failure)  # what Ray Train has wrapped
        for failure in getattr(error, "worker_failures", {}).values()
    ]
    # The others fail as well when one is lost, for want of its answers: that explains nothing.
    if lost := [failure for failure in failures if isinstance(failure, RayError)]:
        return reason_of_loss(lost, config)
    cause = next(iter(failures), getattr(error, "controller_failure", error))
    return f"{type(cause).__name__}: {one_line(cause)}"[:MOST_OF_REASON]


def reason_of_loss(lost: Sequence[RayError], config: Config) -> str:
    """Say in a line why a training ended whose workers were lost.

    Parameters
    ----------
    lost
        What Ray says of each that was.
    config
        The trial's.
    """
    out_of_memory = any(
        isinstance(failure, OutOfMemoryError) or "low on memory" in str(failure) for failure in lost
    )
    what = "ran out of memory" if out_of_memory else "died, perhaps because memory ran out"
    restarts = config.train.max_failures
    again = f", after {restarts} restart{'s' * (restarts != 1)}" if restarts else ""
    return (
        f"a worker {what}{again}; lower train.batch_size ({config.train.batch_size}) or choose a "
        f"smaller model ({config.model.name})"
    )


def _scaling(config: Config, nodes: Sequence[devices.Node]) -> ScalingConfig:
    """Put a worker on each GPU, of which `check_workers` found enough, or else divide the CPUs."""
    gpus = sum(node.gpus for node in nodes)
    at_once = min(config.workers, gpus or config.workers)  # of an elastic run; none shares a GPU
    workers: Any = config.workers
    if config.min_workers is not None:
        workers = (config.min_workers, config.workers)
    return ScalingConfig(
        num_workers=workers,
        use_gpu=bool(gpus),
        resources_per_worker={"CPU": devices.share(nodes, at_once)["CPU"]},
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
    torch.set_num_threads(config["cpus"])
    assignment = Assignment.unpack(config)
    run_trial(
        assignment,
        config["shared"].get(assignment.config),
        lambda metrics, kept: ray.train.report(report_row(metrics, kept)),
    )
