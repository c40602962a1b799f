"""One training loop in plain torch: it knows nothing of Ray, files or the terminal.

Its images come in batches from `orchestrator.training.batches`, wherever they lie. Where
`torch.distributed` has a process group, its processes share each global batch, and every
validation row is evaluated by exactly one of them; without one this is an ordinary loop.
"""

import copy
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields, replace
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import models
from models.batch import Batch
from models.losses import LOSSES
from models.methods import METHODS
from orchestrator.base.errors import InputError
from orchestrator.config.settings import Config
from orchestrator.data.balance import draw_rows
from orchestrator.data.store.arrays import Arrays
from orchestrator.judging.fairness import Accuracies, group_metrics, predict_labels
from orchestrator.training.batches import Batches, Drawn
from orchestrator.training.cuda_graph import Recorded
from orchestrator.training.early_stopping import EarlyStopping, EpochMetrics
from orchestrator.training.images import place_on_device
from orchestrator.training.inference import pick_device, predict_logits, rank_and_world, uses_bf16
from orchestrator.training.last_layer import features_of, fit_last_layer
from orchestrator.training.optimiser import Optimiser


class TrainingError(RuntimeError):
    """Training cannot go on; the message names the step and the settings to change."""


def norms_apart(workers: int) -> str:
    """Say why so many workers cannot train a network with batch norm on CPUs."""
    return (
        f"--workers {workers}: batch norm would see a worker's share of the batch alone, since "
        "torch shares none among CPUs; give --workers 1, or choose a network without it"
    )


class Training:
    """The training of one network on one data set; iterate over it to train.

    Each step of the iteration trains one epoch, validates, and gives its `EpochMetrics`; where the
    last layer is retrained, that comes after them, as epoch ``train.epochs + 1``. When the
    iteration has ended, `model` holds the weights of `kept`, and `kept_logit` its logits of val.
    Every random draw is a function of the seed, the epoch and the worker, so that a training that
    goes on from `state_dict` ends in the same weights.

    Parameters
    ----------
    config
        The run's configuration.
    model
        What `models.build` made. It is trained in place.
    train, val
        Splits in memory or streamed: both give the same rows in the same order.
    device
        Where to compute; by default `pick_device`'s.
    """

    def __init__(
        self,
        config: Config,
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
        torch.backends.cudnn.allow_tf32 = False  # else fp32 would be tf32 in convolutions
        # channels_last is how the store's pixels lie, and what convolutions like best.
        self.model = self._sharing_norms(model).to(self.device)
        self.model.to(memory_format=torch.channels_last)
        wrapped = self.model
        if self._world > 1:  # `_synchronise` sees to the buffers, once an epoch
            wrapped = DistributedDataParallel(
                self.model, broadcast_buffers=False, gradient_as_bucket_view=True
            )
        if config.train.compile:
            wrapped.compile()
        self._network = wrapped
        self._train, self._val = train, val
        self._batches = Batches(config, train, self.device)
        self._val_images = place_on_device(val.inputs, self.device)
        self._val_rows = draw_rows(config.balance, val.gender, val.label, val.rank)
        self._method = METHODS[config.method.name](config.method).to(self.device)
        groups = models.parameter_groups(self.model, config.model)
        steps = self._batches.steps * config.train.epochs
        self._optimiser = Optimiser(config.train, self.model, groups, steps)
        self._stopping = EarlyStopping(config.train.monitor, config.train.patience)
        self._best: dict[str, Tensor] | None = None
        # NOTE: NCCL's all-reduce could be recorded as well, after eleven steps of DDP's own.
        self._recorded = (
            Recorded(self.device) if self.device.type == "cuda" and self._world == 1 else None
        )
        self._epoch = 0
        """Epochs trained."""

    def __iter__(self) -> Iterator[EpochMetrics]:
        """Train epoch by epoch, until the last one or until early stopping."""
        while self._epoch < self.config.train.epochs and not self._stopping.should_stop:
            metrics, logit = self._train_and_judge()
            self._epoch += 1
            improved = self._stopping.improved(metrics)
            if improved or self.config.train.keep == "last":
                self.kept, self.kept_logit = metrics, logit
            if improved and self.config.train.keep == "best":
                self._best = copy.deepcopy(self._optimiser.model_to_judge.state_dict())
            yield metrics
        if self.kept and self.kept.epoch > self._epoch:
            return  # gone on from after the last layer: nothing is left to do
        self.model.load_state_dict(self._best or self._optimiser.model_to_judge.state_dict())
        if len(self._batches.held_out):
            self.kept, self.kept_logit = self._retrain_last_layer()
            yield self.kept

    def logits(self, arrays: Arrays) -> NDArray[np.float32]:
        """Return `model`'s logit of every row, shape (n,), in order, on every worker."""
        images = (
            self._val_images if arrays is self._val else place_on_device(arrays.inputs, self.device)
        )
        return predict_logits(self.model, images, len(arrays), self._autocast)

    def state_dict(self) -> dict[str, Any]:
        """Return all that the rest of the training depends on: tensors and plain values."""
        return {
            "epoch": self._epoch,
            "model": self.model.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "method": self._method.state_dict(),
            "stopping": self._stopping.state_dict(),
            "best": self._best,
            "kept": asdict(self.kept) if self.kept else None,
            "kept_logit": torch.from_numpy(self.kept_logit),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where `state_dict` was taken; on every worker alike."""
        self._epoch = state["epoch"]
        self.model.load_state_dict(state["model"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._method.load_state_dict(state["method"])
        self._stopping.load_state_dict(state["stopping"])
        self._best = state["best"]
        self.kept = EpochMetrics.of(state["kept"]) if state["kept"] else None
        self.kept_logit = state["kept_logit"].cpu().numpy()

    def _sharing_norms(self, model: nn.Module) -> nn.Module:
        """Have batch norm see the global batch, or each worker would train another network."""
        if self._world == 1 or not models.normalises_over_batch(model):
            return model
        if self.device.type != "cuda":
            raise InputError(norms_apart(self._world))
        convert: Any = nn.SyncBatchNorm.convert_sync_batchnorm
        synchronised: nn.Module = convert(model)
        return synchronised

    def _train_and_judge(self) -> tuple[EpochMetrics, NDArray[np.float32]]:
        """Train an epoch and validate; return the metrics and the logits of val."""
        start = time.perf_counter()
        losses = self._train_epoch()
        trained = time.perf_counter()
        logit = self._validate()
        bad = np.flatnonzero(~np.isfinite(losses))
        if len(bad) or not np.isfinite(logit).all():
            step = int(bad[0]) if len(bad) else len(losses) - 1
            raise TrainingError(self._divergence(step, losses[step]))
        train_loss = float(losses.sum()) / self._batches.drawn
        rate = self._batches.drawn / (trained - start)
        return self._metrics(logit, self._optimiser.lr, train_loss, start, rate), logit

    def _train_epoch(self) -> NDArray[np.float64]:
        """Return each step's objective times the rows of its global batch."""
        self._network.train()
        # What dropout draws differs between the workers of one step; all else is drawn for all.
        seed = np.random.SeedSequence([self.config.seed, self._epoch, self._rank])
        torch.manual_seed(int(seed.generate_state(1, np.uint64)[0]))
        losses = torch.zeros(self._batches.steps, device=self.device)
        for step, drawn in enumerate(self._batches.epoch(self._epoch)):
            self._optimiser.before_step()
            if self._recorded and drawn.size == self.config.train.batch_size:
                losses[step] = self._recorded(self._step, drawn)
            else:
                losses[step] = self._step(drawn)
            self._optimiser.after_step()
        if self._world > 1:
            dist.all_reduce(losses)
        return losses.double().cpu().numpy()  # the epoch's only synchronisation

    def _step(self, drawn: Drawn) -> Tensor:
        """Take one optimiser step; return this worker's part of the objective, times the rows."""
        batch: Batch = drawn.augmented(self.config.augment)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._autocast):
            logit = self._network(batch.inputs)
        logit = logit.float()
        per_sample = LOSSES[self.config.loss.name](logit, batch.targets, self.config.loss)
        part: Tensor = self._method(per_sample, logit, batch)
        # DistributedDataParallel averages over workers what Keras's reduction sums over the batch.
        self._optimiser.step(part * self._world)
        return part.detach() * batch.size

    def _validate(self) -> NDArray[np.float32]:
        network = self._optimiser.model_to_judge
        self._synchronise(network.buffers())  # batch statistics are each worker's own by now
        return predict_logits(network, self._val_images, len(self._val), self._autocast)

    def _retrain_last_layer(self) -> tuple[EpochMetrics, NDArray[np.float32]]:
        start, rows = time.perf_counter(), self._batches.held_out
        last, images = models.last_layer(self.model), self._batches.images
        features = features_of(self.model, last, images, rows, self._autocast)
        label, gender = self._train.label[rows], self._train.gender[rows]
        weight, bias, loss = fit_last_layer(features, label, gender, self.config.last_layer)
        with torch.no_grad():
            last.weight.copy_(weight[None])
            last.bias.fill_(bias)
        self._synchronise(last.parameters())  # every worker has fitted, on its own processor
        rate = len(rows) / (time.perf_counter() - start)
        logit = self.logits(self._val)
        # Numbered as none of the epochs can be, also where training stopped early.
        epoch = self.config.train.epochs + 1
        return replace(self._metrics(logit, 0.0, loss, start, rate), epoch=epoch), logit

    def _synchronise(self, tensors: Iterable[Tensor]) -> None:
        """Give all workers the tensors of the first."""
        if self._world > 1:
            for tensor in tensors:
                dist.broadcast(tensor.detach(), src=0)

    def _metrics(
        self, logit: NDArray[np.float32], lr: float, train_loss: float, start: float, rate: float
    ) -> EpochMetrics:
        val = self._val
        metrics = asdict(
            group_metrics(val.label, predict_labels(logit), val.gender, self.config.fair_lambda)
        )
        rows = self._val_rows
        label = torch.from_numpy(val.label[rows].astype(np.float32))
        loss = LOSSES[self.config.loss.name](torch.from_numpy(logit[rows]), label, self.config.loss)
        return EpochMetrics(
            **{field.name: metrics[field.name] for field in fields(Accuracies)},
            epoch=self._epoch + 1,
            lr=lr,
            train_loss=train_loss,
            val_loss=float(loss.mean()),
            seconds=time.perf_counter() - start,
            images_per_second=rate,
        )

    def _divergence(self, step: int, loss: float) -> str:
        train, loss_config = self.config.train, self.config.loss
        return (
            f"training diverged in epoch {self._epoch + 1}, step {step + 1} (loss {loss:g}) with "
            f"train.lr={train.lr:g}, train.batch_size={train.batch_size}, "
            f"loss.name={loss_config.name}, loss.gamma={loss_config.gamma:g} in "
            f"{'bf16' if self._autocast else 'fp32'}; lower train.lr, or set train.clip_norm=1 or "
            "train.precision=fp32"
        )
