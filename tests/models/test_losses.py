"""The focal loss against Keras's own, and where the two part."""

import keras
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.config import LossConfig
from models.losses import LOSSES, focal, weighted_mean
from orchestrator.base.errors import InputError
from orchestrator.config.layers import resolve

N = 64
TOLERANCE = 1e-5

CONFIGS = [
    LossConfig(gamma=gamma, alpha=alpha, class_balancing=balancing, smoothing=smoothing)
    for gamma in (0.0, 0.5, 1.0, 2.0, 5.0)
    for alpha, balancing in ((0.25, False), (0.25, True), (0.9, True))
    for smoothing in (0.0, 0.1)
]
CONFIG_IDS = [f"gamma{c.gamma}-alpha{c.alpha}-{c.class_balancing}-{c.smoothing}" for c in CONFIGS]


def sample(spread=3.0, seed=0, n=N):
    rng = np.random.default_rng(seed)
    logit = torch.tensor(rng.normal(scale=spread, size=n), dtype=torch.float32)
    label = torch.tensor(rng.integers(0, 2, size=n), dtype=torch.int8)
    return logit, label


def weights(name, n=N):
    rng = np.random.default_rng(1)
    women = rng.random(n) < 0.6
    return {
        "ones": torch.ones(n),
        "reference": torch.tensor(np.where(women, 1.0, 0.1), dtype=torch.float32),
        "random": torch.tensor(rng.gamma(1.0, size=n), dtype=torch.float32),
    }[name]


def ours(logit, label, weight, config):
    logit = logit.clone().requires_grad_()
    loss = weighted_mean(focal(logit, label, config), weight, len(logit))
    (gradient,) = torch.autograd.grad(loss, logit)
    return loss.item(), gradient


def keras_focal(config, from_logits):
    return keras.losses.BinaryFocalCrossentropy(
        gamma=config.gamma,
        alpha=config.alpha,
        apply_class_balancing=config.class_balancing,
        label_smoothing=config.smoothing,
        from_logits=from_logits,
    )


def keras_loss(loss, logit, label, weight, from_logits):
    logit = logit.clone().requires_grad_()
    predicted = logit if from_logits else torch.sigmoid(logit)
    # Keras's axis -1 is a sample's classes, of which there is one.
    value = loss(label[:, None], predicted[:, None], sample_weight=weight)
    (gradient,) = torch.autograd.grad(value, logit)
    return value.item(), gradient


@pytest.mark.parametrize("from_logits", [False, True], ids=["probabilities", "logits"])
@pytest.mark.parametrize("weight_name", ["ones", "reference", "random"])
@pytest.mark.parametrize("config", CONFIGS, ids=CONFIG_IDS)
def test_agrees_with_keras(config, weight_name, from_logits):
    logit, label = sample()
    weight = weights(weight_name)
    theirs = keras_focal(config, from_logits=from_logits)
    loss, gradient = ours(logit, label, weight, config)
    keras_value, keras_gradient = keras_loss(theirs, logit, label, weight, from_logits)
    assert abs(loss - keras_value) < TOLERANCE
    # A sample's gradient is its share of a batch of 64; undo that, so that 1e-5 means something.
    assert torch.max(torch.abs(gradient - keras_gradient)) * N < TOLERANCE


@pytest.mark.parametrize("config", CONFIGS, ids=CONFIG_IDS)
def test_labels_between_0_and_1_are_learned_as_keras_learns_them(config):
    logit, label = sample(seed=3)
    soft = label * 0.6 + 0.4 * torch.rand(N, generator=torch.Generator().manual_seed(0))
    config = config.model_copy(update={"teacher": "networks"})
    theirs = keras_focal(config, from_logits=True)
    loss, gradient = ours(logit, soft, torch.ones(N), config)
    keras_value, keras_gradient = keras_loss(theirs, logit, soft, torch.ones(N), from_logits=True)
    assert abs(loss - keras_value) < TOLERANCE
    assert torch.max(torch.abs(gradient - keras_gradient)) * N < TOLERANCE
    # Where the teacher agrees with the labels, nothing changes.
    sure = [
        ours(logit, label, torch.ones(N), one)
        for one in (config, CONFIGS[0].model_copy(update=config.model_dump(exclude={"teacher"})))
    ]
    assert sure[0][0] == pytest.approx(sure[1][0], rel=1e-5)
    assert torch.allclose(sure[0][1], sure[1][1], atol=TOLERANCE / N)


@pytest.mark.parametrize("from_logits", [False, True], ids=["probabilities", "logits"])
def test_gamma_0_is_keras_cross_entropy(from_logits):
    logit, label = sample(seed=2)
    weight = weights("random")
    theirs = keras.losses.BinaryCrossentropy(from_logits=from_logits)
    loss, gradient = ours(logit, label, weight, LossConfig(gamma=0.0))
    keras_value, keras_gradient = keras_loss(theirs, logit, label, weight, from_logits)
    assert abs(loss - keras_value) < TOLERANCE
    assert torch.max(torch.abs(gradient - keras_gradient)) * N < TOLERANCE


@pytest.mark.parametrize("config", CONFIGS, ids=CONFIG_IDS)
def test_each_sample_agrees_with_keras_up_to_logit_16(config):
    logit = torch.linspace(-16, 16, 641, dtype=torch.float64).repeat(2)
    label = torch.arange(2).repeat_interleave(641)

    def theirs(z):
        target, probability = label.to(z.dtype)[:, None], torch.sigmoid(z)[:, None]
        options = {"gamma": config.gamma, "alpha": config.alpha}
        options["label_smoothing"] = config.smoothing
        return keras.losses.binary_focal_crossentropy(
            target, probability, apply_class_balancing=config.class_balancing, **options
        )

    def slopes(loss, z):
        z = z.clone().requires_grad_()
        return torch.autograd.grad(loss(z).sum(), z)[0]

    def mine(z):
        return focal(z, label, config)

    assert torch.max(torch.abs(mine(logit) - theirs(logit))) < TOLERANCE
    assert torch.max(torch.abs(slopes(mine, logit) - slopes(theirs, logit))) < TOLERANCE
    # In float32 Keras's values lose places with the probability's, its gradients do not.
    single, short = logit.float(), logit.abs() <= 15
    difference = slopes(mine, single) - slopes(theirs, single)
    assert torch.max(torch.abs(difference[short])) < TOLERANCE


@pytest.mark.parametrize("gamma", [0.3, 2.0])
@pytest.mark.parametrize("value", [-1e4, -20.0, 20.0, 1e4])
def test_finite_where_a_teacher_is_all_but_certain(gamma, value):
    logit = torch.tensor([value, value], requires_grad=True)
    loss = focal(logit, torch.tensor([1e-6, 1 - 1e-6]), LossConfig(gamma=gamma, teacher="networks"))
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert torch.isfinite(logit.grad).all()


def test_parts_from_keras_where_keras_clips():
    logit, label = torch.tensor([30.0]), torch.tensor([0])
    weight = torch.ones(1)
    theirs = keras.losses.BinaryFocalCrossentropy(gamma=2.0)
    keras_value, keras_gradient = keras_loss(theirs, logit, label, weight, from_logits=False)
    loss, gradient = ours(logit, label, weight, LossConfig(gamma=2.0))
    assert 15.9 < keras_value < 16.2  # -log(1e-7) = 16.1, in float32
    assert keras_gradient.item() == 0
    assert loss == pytest.approx(30.0)
    assert gradient.item() == pytest.approx(1.0)


@pytest.mark.parametrize("name", sorted(LOSSES))
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0, 5.0])
@pytest.mark.parametrize("value", [-1e4, -100.0, -17.0, 0.0, 17.0, 100.0, 1e4])
def test_finite_at_any_logit(name, smoothing, gamma, value):
    logit = torch.tensor([value, value], requires_grad=True)
    config = LossConfig(gamma=gamma, class_balancing=True, smoothing=smoothing)
    loss = LOSSES[name](logit, torch.tensor([0, 1]), config)
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert torch.isfinite(logit.grad).all()


@given(
    name=st.sampled_from(sorted(LOSSES)),
    logit=st.floats(-30, 30),
    label=st.integers(0, 1),
    gamma=st.floats(0, 5),
    alpha=st.floats(0, 1),
    q=st.floats(0.05, 1),
    smoothing=st.just(0.0) | st.floats(0.01, 0.9),
)
def test_gradient_is_the_slope_of_the_loss(name, logit, label, gamma, alpha, q, smoothing):
    config = LossConfig(gamma=gamma, alpha=alpha, class_balancing=True, q=q, smoothing=smoothing)
    point = torch.tensor([logit], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: LOSSES[name](z, torch.tensor([label]), config), point)


@given(
    logit=st.floats(-20, 20),
    label=st.integers(0, 1),
    q=st.floats(0.05, 1),
    smoothing=st.floats(0, 0.9),
)
def test_generalised_cross_entropy_is_its_formula(logit, label, q, smoothing):
    config = LossConfig(name="gce", q=q, smoothing=smoothing)
    loss = LOSSES["gce"](torch.tensor([logit], dtype=torch.float64), torch.tensor([label]), config)
    of_one, of_zero = ((1 - (1 / (1 + np.exp(-z))) ** q) / q for z in (logit, -logit))
    share = label * (1 - smoothing) + smoothing / 2
    assert loss.item() == pytest.approx(share * of_one + (1 - share) * of_zero, rel=1e-9, abs=1e-12)


def test_generalised_cross_entropy_lies_between_cross_entropy_and_absolute_error():
    logit, label = sample()
    near_0, at_1 = (LOSSES["gce"](logit, label, LossConfig(q=q)) for q in (1e-4, 1.0))
    torch.testing.assert_close(near_0, focal(logit, label, LossConfig()), rtol=2e-3, atol=1e-5)
    torch.testing.assert_close(at_1, (label.float() - torch.sigmoid(logit)).abs())


def test_half_precision_is_computed_in_float32():
    logit, label = sample()
    rounded = logit.bfloat16()
    config = LossConfig(gamma=2.0)
    assert torch.equal(focal(rounded, label, config), focal(rounded.float(), label, config))


def test_weights_scale_the_loss():
    per_sample = torch.tensor([1.0, 2.0, 3.0, 6.0])
    weight = torch.tensor([0.5, 0.5, 0.5, 0.5])
    assert weighted_mean(per_sample, weight, 4).item() == 1.5
    halves = [weighted_mean(per_sample[i : i + 2], weight[:2], 4) for i in (0, 2)]
    assert sum(halves).item() == 1.5  # two workers' halves of the batch add up


def test_unknown_loss_is_one_line():
    with pytest.raises(
        InputError, match=r"^--set: loss.name='hinge': input should be 'focal' or 'gce'$"
    ):
        resolve(settings=["loss.name=hinge"])
