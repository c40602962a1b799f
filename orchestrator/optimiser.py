"""The loop's optimiser: AdamW as Keras steps it, its schedule, clipping, averaged weights."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

if TYPE_CHECKING:
    from orchestrator.loop import TrainConfig

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
        config: "TrainConfig",
        model: nn.Module,
        groups: Sequence[tuple[Sequence[nn.Parameter], float]],
        steps: int,
    ) -> None:
        self._config, self._model, self._steps = config, model, steps
        self._parameters = [parameter for parameters, _ in groups for parameter in parameters]
        self._adam = torch.optim.AdamW(
            [{"params": list(group), "lr": config.lr * factor} for group, factor in groups],
            betas=ADAM_BETAS,
            weight_decay=config.weight_decay,
            fused=True,
        )
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._adam, lambda step: lr_factor(config, steps, step)
        )
        self._average = (
            AveragedModel(model, multi_avg_fn=self._move_average) if config.ema else None
        )

    @property
    def evaluated(self) -> nn.Module:
        """The network that is validated and kept: the averaged one, if there is one."""
        return self._model if self._average is None else self._average.module

    @property
    def lr(self) -> float:
        """The learning rate of the next step, for parameters whose factor is 1."""
        return self._config.lr * lr_factor(self._config, self._steps, self._schedule.last_epoch)

    def step(self, loss: Tensor) -> None:
        """Take one step down the gradient of a scalar."""
        self._adam.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self._config.clip_norm is not None:
            nn.utils.clip_grad_norm_(self._parameters, self._config.clip_norm)
        epsilon = keras_epsilon(self._schedule.last_epoch + 1)
        for group in self._adam.param_groups:
            group["eps"] = epsilon
        self._adam.step()
        self._schedule.step()
        if self._average is not None:
            self._average.update_parameters(self._model)

    def _move_average(self, average: Any, weights: Any, _updates: Any) -> None:
        # The number of updates lies on the device, where reading it would wait for the step.
        decay = ema_decay(self._config.ema or 0.0, self._schedule.last_epoch - 1)
        get_ema_multi_avg_fn(decay)(average, weights, None)  # type: ignore[no-untyped-call]

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next step depends on, but for the network."""
        return {
            "adam": self._adam.state_dict(),
            "step": self._schedule.last_epoch,
            "average": None if self._average is None else self._average.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where `state_dict` was taken."""
        self._adam.load_state_dict(state["adam"])
        self._schedule.last_epoch = state["step"]  # the rate itself is in Adam's state
        if self._average is not None:
            self._average.load_state_dict(state["average"])


def lr_factor(config: "TrainConfig", steps: int, step: int) -> float:
    """Return the share of ``train.lr`` that step `step` (from 0) of `steps` uses.

    Constant, or a linear warm-up and then half a cosine down to 0.
    """
    if config.schedule == "constant":
        return 1.0
    warmup = round(config.warmup * steps)
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, (step - warmup) / (steps - warmup))))


def ema_decay(decay: float, updates: int) -> float:
    """Return how much of the average the update after `updates` others leaves as it was.

    Little at first, as in TensorFlow's ``ExponentialMovingAverage`` with ``num_updates``: with
    0.998 from the first step, initial weights are still a tenth of the average after 1,100 steps.
    """
    return min(decay, (1 + updates) / (10 + updates))


def keras_epsilon(step: int) -> float:
    """Return the epsilon that makes torch's Adam take Keras's step `step`, counted from 1.

    Keras adds its epsilon to the root of the second moment before correcting its bias, torch
    after: with the same number, four weights in ten differ by more than 1e-5 after one step.
    """
    return ADAM_EPSILON / math.sqrt(1.0 - ADAM_BETAS[1] ** step)
