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


class Optimiser:
    """Takes the steps of one training.

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
        self._rates = [config.lr * factor for _, factor in groups]
        self._adam = torch.optim.AdamW(
            [{"params": list(group)} for group, _ in groups],
            betas=ADAM_BETAS,
            weight_decay=config.weight_decay,
            fused=True,
        )
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

    def step(self, loss: Tensor) -> None:
        """Take one step down the gradient of a scalar."""
        self._adam.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self._config.clip_norm is not None:
            nn.utils.clip_grad_norm_(self._parameters, self._config.clip_norm)
        factor = lr_factor(self._config, self._steps, self._step)
        epsilon = keras_epsilon(self._step + 1)
        for group, rate in zip(self._adam.param_groups, self._rates, strict=True):
            group["lr"], group["eps"] = rate * factor, epsilon
        self._adam.step()
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
        for ours, theirs in zip(average.buffers(), self._model.buffers(), strict=True):
            ours.copy_(theirs)

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next step depends on, but for the network."""
        return {
            "adam": self._adam.state_dict(),
            "step": self._step,
            "average": None if self._average is None else self._average.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where `state_dict` was taken."""
        self._adam.load_state_dict(state["adam"])
        self._step = state["step"]
        if self._average is not None:
            self._average.load_state_dict(state["average"])


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


def keras_epsilon(step: int) -> float:
    """Return the epsilon that makes torch's Adam take Keras's step `step`, counted from 1.

    Keras adds its epsilon to the root of the second moment before correcting its bias, torch
    after: with the same number, four weights in ten differ by more than 1e-5 after one step.
    """
    return ADAM_EPSILON / math.sqrt(1.0 - ADAM_BETAS[1] ** step)
