"""One training loop in plain torch: it knows nothing of Ray, files or the terminal.

Its images come in batches from `orchestrator.images`, which knows whether they lie in memory.
Where `torch.distributed` has a process group, its processes share each global batch, and every
validation row is evaluated by exactly one of them; without one this is an ordinary loop.
"""

import copy
import math
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from models.losses import LOSSES, weighted_mean
from orchestrator.arrays import Arrays
from orchestrator.balance import draw, expected_counts, sample_weights
from orchestrator.fairness import group_metrics, predict_labels
from orchestrator.images import as_tensor, hold
from orchestrator.inference import (
    Precision,
    pick_device,
    predict_logits,
    rank_and_world,
    to_input,
    uses_bf16,
)
from orchestrator.shuffle import epoch_order, worker_share
from orchestrator.splits import count_strata
from orchestrator.stopping import EarlyStopping, EpochMetrics, Monitor
from orchestrator.strict import Strict

if TYPE_CHECKING:
    from orchestrator.config import Config

ADAM_BETAS = (0.9, 0.999)
ADAM_EPSILON = 1e-7  # Keras's; torch's own default is 1e-8


class TrainConfig(Strict):
    """How a network is trained. The defaults are the sweep's recipe."""

    epochs: int = Field(default=10, ge=1)
    batch_size: int = Field(default=32, ge=1)
    """Images a step, over all workers."""
    lr: float = Field(default=1e-3, gt=0)
    """Adam's peak learning rate."""
    weight_decay: float = Field(default=0.0, ge=0)
    schedule: Literal["constant", "cosine"] = "cosine"
    warmup: float = Field(default=0.05, ge=0, lt=1)
    """The share of the cosine schedule's steps in which the learning rate rises."""
    flip: bool = True
    """Mirror half of the training faces, drawn anew each epoch."""
    monitor: Monitor = "fair"
    """What early stopping and the kept epoch are judged by, on validation data."""
    patience: int | None = Field(default=None, ge=1)
    """Stop after this many epochs in a row without improvement (Keras's rule); null: never."""
    keep: Literal["best", "last"] = "best"
    precision: Precision = "auto"
    """auto: bf16 autocast where the device computes in it."""


class TrainingError(RuntimeError):
    """Training cannot go on; the message names the epoch and the settings to change."""


class Batch(NamedTuple):
    """One worker's share of a global batch; m rows."""

    images: Tensor
    """uint8, shape (m, H, W, 3)."""
    labels: Tensor
    weights: Tensor
    size: int
    """Rows of the global batch."""


class Training:
    """The training of one network on one data set; iterate over it to train.

    Each step of the iteration trains one epoch, validates, and gives its `EpochMetrics`. When the
    iteration has ended, `model` holds the weights of `kept`, and `kept_logit` its logits of val.

    Parameters
    ----------
    config
        The run's configuration.
    model
        Takes float images (n, 3, H, W) in [0, 1] and gives logits (n,). It is trained in place.
    train, val
        Decoded splits, in memory or streamed: both give the same rows in the same order.
    device
        Where to compute; by default `pick_device`'s.
    """

    def __init__(
        self,
        config: "Config",
        model: nn.Module,
        train: Arrays,
        val: Arrays,
        device: torch.device | None = None,
    ) -> None:
        self.config = config
        self.device = device or pick_device()
        self.kept: EpochMetrics | None = None
        self.kept_logit = np.empty(0, np.float32)
        self._autocast = uses_bf16(config.train.precision, self.device)
        self._rank, self._world = rank_and_world()
        # channels_last is how the store's pixels lie, and what convolutions like best.
        self.model = model.to(self.device).to(memory_format=torch.channels_last)
        self._wrapped: nn.Module = (
            DistributedDataParallel(self.model) if self._world > 1 else self.model
        )
        self._train, self._val = train, val
        self._train_images = hold(train.images, self.device)
        self._val_images = hold(val.images, self.device)
        self._val_rows = draw(config.balance, val.gender, val.label, val.rank)
        self._labels = as_tensor(train.label).to(self.device, torch.float32)
        weights = sample_weights(config.balance, train.gender, train.label)
        self._weights = torch.from_numpy(weights).to(self.device)
        self._optimizer = torch.optim.AdamW(
            [parameter for parameter in self.model.parameters() if parameter.requires_grad],
            lr=config.train.lr,
            betas=ADAM_BETAS,
            weight_decay=config.train.weight_decay,
            fused=True,
        )
        counts = count_strata(train.gender, train.label)
        self._drawn = sum(expected_counts(config.balance, counts).values())
        steps = math.ceil(self._drawn / config.train.batch_size) * config.train.epochs
        self._scheduler = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, lambda step: lr_factor(config.train, steps, step)
        )

    def __iter__(self) -> Iterator[EpochMetrics]:
        """Train epoch by epoch, until the last one or until early stopping."""
        stopping = EarlyStopping(self.config.train.monitor, self.config.train.patience)
        best_weights: dict[str, Tensor] | None = None
        # Dropout must differ between the workers of one step; all else is drawn for all of them.
        torch.manual_seed(self.config.seed * 1009 + self._rank)
        for epoch in range(self.config.train.epochs):
            metrics, logit = self._epoch(epoch)
            improved = stopping.improved(metrics)
            if improved or self.config.train.keep == "last":
                self.kept, self.kept_logit = metrics, logit
            if improved and self.config.train.keep == "best":
                best_weights = copy.deepcopy(self.model.state_dict())
            yield metrics
            if stopping.should_stop:
                break
        if best_weights is not None:
            self.model.load_state_dict(best_weights)

    def logits(self, arrays: Arrays) -> NDArray[np.float32]:
        """Return the logit of every row of `arrays`, shape (n,), in order, on every worker."""
        ours = arrays is self._val
        images = self._val_images if ours else hold(arrays.images, self.device)
        return predict_logits(self.model, images, len(arrays), self._autocast)

    def _epoch(self, epoch: int) -> tuple[EpochMetrics, NDArray[np.float32]]:
        """Train and validate; return the metrics and the logits of val."""
        start = time.perf_counter()
        train_loss = self._train_epoch(epoch)
        trained = time.perf_counter()
        logit = self.logits(self._val)
        if not (math.isfinite(train_loss) and np.isfinite(logit).all()):
            raise TrainingError(
                f"training diverged in epoch {epoch + 1} (loss {train_loss:g}) with "
                f"train.lr={self.config.train.lr:g}, loss.gamma={self.config.loss.gamma:g} in "
                f"{'bf16' if self._autocast else 'fp32'}; lower train.lr or use fp32"
            )
        groups = group_metrics(
            self._val.label, predict_labels(logit), self._val.gender, self.config.fair_lambda
        )
        metrics = EpochMetrics(
            epoch=epoch + 1,
            lr=self._optimizer.param_groups[0]["lr"],
            train_loss=train_loss,
            val_loss=self._val_loss(logit),
            accuracy=groups.accuracy,
            acc_women=groups.acc_women,
            acc_men=groups.acc_men,
            gap=groups.gap,
            fair=groups.fair,
            fair_lambda1=groups.fair_lambda1,
            worst_group=groups.worst_group,
            seconds=time.perf_counter() - start,
            images_per_second=self._drawn / (trained - start),
        )
        return metrics, logit

    def _train_epoch(self, epoch: int) -> float:
        self._wrapped.train()
        total = torch.zeros((), device=self.device)
        for batch in self._batches(epoch):
            total += self._step(batch)
        if self._world > 1:
            dist.all_reduce(total)
        return float(total) / self._drawn  # the epoch's only synchronisation

    def _batches(self, epoch: int) -> Iterator[Batch]:
        """Give this worker's share of each global batch.

        The order and the flips are drawn for the whole epoch, so that the number of workers
        changes neither.
        """
        train, size = self._train, self.config.train.batch_size
        rng = np.random.default_rng([self.config.seed, epoch])
        drawn = draw(self.config.balance, train.gender, train.label, train.rank, epoch=epoch)
        order = epoch_order(drawn, train.block, rng)
        flips = rng.random(len(order)) < 0.5 * self.config.train.flip
        mine = worker_share(len(order), size, self._rank, self._world)
        share = len(range(self._rank, size, self._world))
        images = self._train_images.batches(order[mine], max(1, share))
        rows = torch.from_numpy(order[mine]).to(self.device)
        flip = torch.from_numpy(flips[mine]).to(self.device)
        for step, start in enumerate(range(0, len(order), size)):
            part = slice(step * share, (step + 1) * share)
            whole = min(size, len(order) - start)
            if len(rows[part]):
                mirrored = _flipped(next(images), flip[part])
                yield Batch(mirrored, self._labels[rows[part]], self._weights[rows[part]], whole)
            else:  # fewer rows than workers: join the gradient's all-reduce, with no weight
                blank = torch.zeros((1, *train.images.shape[1:]), device=self.device)
                yield Batch(blank, self._labels[:1], 0 * self._weights[:1], whole)

    def _step(self, batch: Batch) -> Tensor:
        """Take one optimiser step; return this worker's part of the batch's summed loss."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._autocast):
            logit = self._wrapped(to_input(batch.images))
        per_sample = LOSSES[self.config.loss.name](logit.float(), batch.labels, self.config.loss)
        loss = weighted_mean(per_sample, batch.weights, batch.size)
        self._optimizer.zero_grad(set_to_none=True)
        # DistributedDataParallel averages over workers what Keras's reduction sums over the batch.
        (loss * self._world).backward()  # type: ignore[no-untyped-call]
        self._optimizer.param_groups[0]["eps"] = keras_epsilon(self._scheduler.last_epoch + 1)
        self._optimizer.step()
        self._scheduler.step()
        return loss.detach() * batch.size

    def _val_loss(self, logit: NDArray[np.float32]) -> float:
        rows = self._val_rows
        label = torch.from_numpy(self._val.label[rows].astype(np.float32))
        loss = LOSSES[self.config.loss.name](torch.from_numpy(logit[rows]), label, self.config.loss)
        return float(loss.mean())


def _flipped(images: Tensor, flips: Tensor) -> Tensor:
    """Mirror those of the images (n, H, W, 3) for which `flips` (n,) is true."""
    return torch.where(flips[:, None, None, None], images.flip(2), images)


def lr_factor(config: TrainConfig, steps: int, step: int) -> float:
    """Return the share of ``train.lr`` that step `step` (from 0) of `steps` uses.

    Constant, or a linear warm-up and then half a cosine down to 0.
    """
    if config.schedule == "constant":
        return 1.0
    warmup = round(config.warmup * steps)
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, (step - warmup) / (steps - warmup))))


def keras_epsilon(step: int) -> float:
    """Return the epsilon that makes torch's Adam take Keras's step `step`, counted from 1.

    Keras adds its epsilon to the root of the second moment before correcting its bias, torch
    after: with the same number, four weights in ten differ by more than 1e-5 after one step.
    """
    return ADAM_EPSILON / math.sqrt(1.0 - ADAM_BETAS[1] ** step)
