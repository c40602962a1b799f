"""Many trials of the published network, trained as one.

    python benchmarks/lockstep.py [--trials 1 8 32] [--ways grouped loop unfold]

Trials that differ in loss, weights by gender, rate, decay and seed have networks of one shape. Here
K of them take each step together: their weights lie in tensors with a first dimension of K, every
trial sees its own batch, and Adam has a rate for each. A trial that is stopped leaves the tensors.

Convolutions with weights of their own for each trial are what no library has one obvious kernel
for, so three ways are compared. ``grouped``: one convolution with K groups. ``loop``: one of each
trial, with all else together. ``unfold``: patches, and one batched matrix product.

Trials come out as they do one by one: tests/orchestrator/training/test_lockstep.py.
"""

import argparse
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

import models
from orchestrator.config.layers import resolve
from orchestrator.config.settings import Config
from orchestrator.data.store.arrays import Arrays
from orchestrator.training.augment import augment
from orchestrator.training.batches import Batches
from orchestrator.training.inference import pick_device, uses_bf16
from orchestrator.training.optimiser import (
    ADAM_BETAS,
    ADAM_EPSILON,
    bias_correction,
    lr_factor,
)

WAYS = ("grouped", "loop", "unfold")


class Lockstep:
    """K trainings of the CNN family whose networks have one shape, on the same data.

    Parameters
    ----------
    configs
        Of the trials. Their networks, batch sizes, dropout and augmentation are one.
    train
        The train split.
    device
        Where to train.
    way
        How to convolve: one of `WAYS`.
    """

    def __init__(
        self, configs: Sequence[Config], train: Arrays, device: torch.device, way: str = "grouped"
    ) -> None:
        self.configs, self.device, self._way = list(configs), device, way
        self.batches = [Batches(config, train, torch.device("cpu")) for config in configs]
        self._images = torch.from_numpy(train.images).to(device)
        self._autocast = uses_bf16(configs[0].train.precision, device)
        networks = []
        for config in configs:
            torch.manual_seed(config.seed)
            networks.append(models.build(config.model, train.images.shape[1]))
        self.names = [name for name, _ in networks[0].named_parameters()]
        stacked = (
            torch.stack(list(of)) for of in zip(*(n.parameters() for n in networks), strict=True)
        )
        self.weights = [weight.detach().to(device).requires_grad_() for weight in stacked]
        self._first = [torch.zeros_like(weight) for weight in self.weights]
        self._second = [torch.zeros_like(weight) for weight in self.weights]
        self._steps = self.batches[0].steps * configs[0].train.epochs
        self._rates = torch.zeros(len(configs), device=device)
        self._label = torch.from_numpy(train.label).to(device, torch.float32)
        self._set_columns()
        self.taken = 0

    def _set_columns(self) -> None:
        """Lay out what differs between trials, shape (K, 1), and the rows' weights, (K, n)."""
        column = lambda values: torch.tensor(list(values), device=self.device)[:, None]  # noqa: E731
        losses = [config.loss for config in self.configs]
        self._gamma = column(loss.gamma for loss in losses)
        # Of class 1 and of class 0; without balancing neither is weighed.
        self._of_one = column(loss.alpha if loss.class_balancing else 1.0 for loss in losses)
        self._of_zero = column(1 - loss.alpha if loss.class_balancing else 1.0 for loss in losses)
        self._row_weights = torch.stack([b._weights for b in self.batches]).to(self.device)

    def leave(self, index: int) -> None:
        """Take a trial that was stopped out of all tensors."""
        kept = [k for k in range(len(self.configs)) if k != index]
        self.configs = [self.configs[k] for k in kept]
        self.batches = [self.batches[k] for k in kept]
        self.weights = [weight.detach()[kept].requires_grad_() for weight in self.weights]
        self._first = [moment[kept] for moment in self._first]
        self._second = [moment[kept] for moment in self._second]
        self._rates = self._rates[kept]
        self._set_columns()

    def epoch(self, epoch: int) -> Tensor:
        """Train an epoch; return the trials' mean losses, shape (K,)."""
        drawn = [batches.draw(epoch) for batches in self.batches]
        rows = torch.stack([torch.from_numpy(order) for order, _ in drawn]).to(self.device)
        numbers = torch.stack([torch.from_numpy(these) for _, these in drawn]).to(self.device)
        size = self.configs[0].train.batch_size
        total = torch.zeros(len(self.configs), device=self.device)
        for start in range(0, rows.shape[1], size):
            part = slice(start, start + size)
            self.before_step()
            total += self.step(rows[:, part], numbers[:, part]) * len(rows[0, part])
        return total / rows.shape[1]

    def before_step(self) -> None:
        """Set the trials' rates, as Keras's Adam corrects them."""
        self.taken += 1
        of = [c.train.lr * lr_factor(c.train, self._steps, self.taken - 1) for c in self.configs]
        self._rates.copy_(torch.tensor(of) * bias_correction(self.taken))

    def step(self, rows: Tensor, numbers: Tensor) -> Tensor:
        """Take a step with rows (K, B) and their random numbers; return the losses, shape (K,)."""
        trials, size = rows.shape
        images = self._images[rows.flatten()]
        inputs = augment(self.configs[0].augment, images, numbers.flatten(0, 1))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._autocast):
            logit = self._forward(inputs.unflatten(0, (trials, size)))
        loss = self._focal(logit.float(), self._label[rows])
        losses = (loss * self._row_weights.gather(1, rows)).sum(1) / size
        gradients = torch.autograd.grad(losses.sum(), self.weights)
        self._descend(list(gradients))
        return losses.detach()

    def _focal(self, logit: Tensor, label: Tensor) -> Tensor:
        """Give the focal losses (K, B), as `models.losses.focal` does with one gamma for all."""
        margin = (2 * label - 1) * logit
        loss = torch.exp(self._gamma * functional.logsigmoid(-margin)) * -functional.logsigmoid(
            margin
        )
        return loss * (self._of_one * label + self._of_zero * (1 - label))

    @torch.no_grad()
    def _descend(self, gradients: list[Tensor]) -> None:
        beta1, beta2 = ADAM_BETAS
        torch._foreach_lerp_(self._first, gradients, 1 - beta1)
        torch._foreach_mul_(self._second, beta2)
        torch._foreach_addcmul_(self._second, gradients, gradients, 1 - beta2)
        roots = torch._foreach_sqrt(self._second)
        torch._foreach_add_(roots, ADAM_EPSILON)
        moves = torch._foreach_div(self._first, roots)
        for weight, move in zip(self.weights, moves, strict=True):
            weight.sub_(move * self._rates.view(-1, *[1] * (weight.ndim - 1)))

    def _forward(self, inputs: Tensor) -> Tensor:
        """Give the logits (K, B) of images (K, B, 3, H, W)."""
        trials, size = inputs.shape[:2]
        *stages, (hidden, hidden_bias), (last, last_bias) = zip(
            self.weights[::2], self.weights[1::2], strict=True
        )
        grouped = self._way == "grouped"
        # Grouped, the trials' channels lie side by side.
        at = inputs.transpose(0, 1).flatten(1, 2) if grouped else inputs.flatten(0, 1)
        at = at.contiguous(memory_format=torch.channels_last)
        for weight, bias in stages:
            at = CONVOLUTIONS[self._way](at, weight, bias)
            at = functional.relu(functional.max_pool2d(at, 2))
        if grouped:
            at = at.unflatten(1, (trials, -1)).transpose(0, 1).flatten(2)
        else:
            at = at.flatten(1).unflatten(0, (trials, size))
        at = functional.relu(torch.baddbmm(hidden_bias[:, None], at, hidden.transpose(1, 2)))
        at = functional.dropout(at, self.configs[0].model.dropout)
        return torch.baddbmm(last_bias[:, None], at, last.transpose(1, 2))[..., 0]


def _grouped(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return functional.conv2d(inputs, weight.flatten(0, 1), bias.flatten(), groups=len(weight))


def _looped(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    parts = inputs.unflatten(0, (len(weight), -1)).unbind()
    triples = zip(parts, weight.unbind(), bias.unbind(), strict=True)
    return torch.cat([functional.conv2d(*triple) for triple in triples])


def _unfolded(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    trials, side = len(weight), inputs.shape[-1] - 2
    patches = functional.unfold(inputs, 3).unflatten(0, (trials, -1))  # (K, B, 9C, L)
    made = weight.flatten(2)[:, None] @ patches + bias[:, None, :, None]
    return made.flatten(0, 1).unflatten(2, (side, side))


CONVOLUTIONS = {"grouped": _grouped, "loop": _looped, "unfold": _unfolded}
"""From inputs, weights (K, O, C, 3, 3) and biases (K, O) to the stage's outputs."""


def trial_configs(count: int, *more: str, epochs: int = 10) -> list[Config]:
    """Draw trials as a sweep would: loss, weights by gender, rate and seed differ."""
    draw = torch.Generator().manual_seed(0)
    configs = []
    for seed in range(count):
        gamma, alpha, men, rate = torch.rand(4, generator=draw).tolist()
        configs.append(
            resolve(
                settings=[
                    f"seed={seed}", f"loss.gamma={4 * gamma}", f"loss.alpha={alpha}",
                    "loss.class_balancing=true", f"balance.weight_men={0.2 + men}",
                    f"train.lr={10 ** (-3.5 + rate)}", f"train.epochs={epochs}", *more,
                ]
            )
        )  # fmt: skip
    return configs


def images_per_second(
    trials: int, way: str, train: Arrays, device: torch.device, *more: str, steps: int = 20
) -> float:
    """Measure the steps of so many trials, over all of them; on a GPU as a graph, replayed."""
    together = Lockstep(trial_configs(trials, *more), train, device, way)
    size = together.configs[0].train.batch_size
    draw = torch.Generator().manual_seed(0)
    rows = torch.randint(len(train), (trials, size), generator=draw).to(device)
    numbers = torch.rand((trials, size, 11), generator=draw).to(device)

    def step() -> Any:
        return together.step(rows, numbers)

    if device.type == "cuda":
        step = graphed(step)
    together.before_step()
    step()
    synchronise(device)
    start = time.perf_counter()
    for _ in range(steps):
        together.before_step()
        step()
    synchronise(device)
    return trials * size * steps / (time.perf_counter() - start)


def graphed(step: Any) -> Any:
    """Record a step as a CUDA graph; return what replays it."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=32)
    arguments = parser.parse_args()
    from training import pixels

    device, train = pick_device(), pixels(arguments.images, 0)
    print("| trials | way | images/s over all |\n|---|---|---|")
    for trials in arguments.trials:
        for way in arguments.ways:
            more = (f"train.batch_size={arguments.batch}",)
            rate = images_per_second(trials, way, train, device, *more, steps=5)
            print(f"| {trials} | {way} | {rate:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
