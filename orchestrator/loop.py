"""One training loop in plain torch: it knows nothing of Ray, files or the terminal.

Where `torch.distributed` has a process group, its processes share each global batch, and every
validation row is evaluated by exactly one of them; without one this is an ordinary loop.
"""

import copy
import math
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from models.losses import LOSSES, weighted_mean
from orchestrator.balance import draw, sample_weights
from orchestrator.fairness import group_metrics, predict_labels
from orchestrator.store import Arrays
from orchestrator.strict import Strict

if TYPE_CHECKING:
    from orchestrator.config import Config

EVALUATION_BATCH = 256
ADAM_BETAS = (0.9, 0.999)
ADAM_EPSILON = 1e-7  # Keras's; torch's own default is 1e-8

Monitor = Literal["val_loss", "fair", "worst_group"]
Precision = Literal["auto", "fp32", "bf16"]


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


@dataclass(frozen=True, slots=True)
class EpochMetrics:
    """A row of ``metrics.csv``; the accuracies are on validation data at threshold 0.5."""

    epoch: int
    """From 1."""
    lr: float
    """As the epoch ended."""
    train_loss: float
    """The weighted loss that was minimised, a mean over the epoch's draw."""
    val_loss: float
    """The unweighted loss, a mean over the rows that the balance policy draws from val."""
    accuracy: float
    acc_women: float
    acc_men: float
    gap: float
    fair: float
    fair_lambda1: float
    worst_group: float
    seconds: float
    """Training and validation."""
    images_per_second: float
    """Training images over the seconds of training alone, all workers together."""


class EarlyStopping:
    """Keras's ``EarlyStopping`` without a minimum change: which epoch is best, and when to stop.

    Parameters
    ----------
    monitor
        A field of `EpochMetrics`; ``val_loss`` is minimised, the others are maximised.
    patience
        Epochs in a row without improvement before it says stop; None: never.
    """

    def __init__(self, monitor: Monitor, patience: int | None) -> None:
        self._monitor: Monitor = monitor
        self._patience = patience
        self._best = math.inf
        self._wait = 0

    def improved(self, metrics: EpochMetrics) -> bool:
        """Take an epoch in and tell whether it is the best so far."""
        value: float = getattr(metrics, self._monitor)
        value = value if self._monitor == "val_loss" else -value
        if value < self._best:
            self._best, self._wait = value, 0
            return True
        self._wait += 1
        return False

    @property
    def should_stop(self) -> bool:
        """Whether patience has run out."""
        return self._patience is not None and self._wait >= self._patience


class Training:
    """The training of one network on one data set; iterate over it to train.

    Each step of the iteration trains one epoch, validates, and gives its `EpochMetrics`. When the
    iteration has ended, `model` holds the weights of `kept`.

    Parameters
    ----------
    config
        The run's configuration.
    model
        Takes float images (n, 3, H, W) in [0, 1] and gives logits (n,). It is trained in place.
    train, val
        Decoded splits, resident in memory.
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
        self._autocast = uses_bf16(config.train.precision, self.device)
        self._rank, self._world = rank_and_world()
        # channels_last is how the store's pixels lie, and what convolutions like best.
        self.model = model.to(self.device).to(memory_format=torch.channels_last)
        self._wrapped: nn.Module = (
            DistributedDataParallel(self.model) if self._world > 1 else self.model
        )
        self._val = val
        self._val_rows = draw(config.balance, val.gender, val.label, val.rank)
        self._images = _tensor(train.images).to(self.device)
        self._labels = _tensor(train.label).to(self.device, torch.float32)
        self._rows = draw(config.balance, train.gender, train.label, train.rank)
        weights = np.ones(len(train.label), np.float32)
        weights[self._rows] = sample_weights(
            config.balance, train.gender[self._rows], train.label[self._rows]
        )
        self._weights = torch.from_numpy(weights).to(self.device)
        self._optimizer = torch.optim.AdamW(
            [parameter for parameter in self.model.parameters() if parameter.requires_grad],
            lr=config.train.lr,
            betas=ADAM_BETAS,
            weight_decay=config.train.weight_decay,
            fused=True,
        )
        steps = math.ceil(len(self._rows) / config.train.batch_size) * config.train.epochs
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
            metrics = self._epoch(epoch)
            improved = stopping.improved(metrics)
            if improved or self.config.train.keep == "last":
                self.kept = metrics
            if improved and self.config.train.keep == "best":
                best_weights = copy.deepcopy(self.model.state_dict())
            yield metrics
            if stopping.should_stop:
                break
        if best_weights is not None:
            self.model.load_state_dict(best_weights)

    def logits(self, arrays: Arrays) -> NDArray[np.float32]:
        """Return the logit of every row of `arrays`, shape (n,), in order, on every worker."""
        return predict_logits(self.model, arrays.images, self.device, self._autocast)

    def _epoch(self, epoch: int) -> EpochMetrics:
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
        return EpochMetrics(
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
            images_per_second=len(self._rows) / (trained - start),
        )

    def _train_epoch(self, epoch: int) -> float:
        self._wrapped.train()
        total = torch.zeros((), device=self.device)
        for rows, flips, batch in self._batches(epoch):
            total += self._step(rows, flips, batch)
        if self._world > 1:
            dist.all_reduce(total)
        return float(total) / len(self._rows)  # the epoch's only synchronisation

    def _batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor, int]]:
        """Give this worker's rows of each global batch, whether to flip each, and its full size.

        The order and the flips are drawn for the whole epoch, so that the number of workers
        changes neither.
        """
        rng = np.random.default_rng([self.config.seed, epoch])
        order = torch.from_numpy(rng.permutation(self._rows)).to(self.device)
        flips = torch.from_numpy(rng.random(len(order)) < 0.5 * self.config.train.flip)
        flips = flips.to(self.device)
        for start in range(0, len(order), self.config.train.batch_size):
            batch = slice(start, start + self.config.train.batch_size)
            mine = slice(self._rank, None, self._world)
            yield order[batch][mine], flips[batch][mine], len(order[batch])

    def _step(self, rows: Tensor, flips: Tensor, batch: int) -> Tensor:
        """Take one optimiser step; return this worker's part of the batch's summed loss."""
        idle = len(rows) == 0  # the last batch may be smaller than the number of workers
        if idle:  # take part in the gradient's all-reduce with a row that weighs nothing
            rows, flips = torch.zeros(1, dtype=torch.int64, device=self.device), flips.new_zeros(1)
        weights = self._weights[rows] * (0.0 if idle else 1.0)
        images = self._images[rows]
        images = torch.where(flips[:, None, None, None], images.flip(2), images)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._autocast):
            logit = self._wrapped(to_input(images))
        per_sample = LOSSES[self.config.loss.name](
            logit.float(), self._labels[rows], self.config.loss
        )
        loss = weighted_mean(per_sample, weights, batch)
        self._optimizer.zero_grad(set_to_none=True)
        # DistributedDataParallel averages over workers what Keras's reduction sums over the batch.
        (loss * self._world).backward()  # type: ignore[no-untyped-call]
        self._optimizer.param_groups[0]["eps"] = keras_epsilon(self._scheduler.last_epoch + 1)
        self._optimizer.step()
        self._scheduler.step()
        return loss.detach() * batch

    def _val_loss(self, logit: NDArray[np.float32]) -> float:
        rows = self._val_rows
        label = torch.from_numpy(self._val.label[rows].astype(np.float32))
        loss = LOSSES[self.config.loss.name](torch.from_numpy(logit[rows]), label, self.config.loss)
        return float(loss.mean())


def pick_device() -> torch.device:
    """Return this process's CUDA device, or the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def uses_bf16(precision: Precision, device: torch.device) -> bool:
    """Tell whether to compute in bf16; auto: where the device does, since emulated it is slow."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    features = torch.cpu.get_capabilities()
    return any(bool(features.get(name, False)) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def to_input(images: Tensor) -> Tensor:
    """Turn uint8 (n, H, W, 3) into floats (n, 3, H, W) in [0, 1], still channels last in memory."""
    return images.permute(0, 3, 1, 2).float() / 255.0


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


@torch.inference_mode()
def predict_logits(
    model: nn.Module, images: NDArray[np.uint8], device: torch.device, autocast: bool = False
) -> NDArray[np.float32]:
    """Return the logits (n,) of uint8 images (n, H, W, 3), each evaluated by exactly one worker."""
    model.eval()
    rank, world = rank_and_world()
    mine = _tensor(images)[rank::world]
    parts = []
    for batch in torch.split(mine, EVALUATION_BATCH):
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            parts.append(model(to_input(batch.to(device))).float())
    local = torch.cat(parts) if parts else torch.zeros(0, device=device)
    return _gather(local, len(images)).cpu().numpy()


def _gather(local: Tensor, total: int) -> Tensor:
    """Put the workers' interleaved rows back in order, on every worker."""
    _, world = rank_and_world()
    if world == 1:
        return local
    padded = local.new_zeros(math.ceil(total / world))
    padded[: len(local)] = local
    everyone = [torch.empty_like(padded) for _ in range(world)]
    dist.all_gather(everyone, padded)
    return torch.stack(everyone, dim=1).flatten()[:total]


def rank_and_world() -> tuple[int, int]:
    """Return this process's rank and the number of workers; 0 and 1 without a process group."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def _tensor(array: NDArray[np.generic]) -> Tensor:
    """View an array as a tensor; the loop only reads it, so read-only shared memory is fine."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)
