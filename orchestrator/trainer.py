"""Ray Train around the training loop: one or several workers on one trial."""

import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, NamedTuple

import ray
import ray.train
import torch
from ray.exceptions import RayTaskError
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from orchestrator.arrays import Arrays
from orchestrator.config import Config
from orchestrator.data import DataConfig, Placement, Residence, load, place_pixels
from orchestrator.display import Display
from orchestrator.errors import InputError
from orchestrator.progress import EndedTrial, RunningTrial, Score
from orchestrator.runs import Trial
from orchestrator.splits import Counts, count_strata
from orchestrator.stopping import EpochMetrics
from orchestrator.store import Store
from orchestrator.trial import Assignment, run_trial

Shared = list["ray.ObjectRef[dict[str, Arrays]]"]


class SharedData(NamedTuple):
    """A run's data, ready for every process of the cluster."""

    splits: Shared
    placement: Placement
    counts: Counts
    """Of the train split that is trained on."""


def share(store: Store, config: DataConfig) -> SharedData:
    """Make the splits ready for every process of the cluster.

    Resident pixels are put into the object store once, and processes of a node then read them in
    place. The reference comes in a list, which Ray passes on without fetching what it refers to.

    Raises
    ------
    InputError
        A shard is damaged, the pixels are to be resident and do not fit, or a fold is too small.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    training = [node for node in nodes if node.get("CPU") or node.get("GPU")] or nodes
    memory = min(node.get("object_store_memory", 0) for node in training)
    placement = place_pixels(config, store, memory)
    # Loaded by a process of its own, whose memory is free again once the splits are in the object
    # store, and not fetched to this one's node, which may not train.
    loading: Any = _load.remote(store, config, placement.residence)
    splits, counts = loading
    try:
        return SharedData([splits], placement, ray.get(counts))
    except RayTaskError as error:
        if isinstance(error.cause, InputError):
            raise error.cause from None
        raise


@ray.remote(num_cpus=0, num_returns=2)
def _load(store: Store, config: DataConfig, residence: Residence) -> Any:
    data = load(store, config, residence)
    return data, count_strata(data["train"].gender, data["train"].label)


def report_row(metrics: EpochMetrics, kept: EpochMetrics) -> dict[str, Any]:
    """Return what a trial reports of an epoch; ``kept`` is of the epoch kept so far."""
    mean_accuracy = (kept.acc_women + kept.acc_men) / 2
    return {**asdict(metrics), "kept": {**asdict(kept), "mean_accuracy": mean_accuracy}}


def check_workers(config: Config) -> None:
    """Raise `InputError` when the cluster has too few devices: Ray would wait for more for ever."""
    cluster = ray.cluster_resources()
    devices = int(cluster.get("GPU", 0)) or int(cluster.get("CPU", 1))
    if config.workers > devices:
        raise InputError(
            f"--workers {config.workers}: the cluster has {devices} devices; give that or fewer"
        )


def train_on_workers(
    assignment: Assignment,
    shared: "Shared",
    callbacks: Sequence[Any] = (),
) -> None:
    """Train one trial on ``config.workers`` processes with `TorchTrainer`, and wait for its end.

    Parameters
    ----------
    assignment
        The trial; its first worker writes the files.
    shared
        What `share` returned.
    callbacks
        Ray Train's callbacks, called in its controller after each epoch.
    """
    workers = assignment.config.workers
    cluster = ray.cluster_resources()
    gpu = cluster.get("GPU", 0) >= workers
    cpus = 1 if gpu else max(1, int(cluster.get("CPU", 1)) // workers)
    trial = assignment.trial
    TorchTrainer(
        _worker,
        train_loop_config={**assignment.pack(), "shared": shared, "cpus": cpus},
        scaling_config=ScalingConfig(
            num_workers=workers, use_gpu=gpu, resources_per_worker={"CPU": cpus}
        ),
        run_config=RunConfig(
            # Ray Train would silently restore a run of the same name.
            name=f"{trial.id}-{uuid.uuid4().hex[:8]}",
            storage_path=str(trial.path.parents[1] / "logs" / "train"),
            callbacks=list(callbacks),
        ),
    ).fit()


@contextmanager
def following(assignment: Assignment, display: Display, poll: float = 0.5) -> Iterator[None]:
    """Show the epochs of a trial that others train, as its ``metrics.csv`` grows.

    Ray Train calls its callbacks in a process of its own, so the driver looks at the file.
    """
    over = threading.Event()

    def follow() -> None:
        epochs = 0
        while not over.wait(poll):
            trial = Trial(assignment.trial.path)  # reads anew
            if (trial.path / "metrics.csv").exists() and len(trial.metrics) > epochs:
                epochs = len(trial.metrics)
                newest = trial.metrics.iloc[-1]
                running = RunningTrial(
                    trial_id=trial.id,
                    epoch=epochs,
                    epochs=assignment.config.train.epochs,
                    score=Score.of(newest),
                    images_per_second=newest["images_per_second"],
                )
                display.update(display.progress.with_running(running))

    thread = threading.Thread(target=follow, name="follow", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    display.update(display.progress.with_ended(EndedTrial.of(assignment.trial)))


def _worker(config: dict[str, Any]) -> None:
    torch.set_num_threads(config["cpus"])
    data = ray.get(config["shared"][0])
    run_trial(
        Assignment.unpack(config),
        data,
        lambda metrics, kept: ray.train.report(report_row(metrics, kept)),
    )
