"""The loop: what it trains on, when it stops, what it keeps, and that it repeats itself."""

import os
import socket
from dataclasses import replace

import keras
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import multiprocessing
from toys import SIDE, toy_data

import models
from orchestrator import loop
from orchestrator.config import resolve
from orchestrator.fairness import group_metrics, predict_labels
from orchestrator.inference import to_input
from orchestrator.loop import (
    Batch,
    TrainConfig,
    Training,
    TrainingError,
    keras_epsilon,
    lr_factor,
)
from orchestrator.stopping import EarlyStopping, EpochMetrics

FAST = ("train.precision=fp32", "train.epochs=2")


def start(*settings, recipe="default", data=None):
    config = resolve(recipe, settings=[*FAST, *settings])
    data = data or toy_data()
    torch.manual_seed(config.seed)
    return Training(config, models.build(config.model, SIDE), data["train"], data["val"])


def untimed(metrics):
    return replace(metrics, seconds=0.0, images_per_second=0.0)


def test_it_learns_and_its_metrics_are_those_of_its_logits():
    data = toy_data()
    training = start("train.epochs=6", "train.batch_size=8", data=data)
    epochs = list(training)
    assert epochs[-1].train_loss < epochs[0].train_loss / 2
    assert training.kept.fair == max(epoch.fair for epoch in epochs)
    groups = group_metrics(
        data["val"].label, predict_labels(training.logits(data["val"])), data["val"].gender, 2.0
    )
    assert groups.fair == training.kept.fair  # the kept epoch's weights are the model's
    assert groups.accuracy > 0.9
    assert np.array_equal(training.kept_logit, training.logits(data["val"]))


def test_the_same_seed_repeats_every_figure():
    first, again, other = (list(map(untimed, start(s))) for s in ("seed=3", "seed=3", "seed=4"))
    assert first == again
    assert first != other


def seen(training, epoch=0):
    """The rows of an epoch, in order, and whether each is mirrored, told by their pixels."""
    train = toy_data()["train"]
    known = {image.tobytes(): (row, False) for row, image in enumerate(train.images)}
    known |= {image[:, ::-1].tobytes(): (row, True) for row, image in enumerate(train.images)}
    found = []
    for batch in training._batches(epoch):
        rows = [known[image.numpy().tobytes()] for image in batch.images]
        found += rows
        assert batch.labels.tolist() == train.label[[row for row, _ in rows]].tolist()
    return [row for row, _ in found], [mirrored for _, mirrored in found]


def test_an_epoch_sees_each_drawn_row_once_in_a_new_order():
    training = start("balance.policy=undersample", "balance.redraw=false", "train.batch_size=7")
    orders = [seen(training, epoch)[0] for epoch in (0, 1)]
    gender = toy_data()["train"].gender
    drawn = gender[sorted(orders[0])]
    assert len(set(orders[0])) == len(orders[0])
    assert (drawn == -1).sum() == (drawn == 1).sum() == (gender == 1).sum()
    assert sorted(orders[0]) == sorted(orders[1])
    assert orders[0] != orders[1]


def test_fresh_draws_reach_everybody():
    training = start("balance.policy=undersample")
    gender = toy_data()["train"].gender
    epochs = [seen(training, epoch)[0] for epoch in (0, 1)]
    assert len(set(epochs[0])) == len(epochs[0]) < len(gender)
    assert set(epochs[0] + epochs[1]) == set(range(len(gender)))


def test_oversampling_repeats_rows():
    training = start("balance.policy=oversample", "balance.over=gender_class")
    rows, _ = seen(training)
    train = toy_data()["train"]
    counts = np.unique(2 * train.gender[rows] + train.label[rows], return_counts=True)[1]
    assert counts.tolist() == [counts[0]] * 4
    assert len(set(rows)) == len(train) < len(rows)


def test_flips_are_half_or_none():
    assert 0.3 < np.mean(seen(start())[1]) < 0.7
    assert not any(seen(start("train.flip=false"))[1])


@pytest.mark.parametrize("batch", [1, 7, 33])
@pytest.mark.parametrize("workers", [1, 2, 3, 4])
def test_workers_share_each_global_batch(workers, batch):
    settings = ("balance.policy=undersample", f"train.batch_size={batch}")
    alone = start(*settings)
    whole, _ = seen(alone)
    steps = [step.size for step in alone._batches(0)]
    shares = []
    for rank in range(workers):
        training = start(*settings)
        training._rank, training._world = rank, workers
        batches = list(training._batches(0))
        assert [step.size for step in batches] == steps  # all take every step together
        shares.append([len(step.images) if step.weights.any() else 0 for step in batches])
        if not any(step.weights.sum() == 0 for step in batches):
            assert seen(training)[0] == whole_share(whole, batch, rank, workers)
    assert [sum(share) for share in zip(*shares, strict=True)] == steps


def whole_share(rows, batch, rank, workers):
    batches = [rows[at : at + batch] for at in range(0, len(rows), batch)]
    return [row for one in batches for row in one[rank::workers]]


def test_gender_weights_scale_the_loss_as_keras_does():
    data = toy_data()
    training = start("balance.weight_men=0.1", "train.flip=false", "model.dropout=0", data=data)
    first = torch.from_numpy(data["train"].images[:12])
    with torch.no_grad():
        logit = training.model(to_input(first)).numpy()
    label, gender = data["train"].label[:12], data["train"].gender[:12]
    expected = keras.losses.BinaryCrossentropy(from_logits=True)(
        label[:, None].astype(np.float32), logit[:, None],
        sample_weight=np.where(gender == -1, 1.0, 0.1).astype(np.float32),
    )  # fmt: skip
    batch = Batch(first, training._labels[:12], training._weights[:12], 12)
    loss = training._step(batch) / 12
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)


class Recorded(keras.callbacks.EarlyStopping):
    """Keras's early stopping on recorded losses."""

    def __init__(self, patience):
        super().__init__(monitor="val_loss", patience=patience)

        class Model:
            stop_training = False

        self.set_model(Model())


@given(
    losses=st.lists(st.integers(0, 6).map(lambda n: n / 4), min_size=1, max_size=12),
    patience=st.integers(1, 3),
)
def test_early_stopping_decides_as_keras_does(losses, patience):
    theirs, ours = Recorded(patience), EarlyStopping("val_loss", patience)
    theirs.on_train_begin()
    for epoch, loss in enumerate(losses):
        theirs.on_epoch_end(epoch, {"val_loss": loss})
        ours.improved(metrics(val_loss=loss))
        assert ours.should_stop == theirs.model.stop_training
        if ours.should_stop:
            return


def metrics(**values):
    fields = dict.fromkeys(EpochMetrics.__dataclass_fields__, 0.0)
    return EpochMetrics(**{**fields, **values})


def test_fair_is_maximised_and_without_patience_nothing_stops():
    stopping = EarlyStopping("fair", None)
    assert [stopping.improved(metrics(fair=fair)) for fair in (0.5, 0.4, 0.6, 0.6)] == [
        True, False, True, False,
    ]  # fmt: skip
    assert not stopping.should_stop


def test_the_reference_recipe_stops_early_and_keeps_its_last_epoch():
    training = start("train.epochs=10", "train.lr=0.01", recipe="reference")
    epochs = list(training)
    assert len(epochs) < 10
    assert epochs[-1].val_loss >= min(epoch.val_loss for epoch in epochs)
    assert training.kept is epochs[-1]


@given(steps=st.integers(1, 500), warmup=st.floats(0, 0.9))
def test_the_cosine_schedule_rises_then_falls_within_bounds(steps, warmup):
    config = TrainConfig(schedule="cosine", warmup=warmup)
    factors = [lr_factor(config, steps, step) for step in range(steps)]
    peak = int(np.argmax(factors))
    assert all(0 < factor <= 1 for factor in factors)
    assert factors[:peak] == sorted(factors[:peak])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)


def test_adam_takes_the_steps_of_keras():
    parameter = torch.nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))
    theirs = keras.Variable(np.array([1.0, -2.0, 3.0], np.float32))
    adam = keras.optimizers.Adam(1e-3)
    ours = torch.optim.AdamW([parameter], lr=1e-3, betas=loop.ADAM_BETAS, weight_decay=0.0)
    for step in range(1, 6):
        gradient = np.array([1e-6, -3e-5, 0.2], np.float32) / step
        adam.apply([keras.ops.convert_to_tensor(gradient)], [theirs])
        parameter.grad = torch.from_numpy(gradient)
        ours.param_groups[0]["eps"] = keras_epsilon(step)
        ours.step()
        np.testing.assert_allclose(
            parameter.detach().numpy(), keras.ops.convert_to_numpy(theirs), rtol=0, atol=2e-7
        )


def test_the_loop_sets_that_epsilon_at_every_step():
    training = start("train.batch_size=80")
    seen = []
    training._optimizer.register_step_pre_hook(
        lambda optimizer, *_: seen.append(optimizer.param_groups[0]["eps"])
    )
    list(training)
    assert seen == [keras_epsilon(step) for step in (1, 2, 3, 4)]


def test_divergence_names_the_epoch_and_the_settings():
    with pytest.raises(TrainingError, match=r"epoch 1 .*train\.lr=1e\+30.*lower train\.lr"):
        list(start("train.lr=1e30"))


def test_bf16_trains_too():
    epochs = list(start("train.precision=bf16", "train.epochs=6", "train.batch_size=8"))
    assert epochs[-1].accuracy > 0.9


def _worker(rank, world, port, folder):
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.distributed.init_process_group("gloo", rank=rank, world_size=world)
    data = toy_data()
    training = start("model.dropout=0", "train.batch_size=9", data=data)  # 160 = 17 * 9 + 7
    epochs = [untimed(epoch) for epoch in training]
    logits = training.logits(data["test"])
    if rank == world - 1:
        losses = [[epoch.train_loss, epoch.val_loss] for epoch in epochs]
        np.savez(folder / "result.npz", losses=losses, logits=logits)
    torch.distributed.destroy_process_group()


def test_two_workers_train_as_one_does(unused_port, tmp_path):
    data = toy_data()
    alone = start("model.dropout=0", "train.batch_size=9", data=data)
    expected = [[epoch.train_loss, epoch.val_loss] for epoch in alone]
    multiprocessing.spawn(_worker, (2, unused_port, tmp_path), nprocs=2)
    theirs = np.load(tmp_path / "result.npz")
    assert len(theirs["logits"]) == len(data["test"])
    # The gradient's sum runs in another order, so the figures differ by rounding alone.
    np.testing.assert_allclose(theirs["logits"], alone.logits(data["test"]), atol=2e-3)
    np.testing.assert_allclose(theirs["losses"], expected, rtol=1e-3, atol=1e-4)


@pytest.fixture
def unused_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
