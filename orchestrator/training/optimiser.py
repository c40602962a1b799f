"""The loop's optimiser: AdamW as Keras steps it, its schedule, clipping, averaged weights."""

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from orchestrator.config.settings import TrainConfig

ADAM_BETAS = (0.9, 0.999)
ADAM_EPSILON = 1e-7  # Keras's; torch's own default is 1e-8
NO_CORRECTION = 2.0**40
"""A number of steps after which torch's Adam corrects no bias any more."""


class Optimiser:
    """Takes the steps of one training: `before_step`, `step`, `after_step`.

    What changes from step to step lies in tensors that `before_step` fills, so that `step` can be
    recorded as a CUDA graph.

    Keras adds its epsilon to the root of the second moment before the bias of both moments is
    corrected, torch after: with the same number, four weights in ten differ by more than 1e-5 after
    one step. So torch's Adam, which is made to believe that it has corrected all bias there is, is
    given Keras's corrected rate.

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
        self._parameters = [parameter for parameters, _ in groups for parameter in parameters]
        self._groups: list[list[Tensor]] = [list(group) for group, _ in groups]
        self._factors = [factor for _, factor in groups]
        device = self._parameters[0].device
        on_gpu = device.type == "cuda"
        # Of CUDA's kernel the rate must be float32; the CPU's takes any, and loses nothing so.
        number = torch.zeros((), device=device, dtype=torch.float32 if on_gpu else torch.float64)
        self._rates = [number.clone() for _ in groups]
        self._decays = [number.clone() for _ in groups]
        """What weight decay leaves of the weights."""
        self._adam = torch.optim.Adam(
            [{"params": group} for group in self._groups],
            betas=ADAM_BETAS,
            eps=ADAM_EPSILON,
            fused=True,
            capturable=on_gpu,
        )
        for parameter in self._parameters:
            self._adam.state[parameter] = {
                "step": torch.zeros((), device=device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }
        self._settle()
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
        for rate, decay, factor in zip(self._rates, self._decays, self._factors, strict=True):
            rate.fill_(lr * factor * correction)
            if self._config.weight_decay:
                decay.fill_(1 - lr * factor * self._config.weight_decay)

    def step(self, loss: Tensor) -> None:
        """Move the weights down the gradient of a scalar."""
        self._adam.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self._config.clip_norm is not None:
            nn.utils.clip_grad_norm_(self._parameters, self._config.clip_norm)
        if self._config.weight_decay:
            with torch.no_grad():
                for group, decay in zip(self._groups, self._decays, strict=True):
                    torch._foreach_mul_(group, decay)
        self._adam.step()

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
            "adam": self._adam.state_dict(),
            "step": self._step,
            "average": None if self._average is None else self._average.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where `state_dict` was taken."""
        # Moments alone: the rest is the configuration's and the device's, which may be another now.
        groups = self._adam.state_dict()["param_groups"]
        self._adam.load_state_dict({"state": state["adam"]["state"], "param_groups": groups})
        self._settle()
        self._step = state["step"]
        if self._average is not None:
            self._average.load_state_dict(state["average"])

    def _settle(self) -> None:
        """Have Adam read our rates and correct no bias."""
        for group, rate in zip(self._adam.param_groups, self._rates, strict=True):
            group["lr"] = rate
        for parameter in self._parameters:
            self._adam.state[parameter]["step"].fill_(NO_CORRECTION)


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
