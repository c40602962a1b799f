"""The batches of a training: who comes in each epoch, in which order, augmented how."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.batch import Batch
from orchestrator.config.settings import AugmentConfig, Config
from orchestrator.data.balance import draw_rows, expected_counts, held_out, sample_weights
from orchestrator.data.epoch_order import deal, epoch_order
from orchestrator.data.splits import count_strata
from orchestrator.data.store.arrays import Arrays
from orchestrator.training.augment import augment
from orchestrator.training.augment import draw_numbers as draw_augmentation
from orchestrator.training.images import as_tensor, place_on_device
from orchestrator.training.inference import rank_and_world
from orchestrator.training.teacher import targets


class Drawn(NamedTuple):
    """One worker's share of a global batch as it was drawn, not augmented yet; m rows."""

    images: Tensor
    """uint8 (m, H, W, 3), or features, float16 (m, V, D)."""
    numbers: Tensor
    """What `draw_numbers` gave for them."""
    labels: Tensor
    """As in `Batch`, like what follows."""
    targets: Tensor
    genders: Tensor
    weights: Tensor
    size: int

    @property
    def tensors(self) -> list[Tensor]:
        """All but the size."""
        columns = self.labels, self.targets, self.genders, self.weights
        return [self.images, self.numbers, *columns]

    def augmented(self, config: AugmentConfig) -> Batch:
        """Turn it into what a training step takes in."""
        inputs = augment(config, self.images, self.numbers)
        return Batch(inputs, self.labels, self.targets, self.genders, self.weights, self.size)


class Batches:
    """The batches of every epoch; each is a function of the seed and the epoch alone.

    Parameters
    ----------
    config
        The run's configuration.
    train
        The train split, n rows.
    device
        Where the batches are wanted.
    """

    def __init__(self, config: Config, train: Arrays, device: torch.device) -> None:
        self._config, self._train, self._device = config, train, device
        self._rank, self._world = rank_and_world()
        apart = held_out(config.last_layer, train.gender, train.label, train.rank)
        self.held_out = np.flatnonzero(apart)
        """Positions of the rows that are kept for the last layer."""
        self._rows = np.flatnonzero(~apart)
        self._gender, self._label = train.gender[self._rows], train.label[self._rows]
        counts = count_strata(self._gender, self._label)
        self.drawn = sum(expected_counts(config.balance, counts).values())
        """Rows an epoch, over all workers."""
        self.steps = math.ceil(self.drawn / config.train.batch_size)
        """Batches an epoch."""
        weights = np.zeros(len(train), np.float32)
        weights[self._rows] = sample_weights(config.balance, self._gender, self._label)
        self.images = place_on_device(train.inputs, device)
        self._labels = as_tensor(train.label).to(device, torch.float32)
        known = targets(config.loss, train.label, train.filename)
        self._targets = torch.from_numpy(known).to(device)
        self._genders = as_tensor(train.gender).to(device)
        self._weights = torch.from_numpy(weights).to(device)

    def epoch(self, epoch: int) -> Iterator[Drawn]:
        """Give this worker's share of each global batch of epoch `epoch`, from 0.

        The order and the augmentation are drawn for the whole epoch, so that the number of workers
        changes neither.
        """
        size, share = self._config.train.batch_size, self._share
        order, numbers = self.draw(epoch)
        dealt = deal(epoch, len(order), size, self._rank, self._world)
        mine = dealt.mine
        images = self.images.batches(order, max(1, share), dealt if self._world > 1 else None)
        rows = torch.from_numpy(order[mine]).to(self._device)
        numbers_here = torch.from_numpy(numbers[mine]).to(self._device)
        labels, targets_here = self._labels[rows], self._targets[rows]
        genders, weights = self._genders[rows], self._weights[rows]
        for step in range(self.steps):
            part = slice(step * share, (step + 1) * share)
            whole = min(size, len(order) - step * size)
            if step * share >= len(rows):
                yield self._stand_in(whole)
                continue
            batch = Drawn(
                next(images),
                numbers_here[part],
                labels[part],
                targets_here[part],
                genders[part],
                weights[part],
                whole,
            )
            yield batch if len(batch.labels) > 1 else _pad_lone_row(batch)

    def draw(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the rows of an epoch in order, and the random numbers of their augmentation."""
        rng = np.random.default_rng([self._config.seed, epoch])
        balance, rank = self._config.balance, self._train.rank[self._rows]
        drawn = self._rows[draw_rows(balance, self._gender, self._label, rank, epoch=epoch)]
        order = epoch_order(drawn, self._train.block, rng)
        return order, draw_augmentation(len(order), rng)

    @property
    def _share(self) -> int:
        """Rows of a whole global batch that are this worker's."""
        return len(range(self._rank, self._config.train.batch_size, self._world))

    def _stand_in(self, size: int) -> Drawn:
        """Return a row without weight: who has none must still join the gradient's all-reduce."""
        like = self._train.inputs
        dtype = as_tensor(like[:1]).dtype if isinstance(like, np.ndarray) else torch.uint8
        images = torch.zeros((1, *like.shape[1:]), dtype=dtype, device=self._device)
        numbers = torch.from_numpy(draw_augmentation(1, np.random.default_rng(0)))
        numbers = numbers.to(self._device)
        nobody, weightless = 0 * self._genders[:1], 0 * self._weights[:1]
        one = self._labels[:1], self._targets[:1]
        return _pad_lone_row(Drawn(images, numbers, *one, nobody, weightless, size))


def _pad_lone_row(drawn: Drawn) -> Drawn:
    """Add a copy without weight to a lone row: batch norm cannot train on one value a channel."""
    *_, genders, weights, size = drawn
    images, numbers, labels, aims = (torch.cat([column, column]) for column in drawn[:4])
    genders, weights = (torch.cat([column, 0 * column]) for column in (genders, weights))
    return Drawn(images, numbers, labels, aims, genders, weights, size)
