"""Fifty steps of the published recipe, in our loop and in Keras: the losses, and when to stop.

Free-running, the two are compared in float64. In float32 no two programs stay together for so long:
Adam moves a weight by a whole step however small its gradient, so the rounding of a gradient near
zero comes back as a step up or down. Our own loop, with its images in another memory layout and so
with sums in another order, parts from itself as fast as from Keras (measured on noisy greys,
synthetic and real faces alike: 1e-4 after 5 to 10 steps, 1e-2 after 25). So in float32 Keras is
given our weights before each step, and the loss of that step is compared.
"""

import keras
import numpy as np
import pyarrow as pa
import pytest
import torch
from keras.src.backend.common import dtypes
from published import copy_keras_weights, give_weights, keras_cnn

import models
from orchestrator.config.layers import resolve
from orchestrator.data.balance import draw_rows
from orchestrator.data.splits import assign_ranks
from orchestrator.data.store.arrays import Arrays
from orchestrator.training.early_stopping import EarlyStopping
from orchestrator.training.loop import Training

# Keras 3.15 with torch, under numpy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

EPOCHS, STEPS = 5, 50
SETTINGS = (
    "model.dropout=0", f"train.epochs={EPOCHS}", "train.precision=fp32",
    "train.patience=null",  # all steps are compared; when it would stop is asked afterwards
)  # fmt: skip


def faces(rows, seed, side):
    """Noise on grey, brighter for class 1; every tenth label is wrong."""
    rng = np.random.default_rng(seed)
    gender = np.where(np.arange(rows) % 5 < 3, -1, 1).astype(np.int8)
    bright = rng.random(rows) < np.where(gender == -1, 0.4, 0.25)
    base = np.where(bright, 150, 100)[:, None, None, None]
    images = np.clip(base + rng.normal(0, 40, (rows, side, side, 3)), 0, 255).astype(np.uint8)
    label = (bright ^ (rng.random(rows) < 0.1)).astype(np.int8)
    return Arrays(
        images=images,
        label=label,
        gender=gender,
        rank=assign_ranks(np.zeros(rows, np.int8), gender, label, rng.permutation(rows)),
        filename=pa.array(map(str, range(rows)), pa.large_string()),
        identity=np.arange(rows, dtype=np.int32),
        block=np.arange(rows, dtype=np.int32) // 54,
    )


class Twins:
    """Our training of the published recipe, and Keras's network with the same initial weights."""

    side = 80

    def __init__(self, dtype, monkeypatch):
        config = resolve("reference", settings=SETTINGS)
        keras.utils.set_random_seed(0)
        self.keras = keras_cnn(dropout=0, side=self.side)
        self.keras.compile(
            keras.optimizers.Adam(1e-3), keras.losses.BinaryFocalCrossentropy(gamma=5.0)
        )
        model = models.build(config.model, self.side).to(dtype)
        copy_keras_weights(model, self.keras)
        self.val = faces(200, 2, self.side)
        # 240 women and 160 men, of whom 320 are drawn: ten batches of 32.
        self.training = Training(config, model, faces(400, 1, self.side), self.val)
        self.losses = []
        """Of each step, ours and Keras's."""
        self.val_rows = draw_rows(config.balance, self.val.gender, self.val.label, self.val.rank)
        self._dtype, self._take = dtype, self.training._step
        monkeypatch.setattr(self.training, "_step", self._step)

    def _step(self, drawn):
        batch = drawn.augmented(self.training.config.augment)
        inputs = batch.inputs.permute(0, 2, 3, 1).contiguous()
        theirs = self.their_loss(inputs, batch.labels, batch.weights)
        ours = self._take(drawn)
        self.losses.append((float(ours) / batch.size, theirs))
        return ours

    def their_loss(self, images, labels, weights=None):
        raise NotImplementedError

    def of_keras(self, method, images, labels, weights=None):
        self.keras.reset_metrics()  # or it would be a running mean
        weights = torch.ones_like(labels) if weights is None else weights
        columns = (column.to(self._dtype) for column in (images, labels[:, None], weights))
        images, labels, weights = columns
        return float(method(images, labels, sample_weight=weights))

    def their_val_loss(self):
        images = torch.from_numpy(self.val.images[self.val_rows]).to(self._dtype) / 255
        labels = torch.from_numpy(self.val.label[self.val_rows])
        return self.of_keras(self.keras.test_on_batch, images, labels)


class FreeTwins(Twins):
    """Keras takes its own steps."""

    side = 32  # in float64, 80x80 pixels take two minutes

    def their_loss(self, images, labels, weights=None):
        return self.of_keras(self.keras.train_on_batch, images, labels, weights)


class LedTwins(Twins):
    """Keras is given our weights before each step."""

    def their_loss(self, images, labels, weights=None):
        give_weights(self.training.model, self.keras)
        return self.of_keras(self.keras.test_on_batch, images, labels, weights)


@pytest.fixture
def in_float64(monkeypatch):
    """What casts to float32 casts to float64, in our loop and in Keras."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    # With torch beneath it, Keras rounds the results of its operations even then.
    monkeypatch.setitem(dtypes.BIT64_TO_BIT32_DTYPE, "float64", "float64")
    policy = keras.config.dtype_policy()  # a test before this one may have settled it
    keras.backend.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    forget_dtypes()
    yield
    keras.backend.set_floatx("float32")
    keras.config.set_dtype_policy(policy)
    forget_dtypes()


def forget_dtypes():
    """Keras remembers what operations give, from tests before this one in the same process."""
    for function in vars(dtypes).values():
        if hasattr(function, "cache_clear"):
            function.cache_clear()


def stop_of_keras(losses, patience):
    """After which epoch Keras's early stopping would stop, when it saw these losses."""

    class Model:
        stop_training = False

    callback = keras.callbacks.EarlyStopping(monitor="val_loss", patience=patience)
    callback.set_model(Model())
    callback.on_train_begin()
    for epoch, loss in enumerate(losses, 1):
        callback.on_epoch_end(epoch, {"val_loss": loss})
        if callback.model.stop_training:
            return epoch
    return None


def our_stop(epochs, patience):
    stopping = EarlyStopping("val_loss", patience)
    for epoch in epochs:
        stopping.improved(epoch)
        if stopping.should_stop:
            return epoch.epoch
    return None


@pytest.mark.usefixtures("in_float64")
def test_fifty_steps_of_the_recipe_are_those_of_keras(monkeypatch):
    twins = FreeTwins(torch.float64, monkeypatch)
    epochs, val_losses = [], []
    for epoch in twins.training:
        epochs.append(epoch)
        val_losses.append(twins.their_val_loss())
    ours, theirs = np.array(twins.losses).T
    assert len(ours) == STEPS
    # Keras's float64 metrics are sums, so a few roundings; 1e-4 was asked for.
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)
    np.testing.assert_allclose([epoch.val_loss for epoch in epochs], val_losses, rtol=1e-9)
    stops = [our_stop(epochs, patience) for patience in (1, 2)]
    assert stops == [stop_of_keras(val_losses, patience) for patience in (1, 2)]
    assert stops[0]  # so that it says something


def test_in_float32_the_losses_of_the_same_weights_agree(monkeypatch):
    twins = LedTwins(torch.float32, monkeypatch)
    epochs = list(twins.training)
    ours, theirs = np.array(twins.losses).T
    assert len(ours) == STEPS
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)
    give_weights(twins.training.model, twins.keras)
    assert twins.their_val_loss() == pytest.approx(epochs[-1].val_loss, rel=1e-4)
