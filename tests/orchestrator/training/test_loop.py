"""The loop: what it trains on, when it stops, what it keeps, and that it repeats itself."""

from dataclasses import asdict, astuple, replace

import keras
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import multiprocessing
from toys import SIDE, toy_arrays, toy_data

import models
from orchestrator.base.errors import InputError
from orchestrator.config.layers import resolve
from orchestrator.config.settings import AugmentConfig
from orchestrator.judging.fairness import group_metrics, predict_labels
from orchestrator.training.augment import NUMBERS
from orchestrator.training.batches import Batches, Drawn
from orchestrator.training.early_stopping import EarlyStopping, EpochMetrics, kept_so_far
from orchestrator.training.inference import to_input
from orchestrator.training.loop import Training, TrainingError

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


def batches(*settings, rank=0, world=1, monkeypatch=None):
    if monkeypatch:
        monkeypatch.setattr("orchestrator.training.batches.rank_and_world", lambda: (rank, world))
    return Batches(resolve(settings=settings), toy_data()["train"], torch.device("cpu"))


def seen(batches, epoch=0):
    """The rows of an epoch, in order, and whether each is mirrored, told by their pixels."""
    train = toy_data()["train"]
    known = {image.tobytes(): (row, False) for row, image in enumerate(train.images)}
    known |= {image[:, ::-1].tobytes(): (row, True) for row, image in enumerate(train.images)}
    found = []
    for drawn in batches.epoch(epoch):
        batch = drawn.augmented(batches._config.augment)
        counts = batch.genders != 0  # what keeps a lone row company does not
        images = (batch.inputs[counts].permute(0, 2, 3, 1) * 255).round().byte().numpy()
        rows = [known[image.tobytes()] for image in images]
        found += rows
        assert batch.labels[counts].tolist() == train.label[[row for row, _ in rows]].tolist()
        assert batch.genders[counts].tolist() == train.gender[[row for row, _ in rows]].tolist()
    return [row for row, _ in found], [mirrored for _, mirrored in found]


def test_an_epoch_sees_each_drawn_row_once_in_a_new_order():
    drawing = batches("balance.policy=undersample", "balance.redraw=false", "train.batch_size=7")
    orders = [seen(drawing, epoch)[0] for epoch in (0, 1)]
    gender = toy_data()["train"].gender
    drawn = gender[sorted(orders[0])]
    assert len(set(orders[0])) == len(orders[0])
    assert (drawn == -1).sum() == (drawn == 1).sum() == (gender == 1).sum()
    assert sorted(orders[0]) == sorted(orders[1])
    assert orders[0] != orders[1]


def test_fresh_draws_reach_everybody():
    drawing = batches("balance.policy=undersample")
    gender = toy_data()["train"].gender
    epochs = [seen(drawing, epoch)[0] for epoch in (0, 1)]
    assert len(set(epochs[0])) == len(epochs[0]) < len(gender)
    assert set(epochs[0] + epochs[1]) == set(range(len(gender)))


def test_oversampling_repeats_rows():
    rows, _ = seen(batches("balance.policy=oversample", "balance.over=gender_class"))
    train = toy_data()["train"]
    counts = np.unique(2 * train.gender[rows] + train.label[rows], return_counts=True)[1]
    assert counts.tolist() == [counts[0]] * 4
    assert len(set(rows)) == len(train) < len(rows)


def test_flips_are_half_or_none():
    assert 0.3 < np.mean(seen(batches())[1]) < 0.7
    assert not any(seen(batches("augment.flip=false"))[1])


def test_rows_for_the_last_layer_are_kept_out():
    drawing = batches("last_layer.held_out=0.25", "balance.policy=weights")
    rows, _ = seen(drawing)
    assert set(rows) | set(drawing.held_out) == set(range(160))
    assert len(rows) + len(drawing.held_out) == 160
    assert 40 <= len(drawing.held_out) <= 44  # of each of four strata a quarter, rounded up


@pytest.mark.parametrize("batch", [1, 7, 33])
@pytest.mark.parametrize("workers", [1, 2, 3, 4])
def test_workers_share_each_global_batch(workers, batch, monkeypatch):
    settings = ("balance.policy=undersample", f"train.batch_size={batch}")
    alone = batches(*settings)
    whole, _ = seen(alone)
    steps = [step.size for step in alone.epoch(0)]
    shares = []
    for rank in range(workers):
        drawing = batches(*settings, rank=rank, world=workers, monkeypatch=monkeypatch)
        mine = list(drawing.epoch(0))
        assert [step.size for step in mine] == steps  # all take every step together
        shares.append([int((step.genders != 0).sum()) for step in mine])
        assert all(not step.weights[step.genders == 0].any() for step in mine)
        if all(step.genders.all() for step in mine):
            assert seen(drawing)[0] == whole_share(whole, batch, rank, workers)
    assert [sum(share) for share in zip(*shares, strict=True)] == steps


def whole_share(rows, batch, rank, workers):
    batches = [rows[at : at + batch] for at in range(0, len(rows), batch)]
    return [row for one in batches for row in one[rank::workers]]


def test_gender_weights_scale_the_loss_as_keras_does():
    data = toy_data()
    training = start("balance.weight_men=0.1", "model.dropout=0", data=data)
    first = torch.from_numpy(data["train"].images[:12])
    with torch.no_grad():
        logit = training.model(to_input(first)).numpy()
    label, gender = data["train"].label[:12], data["train"].gender[:12]
    expected = keras.losses.BinaryCrossentropy(from_logits=True)(
        label[:, None].astype(np.float32), logit[:, None],
        sample_weight=np.where(gender == -1, 1.0, 0.1).astype(np.float32),
    )  # fmt: skip
    drawing = training._batches
    columns = (drawing._labels, drawing._targets, drawing._genders, drawing._weights)
    of_first = (column[:12] for column in columns)
    unmoved = torch.ones((12, NUMBERS))
    loss = training._step(Drawn(first, unmoved, *of_first, 12)) / 12
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
    training = start("train.epochs=10", "train.lr=0.03", recipe="reference")
    epochs = list(training)
    assert len(epochs) < 10
    assert epochs[-1].val_loss >= min(epoch.val_loss for epoch in epochs)
    assert training.kept is epochs[-1]


def test_divergence_names_the_epoch_and_the_settings():
    with pytest.raises(
        TrainingError, match=r"epoch 1, step [234] .*train\.lr=1e\+30.*lower train\.lr"
    ):
        list(start("train.lr=1e30"))


def test_the_first_step_with_an_infinite_loss_is_named(monkeypatch):
    training = start("train.batch_size=32")
    take, steps = training._step, iter(range(1, 100))
    monkeypatch.setattr(
        training, "_step", lambda batch: take(batch) * (torch.inf if next(steps) >= 3 else 1)
    )
    with pytest.raises(TrainingError, match=r"epoch 1, step 3 \(loss inf\)"):
        list(training)


def test_logits_that_are_no_numbers_are_divergence_too(monkeypatch):
    training = start("train.batch_size=32")
    monkeypatch.setattr(training, "_validate", lambda: np.full(61, np.nan, np.float32))
    with pytest.raises(TrainingError, match=r"epoch 1, step 5 .*or train\.precision=fp32$"):
        list(training)


CHANGES = {
    "default": (),
    "everything": (
        "train.ema=0.9", "train.clip_norm=1", "method.name=group_dro", "train.weight_decay=0.01",
        "augment.shift=2", "augment.erase=0.5", "balance.policy=undersample", "train.patience=1",
    ),
    "gap": ("method.name=gap_penalty", "train.keep=last", "train.schedule=constant"),
    "last-layer": ("last_layer.held_out=0.3", "train.ema=0.5"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "epochs"),
    [*((name, epochs) for name in CHANGES for epochs in (1, 2, 4)), ("last-layer", 5)],
)
def test_going_on_from_a_checkpoint_ends_in_the_same_weights(name, epochs, tmp_path):
    settings = ("train.epochs=4", "train.batch_size=16", *CHANGES[name])
    whole = start(*settings)
    expected = list(map(untimed, whole))
    begun = start(*settings)
    head = [untimed(epoch) for _, epoch in zip(range(epochs), begun, strict=False)]
    torch.save(begun.state_dict(), tmp_path / "state.pt")
    resumed = start("train.lr=1e-3", *settings)
    for parameter in resumed.model.parameters():
        torch.nn.init.zeros_(parameter)  # all comes from the checkpoint
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    tail = [untimed(epoch) for epoch in resumed]
    assert head + tail == expected
    assert untimed(resumed.kept) == untimed(whole.kept)
    assert np.array_equal(resumed.kept_logit, whole.kept_logit)
    for ours, theirs in zip(
        resumed.model.state_dict().values(), whole.model.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs)


def test_the_last_layer_is_retrained_on_rows_kept_out_of_training():
    data = toy_data()
    training = start("last_layer.held_out=0.3", "train.epochs=3", data=data)
    epochs = list(training)
    assert [epoch.epoch for epoch in epochs] == [1, 2, 3, 4]
    assert training.kept is epochs[-1]
    assert epochs[-1].accuracy > 0.8
    assert np.array_equal(training.kept_logit, training.logits(data["val"]))


def test_a_retrained_last_layer_is_never_taken_for_an_epoch():
    """Not after early stopping either: halving would compare it, and stop a trial at its end."""
    settings = ("last_layer.held_out=0.3", "train.epochs=9", "train.patience=1", "train.lr=0.3")
    training = start(*settings, "train.batch_size=16")
    epochs = list(training)
    trained, last = [epoch.epoch for epoch in epochs[:-1]], epochs[-1].epoch
    assert trained == list(range(1, len(epochs)))
    assert len(trained) < 9
    assert last == 10
    table = pd.DataFrame([asdict(epoch) for epoch in epochs])
    assert [epoch for epoch, _ in kept_so_far(table, training.config.train)] == trained


def test_a_row_that_is_alone_in_its_batch_is_no_hindrance_to_batch_norm():
    """Nor does the copy that keeps it company count."""
    *_, drawn = batches("train.batch_size=53").epoch(0)  # 160 = 3 * 53 + 1
    batch = drawn.augmented(AugmentConfig())
    assert len(batch.labels) == 2
    assert torch.equal(batch.inputs[0], batch.inputs[1])
    assert (batch.weights[1], batch.genders[1], batch.size) == (0, 0, 1)
    head = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(3), torch.nn.BatchNorm1d(3))
    assert head(batch.inputs).shape == (2, 3)


def test_a_moving_average_of_the_weights_is_what_is_kept():
    """It begins as TensorFlow's with `num_updates`, and reaches its decay at the third update."""
    training = start("train.ema=0.3", "train.keep=last", "train.batch_size=32")
    averaged, decays = None, iter([2 / 11, 3 / 12, *[0.3] * 100])
    take = training._optimiser.step

    def step(loss):
        nonlocal averaged
        take(loss)
        now = [p.detach().clone() for p in training.model.parameters()]
        if averaged is None:
            averaged = now
            return
        decay = next(decays)
        averaged = [decay * old + (1 - decay) * new for old, new in zip(averaged, now, strict=True)]

    training._optimiser.step = step
    list(training)
    for kept, expected in zip(training.model.parameters(), averaged, strict=True):
        torch.testing.assert_close(kept.detach(), expected)


def test_bf16_trains_too():
    epochs = list(start("train.precision=bf16", "train.epochs=6", "train.batch_size=8"))
    assert epochs[-1].accuracy > 0.9


def _join(rank, world, folder):
    torch.set_num_threads(1)
    # They meet in a file: a port that is free now may be another program's when they listen there.
    met = f"file://{folder}/met-{world}"
    torch.distributed.init_process_group("gloo", met, rank=rank, world_size=world)


def spawn(work, world, *more):
    """Run workers in processes of a server that has what takes seconds to import."""
    multiprocessing.set_forkserver_preload(["hypothesis", "keras", "pandas", "torch"])
    multiprocessing.start_processes(work, (world, *more), nprocs=world, start_method="forkserver")


def _worker(rank, world, folder):
    _join(rank, world, folder)
    data = toy_data()
    training = start("model.dropout=0", "train.batch_size=9", data=data)  # 160 = 17 * 9 + 7
    epochs = [untimed(epoch) for epoch in training]
    logits = training.logits(data["test"])
    if rank == world - 1:
        losses = [[epoch.train_loss, epoch.val_loss] for epoch in epochs]
        np.savez(folder / "result.npz", losses=losses, logits=logits)
    torch.distributed.destroy_process_group()


def test_two_workers_train_as_one_does(tmp_path):
    data = toy_data()
    alone = start("model.dropout=0", "train.batch_size=9", data=data)
    expected = [[epoch.train_loss, epoch.val_loss] for epoch in alone]
    spawn(_worker, 2, tmp_path)
    theirs = np.load(tmp_path / "result.npz")
    assert len(theirs["logits"]) == len(data["test"])
    # The gradient's sum runs in another order, so the figures differ by rounding alone.
    np.testing.assert_allclose(theirs["logits"], alone.logits(data["test"]), atol=2e-3)
    np.testing.assert_allclose(theirs["losses"], expected, rtol=1e-3, atol=1e-4)


def test_batch_norm_is_not_each_workers_own(monkeypatch):
    monkeypatch.setattr("orchestrator.training.loop.rank_and_world", lambda: (0, 2))
    with pytest.raises(InputError, match=r"^--workers 2: batch norm would see a worker's share"):
        start("model.batch_norm=true")
    for frozen in ("none", "last_stage"):
        config = resolve(
            settings=["model.name=resnet18", "model.weights=random", f"model.unfreeze={frozen}"]
        )
        whole = models.normalises_over_batch(models.build(config.model, SIDE))
        assert whole == (frozen == "last_stage")


VAL_ROWS = (5, 61, 127)  # divisible by neither 2 nor 3


def hard_faces(rows):
    """Rows that are sometimes labelled wrongly, so that no network has them all right."""
    arrays = toy_arrays(rows, seed=2)
    wrong = np.random.default_rng(0).random(rows) < 0.3
    return replace(arrays, label=np.where(wrong, 1 - arrays.label, arrays.label))


def _evaluator(rank, world, folder):
    _join(rank, world, folder)
    data, found = toy_data(), {}
    for rows in VAL_ROWS:
        training = start("seed=1", data=data | {"val": hard_faces(rows)})
        training.model.load_state_dict(torch.load(folder / "model.pt", weights_only=True))
        logit = training._validate()
        metrics = untimed(training._metrics(logit, 0.0, 0.0, 0.0, 0.0))
        found[rows] = (logit, astuple(metrics))
    # Each worker's own, though they should not differ.
    torch.save(found, folder / f"{world}-{rank}.pt")
    torch.distributed.destroy_process_group()


def confusion(arrays, logit):
    """Count the rows of each gender, label and predicted label."""
    predicted = predict_labels(logit)
    return np.unique(np.stack([arrays.gender, arrays.label, predicted]), axis=1, return_counts=True)


def test_any_number_of_workers_counts_the_same(tmp_path):
    training = start("train.batch_size=8")
    next(iter(training))  # so far that both labels are predicted
    torch.save(training.model.state_dict(), tmp_path / "model.pt")
    found = {}
    for world in (1, 2, 3):
        spawn(_evaluator, world, tmp_path)
        for rank in range(world):
            found[world, rank] = torch.load(tmp_path / f"{world}-{rank}.pt", weights_only=False)
    for rows in VAL_ROWS:
        val = hard_faces(rows)
        expected, metrics = found[1, 0][rows]
        assert len(expected) == rows
        for world in (1, 2, 3):
            for rank in range(world):
                logit, theirs = found[world, rank][rows]
                assert np.array_equal(logit, found[world, 0][rows][0])
                # A row's logit depends, by a rounding, on the batch that it is computed in.
                np.testing.assert_allclose(logit, expected, rtol=1e-5, atol=1e-5)
                for ours, one in zip(confusion(val, logit), confusion(val, expected), strict=True):
                    np.testing.assert_array_equal(ours, one)
                assert exact(theirs) == exact(metrics)
    assert len(confusion(val, expected)[1]) == 8  # some of each kind are wrong


def exact(values):
    """All metrics but the losses, which are means of floats; as text, since nan is not nan."""
    fields = EpochMetrics.__dataclass_fields__
    return [str(v) for name, v in zip(fields, values, strict=True) if not name.endswith("loss")]
