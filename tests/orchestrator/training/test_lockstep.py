"""The prototype that trains many trials as one: they come out as they do one by one."""

import sys
from pathlib import Path

import pytest
import torch
from toys import SIDE, toy_data

import models
from orchestrator.training.loop import Training

sys.path.append(str(Path(__file__).parents[3] / "benchmarks"))
from lockstep import WAYS, Lockstep, trial_configs

SETTINGS = ("train.precision=fp32", "model.dropout=0", "balance.policy=weights")


def alone(config, data):
    torch.manual_seed(config.seed)
    training = Training(config, models.build(config.model, SIDE), data["train"], data["val"])
    losses = [epoch.train_loss for epoch in training]
    return losses, [parameter.detach() for parameter in training.model.parameters()]


@pytest.mark.parametrize("way", WAYS)
def test_trials_in_lockstep_come_out_as_they_do_alone(way):
    data = toy_data()
    configs = trial_configs(3, *SETTINGS, "train.keep=last", epochs=2)
    together = Lockstep(configs, data["train"], torch.device("cpu"), way)
    losses = [together.epoch(0), together.epoch(1)]
    for trial, config in enumerate(configs):
        expected, weights = alone(config, data)
        assert [float(loss[trial]) for loss in losses] == pytest.approx(expected, rel=1e-4)
        for ours, theirs in zip(together.weights, weights, strict=True):
            # Adam moves by whole steps what has next to no gradient, wherever a sum rounds to.
            assert (ours[trial] - theirs).abs().mean() < 1e-5


def test_a_trial_that_leaves_does_not_move_the_others():
    data = toy_data()
    configs = trial_configs(3, *SETTINGS, "train.keep=last", epochs=2)
    together = Lockstep(configs, data["train"], torch.device("cpu"))
    together.epoch(0)
    together.leave(1)
    loss = together.epoch(1)
    expected, _ = alone(configs[2], data)
    assert float(loss[1]) == pytest.approx(expected[1], rel=1e-4)
