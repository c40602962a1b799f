"""The features that a run, or a trial, trains on: whether it can, and making those that lack."""

import hashlib
import random
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import torch

import models
from models.config import ModelConfig
from orchestrator.base import machine
from orchestrator.base.files import reason_of
from orchestrator.config.settings import Config, Precision
from orchestrator.data.loading import SHARE_OF_MEMORY
from orchestrator.data.splits import SPLITS
from orchestrator.data.store.store import Store
from orchestrator.training.features.compute import write_file
from orchestrator.training.features.stored import MIRRORED, PLAIN, Features, Pieces
from orchestrator.training.inference import computed_in, pick_device, uses_bf16

if TYPE_CHECKING:  # torchvision takes a second to import
    from models.backbone import BackboneNetwork

SHARE_OF_TRIAL = 0.1
"""Of the machine's memory, for the features of one trial alone; those beside it have theirs."""

Extract = Callable[[Features, Pieces, "BackboneNetwork", Precision], None]
"""Computes some files of features, as `Features.pieces` gives them, in a precision."""


def cache(
    store: Store,
    config: Config,
    shared_memory: float,
    extract: Extract,
) -> tuple[Features | None, str]:
    """Make a run's features ready on disk, if it trains on any; Ray must run.

    Parameters
    ----------
    store
        The data set.
    config
        The run's configuration, its precision as it comes to be where the features are computed.
    shared_memory
        Bytes for objects on the node that has the least.
    extract
        Computes the files that are not there yet.

    Returns
    -------
    features
        None where the trials need the pixels.
    sentence
        For the user; empty where nothing is frozen.

    Raises
    ------
    InputError
        The network or its weights cannot be had, the data are damaged, or the disk is full.
    """
    if not models.caches_features(config.model):
        return None, ""
    prepared = _prepare(store, config, SHARE_OF_MEMORY, shared_memory)
    if isinstance(prepared, str):
        sentence = f"features: the frozen network runs anew in every epoch, since {prepared}"
        return None, sentence
    features, parts = prepared
    for part, backbone in parts:
        if undone := part.undone():
            extract(part, undone, backbone, config.train.precision)
    return features, str(features)


def cache_here(store: Store, config: Config) -> Features | None:
    """Make the features of a trial ready on disk, in this process, if it trains on any.

    For the trials of a sweep that differ in their networks: the first of each makes them.

    Parameters
    ----------
    store
        The data set.
    config
        The trial's configuration.

    Raises
    ------
    InputError
        The network or its weights cannot be had, or the data are damaged.
    OSError
        The features cannot be written.
    """
    if basis(config) is None:
        return None
    device = pick_device()
    config = in_precision(config, computed_in(config.train.precision, device))
    prepared = _prepare(store, config, SHARE_OF_TRIAL, machine.memory())
    if isinstance(prepared, str):
        return None
    features, parts = prepared
    autocast = uses_bf16(config.train.precision, device)
    for part, backbone in parts:
        undone = part.undone()
        random.SystemRandom().shuffle(undone)  # trials that begin together share the work
        for variant, shard in undone:
            if not part.is_whole((variant, shard)):
                write_file(part, variant, shard, backbone.to(device), autocast)
    return features


def in_precision(config: Config, precision: Precision) -> Config:
    """Return a configuration with a precision in the place of its own."""
    train = config.train.model_copy(update={"precision": precision})
    return config.model_copy(update={"train": train})


def _prepare(
    store: Store, config: Config, share: float, memory: float
) -> "tuple[Features, list[tuple[Features, BackboneNetwork]]] | str":
    """Describe the features and make their folders, or say why they are not to be had.

    Returns
    -------
    The features, and what they consist of with the network that makes it, for each size.
    """
    if changing := _changes_pixels(config):
        return f"augment.{changing[0]} changes the pixels"
    parts = []
    for size in config.model.sizes:
        model = config.model.model_copy(update={"image_size": size, "mirror": False})
        alone = config.model_copy(update={"model": model})
        backbone = _backbone(alone, store.meta.image_size)
        parts.append((_describe(backbone, alone, store, mirror=config.model.mirror), backbone))
    first, *others = (part for part, _ in parts)
    features = replace(first, beside=tuple(others))
    if features.gigabytes * 1e9 > share * memory:
        less = "; model.head=pooled takes less" if config.model.head == "flatten" else ""
        return (
            f"{features.gigabytes:.2g} GB do not fit {memory / 1e9:.2g} GB of shared memory{less}"
        )
    try:
        for folder in {part.folder(variant) for part, _ in parts for variant, _ in part.pieces()}:
            folder.mkdir(parents=True, exist_ok=True)
    except (OSError, NotImplementedError) as error:
        return f"{store.path} cannot be written to ({reason_of(error)})"
    return features, parts


def basis(config: Config) -> tuple[object, ...] | None:
    """Return all that decides a run's features, given the data; None where it trains on pixels.

    A trial can be trained on the features of a run whose basis is its own.
    """
    model = config.model
    if not models.caches_features(model) or _changes_pixels(config):
        return None
    seed = config.seed if model.weights == "random" else None
    flip, precision = config.augment.flip, config.train.precision
    seen = model.image_size, model.mirror
    return model.name, model.head, seen, model.weights, seed, flip, precision


def _changes_pixels(config: Config) -> list[str]:
    """Name the augmentations that features cannot stand in for."""
    return [name for name, value in config.augment if name != "flip" and value]


def _backbone(config: Config, image_size: int) -> "BackboneNetwork":
    """Make the network as `run_trial` does, whose random weights are the seed's."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return cast("BackboneNetwork", models.build(config.model, image_size))


def _describe(
    backbone: "BackboneNetwork", config: Config, store: Store, *, mirror: bool = False
) -> Features:
    model, train = config.model, config.train
    digest = hashlib.sha256()
    for name, value in backbone.backbone.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.contiguous().numpy().data)
    both = (PLAIN, MIRRORED) if mirror or config.augment.flip else (PLAIN,)
    trained = ("train", "val") if config.data.folds is not None else ("train",)
    in_both = SPLITS if mirror else trained
    return Features(
        store,
        key=f"{_file_name(model)}-{model.head}-{train.precision}-{digest.hexdigest()[:16]}",
        width=backbone.width,
        variants={split: both if split in in_both else (PLAIN,) for split in SPLITS},
        averaged=mirror,
    )


def _file_name(model: ModelConfig) -> str:
    size = f"-{model.image_size}" if model.image_size else ""
    return model.name.replace(":", "-").replace("/", "-") + size
