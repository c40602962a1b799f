"""The loop's optimiser: AdamW as Keras steps it, its schedule, clipping, averaged weights."""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

from orchestrator.config.settings import TrainConfig

ADAM_BETAS = (0.9, 0.999)
ADAM_EPSILON = 1e-7  # Keras's; torch's own default is 1e-8
NO_CORRECTION = 2.0**40
"""A number of steps after which torch's Adam corrects no bias any more."""


@dataclass(frozen=True)
class _Group:
    """Parameters of one learning rate, and what Adam remembers of each."""

    parameters: list[Tensor]
    factor: float
    """On ``train.lr``."""
    rate: Tensor
    decay: Tensor
    """What weight decay leaves of the weights."""
    moments: list[tuple[Tensor, Tensor]]
    """Running means of the gradient and of its square."""
    steps: list[Tensor]


class Optimiser:
    """Takes the steps of one training: `before_step`, `step`, `after_step`.

    What changes from step to step lies in tensors that `before_step` fills, so that `step` can be
    recorded as a CUDA graph.

    Keras adds its epsilon to the root of the second moment before the bias of both moments is
    corrected, torch after: with the same number, four weights in ten differ by more than 1e-5 after
    one step. So torch's Adam, which is made to believe that it has corrected all bias there is, is
    given Keras's corrected rate. It is torch's function: as the first of its optimisers is made,
    torch imports its compiler, which takes a second and a half.

    Parameters
    ----------
    config
        Learning rate, schedule, weight decay, clipping, averaging.
    model
        The network, on its device.
    groups
        Its trainable parameters, each group with a factor on ``train.lr``.
    steps
        Of the whole training.
    """

    def __init__(
        self,
        config: TrainConfig,
        model: nn.Module,
        groups: Sequence[tuple[Sequence[nn.Parameter], float]],
        steps: int,
    ) -> None:
        self._config, self._model, self._steps = config, model, steps
        self._groups = [_begin(parameters, factor) for parameters, factor in groups]
        self._parameters = [each for group in self._groups for each in group.parameters]
        self._on_gpu = self._parameters[0].device.type == "cuda"
        self._step = 0
        """Steps taken."""
        self._average = copy.deepcopy(model).requires_grad_(False) if config.ema else None

    @property
    def model_to_judge(self) -> nn.Module:
        """The network that is validated and kept: the averaged one, if there is one."""
        return self._model if self._average is None else self._average

    @property
    def lr(self) -> float:
        """The learning rate of the next step, for parameters whose factor is 1."""
        return self._config.lr * lr_factor(self._config, self._steps, self._step)

    def before_step(self) -> None:
        """Set the rates of the next step."""
        lr, correction = self.lr, bias_correction(self._step + 1)
        for group in self._groups:
            group.rate.fill_(lr * group.factor * correction)
            if self._config.weight_decay:
                group.decay.fill_(1 - lr * group.factor * self._config.weight_decay)

    def step(self, loss: Tensor) -> None:
        """Move the weights down the gradient of a scalar."""
        for parameter in self._parameters:
            parameter.grad = None
        loss.backward()  # type: ignore[no-untyped-call]
        if self._config.clip_norm is not None:
            nn.utils.clip_grad_norm_(self._parameters, self._config.clip_norm)
        with torch.no_grad():
            for group in self._groups:
                if self._config.weight_decay:
                    torch._foreach_mul_(group.parameters, group.decay)
                self._move_group(group)

    def _move_group(self, group: _Group) -> None:
        # A parameter that the network does not use has no gradient.
        used = [
            (parameter, parameter.grad, *moments, step)
            for parameter, moments, step in zip(
                group.parameters, group.moments, group.steps, strict=True
            )
            if parameter.grad is not None
        ]
        if not used:
            return
        parameters, gradients, means, squares, steps = (
            list(each) for each in zip(*used, strict=True)
        )
        adam(
            parameters,
            gradients,
            means,
            squares,
            [],
            steps,
            fused=True,
            capturable=self._on_gpu,
            amsgrad=False,
            beta1=ADAM_BETAS[0],
            beta2=ADAM_BETAS[1],
            lr=group.rate,
            weight_decay=0.0,
            eps=ADAM_EPSILON,
            maximize=False,
        )

    def after_step(self) -> None:
        """Move the averaged weights, and count the step."""
        if self._average is not None:
            self._move(self._average)
        self._step += 1

    @torch.no_grad()
    def _move(self, average: nn.Module) -> None:
        """Move the average to the weights; of buffers, such as batch norm's, it has the newest.

        Not by torch's AveragedModel, whose number of updates lies where reading it makes a GPU's
        step wait for the CPU.
        """
        share = 1.0 - ema_decay(self._config.ema or 0.0, self._step)
        weights = [parameter.detach() for parameter in self._model.parameters()]
        torch._foreach_lerp_(list(average.parameters()), weights, share)
        if buffers := list(self._model.buffers()):
            torch._foreach_copy_(list(average.buffers()), buffers)

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next step depends on, but for the network."""
        return {
            "adam": {
                "state": {
                    number: {"exp_avg": mean, "exp_avg_sq": square}
                    for number, (mean, square) in enumerate(self._moments)
                }
            },
            "step": self._step,
            "average": None if self._average is None else self._average.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where `state_dict` was taken."""
        for number, (mean, square) in enumerate(self._moments):
            mean.copy_(state["adam"]["state"][number]["exp_avg"])
            square.copy_(state["adam"]["state"][number]["exp_avg_sq"])
        self._step = state["step"]
        if self._average is not None:
            self._average.load_state_dict(state["average"])

    @property
    def _moments(self) -> list[tuple[Tensor, Tensor]]:
        return [moments for group in self._groups for moments in group.moments]


def _begin(parameters: Sequence[nn.Parameter], factor: float) -> _Group:
    device = parameters[0].device
    # Of CUDA's kernel the rate must be float32; the CPU's takes any, and loses nothing so.
    dtype = torch.float32 if device.type == "cuda" else torch.float64
    rate = torch.zeros((), device=device, dtype=dtype)
    return _Group(
        parameters=list(parameters),
        factor=factor,
        rate=rate,
        decay=rate.clone(),
        moments=[(torch.zeros_like(each), torch.zeros_like(each)) for each in parameters],
        steps=[torch.full((), NO_CORRECTION, device=device) for _ in parameters],
    )


def lr_factor(config: TrainConfig, steps: int, step: int) -> float:
    """Return the share of ``train.lr`` that step `step` (from 0) of `steps` uses.

    Constant, or a linear warm-up and then half a cosine down to 0.
    """
    if config.schedule == "constant":
        return 1.0
    warmup = round(config.warmup * steps)
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))


def ema_decay(decay: float, updates: int) -> float:
    """Return how much of the average the update after `updates` others leaves as it was.

    Little at first, as in TensorFlow's ``ExponentialMovingAverage`` with ``num_updates``: with
    0.998 from the first step, initial weights are still a tenth of the average after 1,100 steps.
    The first update leaves nothing of them.
    """
    return min(decay, (1 + updates) / (10 + updates)) if updates else 0.0


def bias_correction(step: int) -> float:
    """Return what Keras's Adam multiplies the rate of step `step` with, counted from 1."""
    first, second = ADAM_BETAS
    return math.sqrt(1.0 - second**step) / (1.0 - first**step)
