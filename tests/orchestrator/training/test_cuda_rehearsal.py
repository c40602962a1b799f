"""The training step on torch's meta device: what would wait for a GPU, or mix devices, fails.

Meta tensors have shapes and no values, so that whatever needs a value on the CPU (`item`,
`nonzero`, a boolean mask, a copy to the CPU) raises, and so does an operation on a meta and a CPU
tensor. What a GPU itself says of the same step, test_on_gpu.py asks where there is one.
"""

from contextlib import nullcontext

import pytest
import torch
from test_on_gpu import CONFIGS
from toys import SIDE, toy_data

import models
from models.losses import LOSSES
from models.methods import METHODS
from orchestrator.config.layers import resolve
from orchestrator.training import batches, images, loop
from orchestrator.training.loop import Training

META = torch.device("meta")


@pytest.fixture(autouse=True)
def _all_on_meta(monkeypatch):
    def place(array, device):
        return images._Resident(images.as_tensor(array).to(device), device)

    monkeypatch.setattr(batches, "place_on_device", place)
    monkeypatch.setattr(loop, "place_on_device", place)
    # Two that meta has not: torch's own step of Adam, and autocast.
    monkeypatch.setattr("orchestrator.training.optimiser.adam", lambda *_, **__: None)
    monkeypatch.setattr("torch.autocast", lambda *_, **__: nullcontext())


def start(*settings):
    config = resolve(settings=["train.precision=fp32", "train.batch_size=16", *settings])
    data = toy_data()
    network = models.build(config.model, SIDE)
    return Training(config, network, data["train"], data["val"], META)


def take_steps(training, steps=2):
    for drawn in list(training._batches.epoch(0))[:steps]:
        training._optimiser.before_step()
        objective = training._step(drawn)
        training._optimiser.after_step()
    return objective


ALL_LOSSES = [
    (f"loss.name={loss}", f"method.name={method}") for loss in LOSSES for method in METHODS
]


@pytest.mark.parametrize("settings", [*CONFIGS.values(), *ALL_LOSSES], ids=str)
def test_a_step_neither_waits_for_its_device_nor_mixes_two(settings):
    objective = take_steps(start(*settings))
    assert objective.device == META
    assert objective.shape == ()


def test_the_rehearsal_hears_a_step_that_waits(monkeypatch):
    waiting = {**METHODS, "erm": Waits}
    monkeypatch.setattr(loop, "METHODS", waiting)
    with pytest.raises((RuntimeError, NotImplementedError)):
        take_steps(start())


class Waits(METHODS["erm"]):
    """Looks at a value in each step."""

    def forward(self, per_sample, logit, batch):
        assert float(logit[0]) == float(logit[0])
        return super().forward(per_sample, logit, batch)


def test_the_rehearsal_hears_a_step_that_mixes_devices(monkeypatch):
    monkeypatch.setattr(loop, "METHODS", {**METHODS, "erm": Mixes})
    with pytest.raises(RuntimeError, match="device"):
        take_steps(start())


class Mixes(METHODS["erm"]):
    """Has weights on the CPU."""

    def forward(self, per_sample, logit, batch):
        return super().forward(per_sample * torch.ones(len(logit)), logit, batch)
