"""The reference network against the same network in Keras: one training step of each."""

import keras
import numpy as np
import pytest
import torch

import models
from models.cnn import SMALLEST_IMAGE, ReferenceCNN
from models.config import ModelConfig
from models.losses import LossConfig, focal, weighted_mean
from orchestrator.errors import InputError

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


def keras_cnn():
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((80, 80, 3)),
            layers.Conv2D(32, 3, activation="relu", data_format="channels_last"),
            layers.MaxPooling2D(2, data_format="channels_last"),
            layers.Conv2D(64, 3, activation="relu", data_format="channels_last"),
            layers.MaxPooling2D(2, data_format="channels_last"),
            layers.Conv2D(128, 3, activation="relu", data_format="channels_last"),
            layers.MaxPooling2D(2, data_format="channels_last"),
            layers.Flatten(),
            layers.Dense(512, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(1, activation="sigmoid"),
        ]
    )


def to_torch(array):
    if array.ndim == 4:  # height, width, in, out
        return array.transpose(3, 2, 0, 1)
    if array.shape[0] == 8 * 8 * 128:  # flattened from height, width, channel
        return array.reshape(8, 8, 128, 512).transpose(3, 2, 0, 1).reshape(512, -1)
    return array.T


def from_keras(arrays):
    """Bring Keras's weights, or gradients by weight, into our layout and order."""
    return [torch.tensor(np.ascontiguousarray(to_torch(array))) for array in arrays]


def copy_keras_weights(model, keras_model):
    with torch.no_grad():
        for parameter, value in zip(
            model.parameters(), from_keras(keras_model.get_weights()), strict=True
        ):
            parameter.copy_(value)


@pytest.fixture(scope="module")
def pair():
    keras.utils.set_random_seed(0)
    theirs = keras_cnn()
    model = ReferenceCNN().to(memory_format=torch.channels_last)
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
    theirs, model = keras_cnn(), ReferenceCNN()
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
    for ours, theirs in zip(ReferenceCNN().parameters(), expected, strict=True):
        if ours.ndim == 1:
            assert not ours.any()
            assert not theirs.any()
            continue
        # Uniform in a range: the largest of n draws tells it to about 1/n, the spread more surely.
        assert ours.abs().max().item() == pytest.approx(theirs.abs().max().item(), rel=0.02)
        assert ours.std().item() == pytest.approx(theirs.std().item(), rel=0.1)


@pytest.mark.parametrize("size", [SMALLEST_IMAGE, 33, 96])
def test_other_image_sizes(size):
    model = models.build(ModelConfig(), size)
    assert model(torch.rand(3, 3, size, size)).shape == (3,)


def test_too_small_images_are_one_line():
    with pytest.raises(InputError, match=r"^model.name=cnn: images of 21 pixels .*--image-size 22"):
        models.build(ModelConfig(), SMALLEST_IMAGE - 1)


def test_dropout_acts_in_training_alone():
    torch.manual_seed(0)
    model = models.build(ModelConfig(dropout=0.9), SMALLEST_IMAGE)
    images = torch.rand(2, 3, SMALLEST_IMAGE, SMALLEST_IMAGE)
    assert not torch.equal(model.train()(images), model(images))
    assert torch.equal(model.eval()(images), model(images))


def test_unknown_network_is_one_line():
    with pytest.raises(InputError, match=r"^model.name=vgg: .*there are cnn, resnet50_frozen$"):
        models.build(ModelConfig(name="vgg"), 80)
