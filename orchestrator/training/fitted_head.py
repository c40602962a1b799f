"""One fit of a frozen network's head, and how it judges faces that it was not fitted to."""

import time
from collections.abc import Mapping
from dataclasses import asdict, fields
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import models
from models.config import ModelConfig
from models.losses import LOSSES
from orchestrator.base.errors import InputError
from orchestrator.config.settings import Config
from orchestrator.data.folds import fold_of_rows
from orchestrator.data.store.arrays import Arrays
from orchestrator.judging.fairness import Accuracies, group_metrics, predict_labels
from orchestrator.training.early_stopping import EpochMetrics
from orchestrator.training.head_fit import Rows, fit_heads
from orchestrator.training.images import place_on_device
from orchestrator.training.inference import predict_logits

FROZEN = "the head of a frozen network; set model.name=timm:NAME or resnet50, and unfreeze none"


class FittedHead(NamedTuple):
    """A network whose head was fitted to train, and what it came to."""

    model: nn.Module
    metrics: EpochMetrics
    """Of train and val, each face judged by a head that was fitted to other folds; with
    ``data.folds`` of val alone."""
    logits: Mapping[str, NDArray[np.float32]]
    """Of val and test, by the network."""


def fit_head(config: Config, data: Mapping[str, Arrays]) -> FittedHead:
    """Fit the head of a frozen network to the features of train, on the CPU.

    Parameters
    ----------
    config
        With ``train.optimiser=lbfgs``.
    data
        The splits train, val and test, with their features.

    Raises
    ------
    InputError
        The network has no cached features, or a hidden layer.
    """
    _check(config, data)
    start = time.perf_counter()
    folds = config.fit.folds if config.data.folds is None else 0
    rows, fold = _rows(data["train"], data["val"], folds)
    gender, label = (
        np.concatenate([getattr(data[split], name) for split in ("train", "val")])
        for name in ("gender", "label")
    )
    heads = fit_heads(rows, gender, label, config)
    seconds = time.perf_counter() - start
    network = _network(config.model, data["train"].images.shape[1], config.seed)
    last = models.last_layer(network)
    with torch.no_grad():
        last.weight.copy_(heads.weight[:, -1][None])
        last.bias.copy_(heads.bias[-1:])
    logits = {
        split: predict_logits(
            network, place_on_device(data[split].inputs, torch.device("cpu")), len(data[split])
        )
        for split in ("val", "test")
    }
    if folds:
        logit = heads.logits.numpy()[np.arange(len(fold)), fold]
    else:
        logit, label, gender = logits["val"], data["val"].label, data["val"].gender
    found = asdict(group_metrics(label, predict_labels(logit), gender, config.fair_lambda))
    target = torch.from_numpy(label.astype(np.float32))
    losses = LOSSES[config.loss.name](torch.from_numpy(logit), target, config.loss)
    metrics = EpochMetrics(
        **{field.name: found[field.name] for field in fields(Accuracies)},
        epoch=1,
        lr=0.0,
        train_loss=float(heads.loss[-1]),
        val_loss=float(losses.mean()),
        seconds=time.perf_counter() - start,
        images_per_second=rows.fitted.sum() / seconds,
    )
    return FittedHead(network, metrics, logits)


def _check(config: Config, data: Mapping[str, Arrays]) -> None:
    if not models.caches_features(config.model):
        raise InputError(
            f"train.optimiser=lbfgs: fits {FROZEN} (it is model.name={config.model.name}, "
            f"model.unfreeze={config.model.unfreeze})"
        )
    if config.model.hidden:
        raise InputError(
            f"train.optimiser=lbfgs: fits a linear head; set model.hidden=0 (it is "
            f"{config.model.hidden}), or train.optimiser=adam"
        )
    if config.method.name == "group_dro":
        raise InputError(
            "train.optimiser=lbfgs: group_dro moves its weights step by step; choose erm or "
            "gap_penalty for method.name, or train.optimiser=adam"
        )
    if any(arrays.features is None for arrays in data.values()):
        raise InputError(
            "train.optimiser=lbfgs: there are no cached features of these faces; leave out what "
            "changes the pixels (augment), and choose a smaller model.head"
        )


@lru_cache(maxsize=1)
def _rows(train: Arrays, val: Arrays, folds: int) -> tuple[Rows, NDArray[np.int8]]:
    """Prepare the rows of train and val, once for all the trials of a process.

    Parameters
    ----------
    train, val
        With their features.
    folds
        0: val is a fold itself.

    Returns
    -------
    rows
        Of a head for each fold, which its rows are not fitted to, and one that is fitted to train,
        as any other network, and is the trial's.
    fold
        Of each row, shape (n,); -1 where there are none.
    """
    parts = [arrays.features[:, 0] for arrays in (train, val) if arrays.features is not None]
    features = torch.from_numpy(np.concatenate(parts, dtype=np.float32))  # the faces as they are
    fold = np.full(len(features), -1, np.int8)
    if folds:
        known = bool((train.identity >= 0).all() and (val.identity >= 0).all())
        fold = fold_of_rows(train, val, folds, people=known)
    of_train = np.arange(len(fold)) < len(train)
    return Rows(features, np.column_stack([fold[:, None] != np.arange(folds), of_train])), fold


@lru_cache(maxsize=1)
def _made(model: str, image_size: int, seed: int) -> nn.Module:
    """Make a network, whose random weights are the seed's."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return models.build(ModelConfig.model_validate_json(model), image_size)


def _network(model: ModelConfig, image_size: int, seed: int) -> nn.Module:
    """Give the network for a fit; the trials of a process that differ in the fit share it."""
    return _made(model.model_dump_json(), image_size, seed)
