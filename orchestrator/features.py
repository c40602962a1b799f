"""What a frozen backbone makes of a store's faces: computed once, kept with the data.

::

    DATA/features/<key>/train/part-00000.parquet …   `Features.schema`; a file for each shard of
                                                     the data, its rows in the same order

A key tells all that decides the features: network, head, precision, the weights' digest, and plain
or mirrored. A file is written whole or not at all and says what it belongs to: a computation that
was killed goes on where it was, and files that do not fit are made anew.
"""

import hashlib
import os
import random
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

import models
from orchestrator import machine
from orchestrator.arrays import Arrays
from orchestrator.data import SHARE_OF_MEMORY
from orchestrator.errors import InputError, ReadingError
from orchestrator.files import Anywhere, is_local, reason_of, source_of
from orchestrator.inference import pick_device, uses_bf16
from orchestrator.meta import Shard
from orchestrator.splits import SPLITS
from orchestrator.store import FINGERPRINT, Store

if TYPE_CHECKING:
    from models.backbone import BackboneNetwork
    from orchestrator.config import Config

FOLDER = "features"
KEY = b"fairfront.features"
"""The name, in a file's metadata, of the key that it belongs to."""
PLAIN, MIRRORED = "plain", "mirrored"
SHARE_OF_TRIAL = 0.1
"""Of the machine's memory, for the features of one trial alone; those beside it have theirs."""


@dataclass(frozen=True)
class Features:
    """The features of a store's faces, on disk."""

    store: Store
    key: str
    """But for ``-plain`` or ``-mirrored``."""
    width: int
    """Features a face."""
    variants: Mapping[str, tuple[str, ...]]
    """By split: plain, and mirrored where that is drawn."""

    @property
    def gigabytes(self) -> float:
        """Of all features that are loaded."""
        return sum(shard.rows for _, shard in self.pieces()) * self.width * 2 / 1e9

    def __str__(self) -> str:
        """Say it in a few words."""
        return (
            f"features: resident, {self.gigabytes:.2g} GB, {self.width:,} a face; made once, kept "
            f"in {self.folder(PLAIN)}"
        )

    def folder(self, variant: str) -> Anywhere:
        """Return where the files of a variant are."""
        return self.store.path / FOLDER / f"{self.key}-{variant}"

    def pieces(self) -> list[tuple[str, Shard]]:
        """Return all files, each as the variant and the shard of the data."""
        shards = self.store.meta.shards
        return [
            (variant, shard)
            for split, variants in self.variants.items()
            for variant in variants
            for shard in shards[split]
        ]

    def schema(self, variant: str) -> pa.Schema:
        """Return the columns of a file: a face's features are one run of float16."""
        return pa.schema(
            [pa.field("features", pa.binary(2 * self.width), nullable=False)],
            metadata={
                FINGERPRINT: self.store.meta.fingerprint.encode(),
                KEY: f"{self.key}-{variant}".encode(),
            },
        )

    def undone(self) -> list[tuple[str, Shard]]:
        """Return the files that are missing, cut short or of other data."""
        with ThreadPoolExecutor(16) as pool:  # over a network each check is a wait
            pieces = self.pieces()
            checked = zip(pieces, pool.map(self.is_whole, pieces), strict=True)
            return [piece for piece, whole in checked if not whole]

    def is_whole(self, piece: tuple[str, Shard]) -> bool:
        """Tell whether a file is there and belongs to these features; reads its footer only."""
        try:
            with self._opened(*piece):
                return True
        except (FileNotFoundError, ValueError):
            return False

    def attach(self, data: Mapping[str, Arrays]) -> dict[str, Arrays]:
        """Read the features of whole splits, as `Store.load` or `Store.stream` gave them.

        Raises
        ------
        InputError
            A file is missing or damaged.
        """
        return {split: replace(data[split], features=self._load(split)) for split in data}

    def _load(self, split: str) -> NDArray[np.float16]:
        """Read the features of a split, shape (n, V, D), verifying their checksums."""
        shards, variants = self.store.meta.shards[split], self.variants[split]
        starts = np.cumsum([0, *(shard.rows for shard in shards)])
        features = np.empty((starts[-1], len(variants), self.width), np.float16)

        def read(number: int, variant: str) -> None:
            into = features[starts[number] : starts[number + 1], variants.index(variant)]
            try:
                self._read(variant, shards[number], into)
            except (FileNotFoundError, ValueError) as error:
                folder = self.folder(variant)
                raise InputError(
                    f"{folder / shards[number].file}: {reason_of(error)}; delete {folder} and run "
                    "the same command again, which makes these features anew"
                ) from None

        pairs = [(number, variant) for number in range(len(shards)) for variant in variants]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(lambda pair: read(*pair), pairs))
        return features

    def _read(self, variant: str, shard: Shard, into: NDArray[np.float16]) -> None:
        """Read the features of a shard into an array of shape (n, D)."""
        with self._opened(variant, shard) as parquet:
            start = 0
            for group in range(parquet.num_row_groups):
                column = parquet.read_row_group(group, use_threads=False)["features"]
                for chunk in column.chunks:
                    flat = np.frombuffer(chunk.buffers()[1], np.float16)
                    rows = flat.reshape(-1, self.width)[chunk.offset : chunk.offset + len(chunk)]
                    into[start : start + len(chunk)] = rows
                    start += len(chunk)

    @contextmanager
    def _opened(self, variant: str, shard: Shard) -> Iterator[pq.ParquetFile]:
        """Open the features of a shard.

        Raises
        ------
        FileNotFoundError
            There are none.
        ValueError
            The file is damaged or of other data; raised also while it is read.
        InputError
            The place of the file cannot be reached.
        """
        path = self.folder(variant) / shard.file
        local = is_local(path)
        try:
            with pq.ParquetFile(
                source_of(path), memory_map=local, page_checksum_verification=True
            ) as parquet:
                ours, rows = self.schema(variant), parquet.metadata.num_rows
                if not parquet.schema_arrow.equals(ours, check_metadata=True) or rows != shard.rows:
                    raise ValueError("belongs to other data")
                yield parquet
        except ReadingError as error:
            raise InputError(str(error)) from None
        except (OSError, pa.ArrowException) as error:
            if isinstance(error, FileNotFoundError):
                raise
            if isinstance(error, OSError) and error.errno:  # of the disk, not of what is on it
                raise InputError(f"{path}: {reason_of(error)}") from None
            raise ValueError(f"damaged ({reason_of(error)})") from None


def cache(
    store: Store,
    config: "Config",
    shared_memory: float,
    progress: Callable[[], AbstractContextManager[Callable[[int, int], None]]],
) -> tuple[Features | None, str]:
    """Make a run's features ready on disk, if it trains on any; Ray must run.

    Parameters
    ----------
    store
        The data set.
    config
        The run's configuration.
    shared_memory
        Bytes for objects on the node that has the least.
    progress
        Makes the context in which features are computed, if there are any to compute; it gives a
        function to call with the images done so far and those to do.

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
    features, backbone = prepared
    if undone := features.undone():
        from orchestrator.extraction import extract

        with progress() as show:
            extract(features, undone, backbone, config.train.precision, show)
    return features, str(features)


def cache_here(store: Store, config: "Config") -> Features | None:
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
    prepared = _prepare(store, config, SHARE_OF_TRIAL, machine.memory())
    if isinstance(prepared, str):
        return None
    from orchestrator.extraction import write_file

    features, backbone = prepared
    undone = features.undone()
    random.SystemRandom().shuffle(undone)  # trials that begin together share the work
    device = pick_device()
    for variant, shard in undone:
        if not features.is_whole((variant, shard)):
            autocast = uses_bf16(config.train.precision, device)
            write_file(features, variant, shard, backbone.to(device), autocast)
    return features


def _prepare(
    store: Store, config: "Config", share: float, memory: float
) -> "tuple[Features, BackboneNetwork] | str":
    """Describe the features and make their folders, or say why they are not to be had."""
    if changing := _changes_pixels(config):
        return f"augment.{changing[0]} changes the pixels"
    backbone = _backbone(config, store.meta.image_size)
    features = _describe(backbone, config, store)
    if features.gigabytes * 1e9 > share * memory:
        less = "; model.head=pooled takes less" if config.model.head == "flatten" else ""
        return (
            f"{features.gigabytes:.2g} GB do not fit {memory / 1e9:.2g} GB of shared memory{less}"
        )
    try:
        for folder in {features.folder(variant) for variant, _ in features.pieces()}:
            folder.mkdir(parents=True, exist_ok=True)
    except (OSError, NotImplementedError) as error:
        return f"{store.path} cannot be written to ({reason_of(error)})"
    return features, backbone


def basis(config: "Config") -> tuple[object, ...] | None:
    """Return all that decides a run's features, given the data; None where it trains on pixels.

    A trial can be trained on the features of a run whose basis is its own.
    """
    model = config.model
    if not models.caches_features(model) or _changes_pixels(config):
        return None
    seed = config.seed if model.weights == "random" else None
    flip, precision = config.augment.flip, config.train.precision
    return model.name, model.head, model.weights, seed, flip, precision


def _changes_pixels(config: "Config") -> list[str]:
    """Name the augmentations that features cannot stand in for."""
    return [name for name, value in config.augment if name != "flip" and value]


def _backbone(config: "Config", image_size: int) -> "BackboneNetwork":
    """Make the network as `orchestrator.trial` does, whose random weights are the seed's."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return cast("BackboneNetwork", models.build(config.model, image_size))


def _describe(backbone: "BackboneNetwork", config: "Config", store: Store) -> Features:
    model, train = config.model, config.train
    digest = hashlib.sha256()
    for name, value in backbone.backbone.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.contiguous().numpy().data)
    both = (PLAIN, MIRRORED) if config.augment.flip else (PLAIN,)
    trained = ("train", "val") if config.data.folds is not None else ("train",)
    return Features(
        store,
        key=f"{model.name}-{model.head}-{train.precision}-{digest.hexdigest()[:16]}",
        width=backbone.width,
        variants={split: both if split in trained else (PLAIN,) for split in SPLITS},
    )
