"""The optimiser: the schedule, and Adam and clipping as Keras has them."""

import keras
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.config.settings import TrainConfig
from orchestrator.training.optimiser import Optimiser, lr_factor

# Keras 3.15 with torch, under numpy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@given(steps=st.integers(1, 500), warmup=st.floats(0, 0.9))
def test_the_cosine_schedule_rises_then_falls_within_bounds(steps, warmup):
    config = TrainConfig(schedule="cosine", warmup=warmup)
    factors = [lr_factor(config, steps, step) for step in range(steps)]
    peak = int(np.argmax(factors))
    assert all(0 < factor <= 1 for factor in factors)
    assert factors[:peak] == sorted(factors[:peak])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)


def test_a_warm_up_may_take_all_of_a_short_training():
    config = TrainConfig(schedule="cosine", warmup=0.96)
    assert lr_factor(config, 10, 9) == 1
    assert 0 <= lr_factor(config, 10, 10) <= 1  # after the last step, too


def vector(*values):
    return torch.nn.Parameter(torch.tensor(values))


def take_step(optimiser, loss):
    optimiser.before_step()
    optimiser.step(loss)
    optimiser.after_step()


def descend(config, parameter, gradients, steps=100):
    """Take steps of given gradients."""
    optimiser = Optimiser(config, torch.nn.Module(), [([parameter], 1.0)], steps)
    for gradient in gradients:
        take_step(optimiser, (parameter * torch.from_numpy(gradient)).sum())
    return optimiser


GRADIENTS = [np.array([1e-6, -3e-5, 0.2], np.float32) / step for step in range(1, 6)]


@pytest.mark.parametrize("clip", [None, 0.05])
def test_it_takes_the_steps_of_keras(clip):
    parameter = vector(1.0, -2.0, 3.0)
    theirs = keras.Variable(np.array([1.0, -2.0, 3.0], np.float32))
    adam = keras.optimizers.Adam(1e-3, global_clipnorm=clip)
    for gradient in GRADIENTS:
        adam.apply([keras.ops.convert_to_tensor(gradient)], [theirs])
    descend(TrainConfig(schedule="constant", clip_norm=clip), parameter, GRADIENTS)
    np.testing.assert_allclose(
        parameter.detach().numpy(), keras.ops.convert_to_numpy(theirs), rtol=0, atol=1e-6
    )


def test_weight_decay_is_that_of_keras_adamw():
    parameter = vector(1.0, -2.0, 3.0)
    theirs = keras.Variable(np.array([1.0, -2.0, 3.0], np.float32))
    adam = keras.optimizers.AdamW(1e-2, weight_decay=0.1)
    for gradient in GRADIENTS:
        adam.apply([keras.ops.convert_to_tensor(gradient)], [theirs])
    config = TrainConfig(lr=1e-2, schedule="constant", weight_decay=0.1)
    descend(config, parameter, GRADIENTS)
    np.testing.assert_allclose(
        parameter.detach().numpy(), keras.ops.convert_to_numpy(theirs), rtol=0, atol=1e-5
    )


def test_a_group_learns_at_its_factor_of_the_rate():
    backbone, head = vector(1.0), vector(1.0)
    config = TrainConfig(lr=1e-2, schedule="constant")
    optimiser = Optimiser(config, torch.nn.Module(), [([backbone], 0.1), ([head], 1.0)], 10)
    take_step(optimiser, backbone.sum() + head.sum())
    assert 1 - head.item() == pytest.approx(1e-2, rel=1e-3)
    assert 1 - backbone.item() == pytest.approx(1e-3, rel=1e-3)
    assert optimiser.lr == 1e-2


def test_it_goes_on_where_it_was():
    config = TrainConfig(lr=1e-2, weight_decay=0.1, warmup=0.2)
    whole, begun = vector(1.0, -2.0, 3.0), vector(1.0, -2.0, 3.0)
    descend(config, whole, GRADIENTS, steps=5)
    state = descend(config, begun, GRADIENTS[:2], steps=5).state_dict()
    resumed = Optimiser(config, torch.nn.Module(), [([begun], 1.0)], 5)
    resumed.load_state_dict(state)
    for gradient in GRADIENTS[2:]:
        take_step(resumed, (begun * torch.from_numpy(gradient)).sum())
    assert torch.equal(begun, whole)
