"""A run's data, read once and shared with every process of the cluster."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import ray
from ray.exceptions import RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import models
from orchestrator.base.errors import InputError
from orchestrator.config.settings import Config, Precision, ResourcesConfig
from orchestrator.data.loading import Placement, load, place_pixels
from orchestrator.data.splits import Counts
from orchestrator.data.store.arrays import Arrays
from orchestrator.data.store.store import Store
from orchestrator.distributed import devices
from orchestrator.distributed.devices import ANY, Node
from orchestrator.distributed.extraction import extract
from orchestrator.distributed.load_splits import load_splits
from orchestrator.distributed.stream_windows import read_on_ray
from orchestrator.run.screen import Screen
from orchestrator.training.features.cache import basis, cache, cache_here, in_precision
from orchestrator.training.features.stored import Features, Pieces
from orchestrator.training.inference import computed_in, pick_device

if TYPE_CHECKING:  # torchvision takes a second to import
    from models.backbone import BackboneNetwork


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
            return load(
                self.store, config.data, "stream", reader=read_on_ray, attach=features.attach
            )
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


def shared_memory(wanted: ResourcesConfig = ANY) -> float:
    """Return the bytes for objects on the training node that has the least."""
    return min(node.shared_memory for node in _where_trials_run(wanted))


def _where_trials_run(wanted: ResourcesConfig) -> list[Node]:
    """Return the nodes that train, or all that there are while those are still to come.

    A cluster's head may have no CPU for tasks, and a small object store.
    """
    there = devices.nodes()
    return devices.training_nodes(there, wanted) or there


def _on_a_training_node(wanted: ResourcesConfig = ANY) -> Any:
    """Have a task run, and leave what it returns, where trials will read it."""
    node = max(_where_trials_run(wanted), key=lambda node: node.shared_memory)
    return NodeAffinitySchedulingStrategy(node.id, soft=True)


def share_splits(store: Store, config: Config, features: Features | None = None) -> SharedData:
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
    placement = place_pixels(data, store, shared_memory(config.resources))
    # Loaded by a process of its own, whose memory is free again once the splits are in the object
    # store, and not fetched to this one's node, which may not train.
    reading = config.model_copy(update={"data": data})
    task: Any = load_splits.options(scheduling_strategy=_on_a_training_node(config.resources))
    splits, counts = task.remote(store, reading, placement.residence, features)
    try:
        shared = Shared([splits], store, basis(config) if features else None)
        return SharedData(shared, placement, ray.get(counts))
    except RayTaskError as error:
        if isinstance(error.cause, InputError):
            raise error.cause from None
        raise


def _precision_there(precision: Precision) -> Precision:
    """Return what a precision comes to on such a device as extracts the features."""
    if precision != "auto":
        return precision
    gpus = ray.cluster_resources().get("GPU", 0)
    asked: Any = _computed_in.options(num_gpus=0.001 if gpus else 0)
    there: Precision = ray.get(asked.remote(precision))
    return there


@ray.remote(num_cpus=0)
def _computed_in(precision: Precision) -> Precision:
    return computed_in(precision, pick_device())


def share_data(store: Store, config: Config, screen: Screen) -> SharedData:
    """Make the data ready for the trials, and say where they are kept.

    Raises
    ------
    InputError
        As `cache` and `share_splits` do.
    """

    def compute(
        features: Features, pieces: Pieces, network: "BackboneNetwork", precision: Precision
    ) -> None:
        with screen.count_rows("computing features") as show:
            extract(features, pieces, network, precision, show)

    precise = config
    if models.caches_features(config.model):  # auto is another precision on another machine
        precise = in_precision(config, _precision_there(config.train.precision))
    features, sentence = cache(store, precise, shared_memory(config.resources), compute)
    shared = share_splits(store, config, features)
    note = models.note_on_size(config.model, store.meta.image_size)
    for line in filter(None, (note, sentence, None if features else str(shared.placement))):
        screen.say(line)
    return shared
