"""The reference network against the same network in Keras: one training step of each."""

import keras
import numpy as np
import pytest
import torch
from published import copy_keras_weights, from_keras, keras_cnn, to_torch

import models
from models.cnn import CNN, smallest_image
from models.config import LossConfig, ModelConfig
from models.losses import focal, weighted_mean
from orchestrator.base.errors import InputError

PARAMETERS = 4_288_577
TOLERANCE = 1e-5
BATCH = 8
LR = 1e-3
CONFIGS = [
    LossConfig(gamma=5.0),
    LossConfig(gamma=2.0, alpha=0.25, class_balancing=True),
    LossConfig(gamma=0.0),
]
IDS = ["reference", "balanced", "cross-entropy"]

# Keras 3.15 with torch, under numpy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def pair():
    keras.utils.set_random_seed(0)
    theirs = keras_cnn()
    model = CNN().to(memory_format=torch.channels_last)
    copy_keras_weights(model, theirs)
    return model, theirs


def make_batch(seed):
    rng = np.random.default_rng(seed)
    images = rng.random((BATCH, 80, 80, 3), dtype=np.float32)
    label = np.arange(BATCH) % 2
    weight = np.where(np.arange(BATCH) % 3 == 0, 0.1, 1.0).astype(np.float32)
    return images, label, weight


@pytest.fixture(scope="module")
def batch():
    return make_batch(seed=0)


def nchw(images):
    return torch.tensor(images).permute(0, 3, 1, 2)  # channels_last in memory


def our_gradients(model, batch, config):
    images, label, weight = batch
    model.eval()  # no dropout
    model.zero_grad()
    logit = model(nchw(images))
    loss = weighted_mean(focal(logit, torch.tensor(label), config), torch.tensor(weight), BATCH)
    loss.backward()
    return logit.detach(), loss.item(), [p.grad.clone() for p in model.parameters()]


def keras_gradients(theirs, batch, config):
    images, label, weight = batch
    loss_of = keras.losses.BinaryFocalCrossentropy(
        gamma=config.gamma, alpha=config.alpha, apply_class_balancing=config.class_balancing
    )
    theirs.zero_grad()  # with this backend a Keras model is a torch module
    probability = theirs(images, training=False)
    loss = loss_of(label[:, None], probability, sample_weight=weight)
    loss.backward()
    gradients = [v.value.grad.detach().numpy().copy() for v in theirs.trainable_variables]
    return probability.detach()[:, 0], loss.item(), gradients


def test_parameters_as_published(pair):
    model, theirs = pair
    assert models.count_parameters(model) == PARAMETERS
    assert theirs.count_params() == PARAMETERS


@pytest.mark.parametrize("config", CONFIGS, ids=IDS)
def test_outputs_and_gradients_agree_with_keras(pair, batch, config):
    model, theirs = pair
    logit, loss, gradients = our_gradients(model, batch, config)
    probability, keras_loss, raw_gradients = keras_gradients(theirs, batch, config)
    assert torch.max(torch.abs(torch.sigmoid(logit) - probability)) < TOLERANCE
    assert abs(loss - keras_loss) < TOLERANCE
    for ours, expected in zip(gradients, from_keras(raw_gradients), strict=True):
        assert torch.max(torch.abs(ours - expected)) < TOLERANCE
        # The first layers' gradients are small: hold them to their own scale as well.
        assert torch.norm(ours - expected) < TOLERANCE * torch.norm(expected)


@pytest.mark.parametrize("config", CONFIGS, ids=IDS)
def test_adam_steps_agree_with_keras(config):
    keras.utils.set_random_seed(1)
    theirs, model = keras_cnn(), CNN()
    copy_keras_weights(model, theirs)
    ours, optimizer = torch.optim.Adam(model.parameters(), LR), keras.optimizers.Adam(LR)
    for step in range(1, 4):
        # Keras adds its epsilon to the root of the uncorrected second moment, torch to that of the
        # corrected one. The first steps feel it: with a plain 1e-7 in torch, four weights in ten
        # differ by more than 1e-5 after one step, by up to 7e-4.
        ours.param_groups[0]["eps"] = optimizer.epsilon / (1 - optimizer.beta_2**step) ** 0.5
        our_gradients(model, make_batch(seed=step), config)
        *_, gradients = keras_gradients(theirs, make_batch(seed=step), config)
        ours.step()
        with torch.no_grad():
            optimizer.apply([torch.tensor(g) for g in gradients], theirs.trainable_variables)
        difference = torch.cat(
            [
                (weight - expected).abs().flatten()
                for weight, expected in zip(
                    model.parameters(), from_keras(theirs.get_weights()), strict=True
                )
            ]
        )
        # From the second step on, a rounding may open or close a ReLU, whose weights Adam then
        # moves by whole steps however small the gradient: those few are held to the mean.
        assert difference.mean() < TOLERANCE / 10
        if step == 1:
            assert difference.max() < TOLERANCE


def test_initialised_as_keras_does():
    keras.utils.set_random_seed(2)
    torch.manual_seed(2)
    expected = from_keras(keras_cnn().get_weights())
    for ours, theirs in zip(CNN().parameters(), expected, strict=True):
        if ours.ndim == 1:
            assert not ours.any()
            assert not theirs.any()
            continue
        # Uniform in a range: the largest of n draws tells it to about 1/n, the spread more surely.
        assert ours.abs().max().item() == pytest.approx(theirs.abs().max().item(), rel=0.02)
        assert ours.std().item() == pytest.approx(theirs.std().item(), rel=0.1)


def keras_family(config, size):
    """The same network in Keras, whose batch normalisation is set to torch's epsilon."""
    layers, last = keras.layers, {"data_format": "channels_last"}
    stages = []
    for stage in range(config.depth):
        stages += [
            layers.Conv2D(config.width * 2**stage, 3, use_bias=not config.batch_norm, **last),
            *([layers.BatchNormalization(epsilon=1e-5)] if config.batch_norm else []),
            layers.ReLU(),
            layers.MaxPooling2D(2, **last),
        ]
    pooled = config.head == "pooled"
    return keras.Sequential(
        [
            keras.Input((size, size, 3)),
            *stages,
            layers.GlobalAveragePooling2D(**last) if pooled else layers.Flatten(),
            *([layers.Dense(config.hidden, activation="relu")] if config.hidden else []),
            layers.Dense(1),
        ]
    )


@pytest.mark.parametrize(
    "config",
    [
        ModelConfig(depth=1, width=5, hidden=7, head="pooled"),
        ModelConfig(depth=2, width=3, hidden=0, head="pooled", batch_norm=True),
        ModelConfig(depth=4, width=2, hidden=6),  # 46 pixels: one is left, so order is no matter
        ModelConfig(depth=4, width=2, hidden=0, batch_norm=True),
    ],
    ids=repr,
)
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_family_agrees_with_keras(config, training):
    size = smallest_image(4)
    keras.utils.set_random_seed(0)
    theirs = keras_family(config, size)
    model = models.build(config.model_copy(update={"dropout": 0.0}), size).train(training)
    assert models.count_parameters(model) == sum(
        int(np.prod(v.shape)) for v in theirs.trainable_variables
    )
    with torch.no_grad():
        for ours, value in zip(model.parameters(), theirs.trainable_variables, strict=True):
            ours.copy_(torch.tensor(to_torch(np.asarray(value))))
    images = np.random.default_rng(0).random((8, size, size, 3), dtype=np.float32)
    expected = theirs(images, training=training).detach()[:, 0]
    torch.testing.assert_close(model(nchw(images)).detach(), expected, atol=1e-5, rtol=1e-4)


def test_the_defaults_are_the_reference_network():
    torch.manual_seed(0)
    state = models.build(ModelConfig(), 80).state_dict()
    assert {name: tuple(value.shape) for name, value in state.items()} == {
        "features.0.weight": (32, 3, 3, 3),
        "features.0.bias": (32,),
        "features.3.weight": (64, 32, 3, 3),
        "features.3.bias": (64,),
        "features.6.weight": (128, 64, 3, 3),
        "features.6.bias": (128,),
        "head.1.weight": (512, 8192),
        "head.1.bias": (512,),
        "head.4.weight": (1, 512),
        "head.4.bias": (1,),
    }


@pytest.mark.parametrize("depth", range(1, 7))
def test_the_smallest_images_of_each_depth(depth):
    config = ModelConfig(depth=depth, width=1, hidden=2)
    size = smallest_image(depth)
    model = models.build(config, size).eval()
    assert models.last_layer(model).in_features == 2
    assert model.head[1].in_features == 2 ** (depth - 1)  # a map of one pixel
    assert model(torch.rand(3, 3, size, size)).shape == (3,)
    with pytest.raises(
        InputError,
        match=rf"^model.depth={depth}: images of {size - 1} pixels .*--image-size {size} or more, "
        "or lower model.depth$",
    ):
        models.build(config, size - 1)


@pytest.mark.parametrize("hidden", [0, 64])
def test_dropout_acts_in_training_alone(hidden):
    torch.manual_seed(0)
    model = models.build(ModelConfig(dropout=0.9, hidden=hidden), 22)
    images = torch.rand(2, 3, 22, 22)
    assert not torch.equal(model.train()(images), model(images))
    assert torch.equal(model.eval()(images), model(images))


def test_all_of_the_cnn_trains_at_one_rate():
    config = ModelConfig(batch_norm=True)
    model = models.build(config, 24)
    ((parameters, factor),) = models.parameter_groups(model, config)
    assert factor == 1
    assert list(map(id, parameters)) == list(map(id, model.parameters()))
    assert models.last_layer(model) is model.head[4]
    assert not models.caches_features(config)


def test_unknown_network_is_one_line():
    with pytest.raises(InputError, match=r"^model.name=vgg: .*cnn, .* torchvision's .*, such as v"):
        models.build(ModelConfig(name="vgg"), 80)
