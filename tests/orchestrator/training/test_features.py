"""A frozen backbone's features: what they are, when they are made anew, and who trains on them."""

from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from preparing import tree

import models
from orchestrator.base.errors import InputError
from orchestrator.cli import main
from orchestrator.config.layers import resolve
from orchestrator.data.loading import load
from orchestrator.data.prepare.prepare import Options, prepare
from orchestrator.data.sources.registry import open_source
from orchestrator.data.splits import SPLITS
from orchestrator.data.store.store import Store
from orchestrator.distributed import sharing
from orchestrator.run.directory import Run
from orchestrator.training.features import cache as caching
from orchestrator.training.features.cache import basis, cache
from orchestrator.training.features.compute import write_file
from orchestrator.training.features.stored import FOLDER, MIRRORED, PLAIN
from orchestrator.training.inference import to_input
from orchestrator.training.loop import Training

SIDE, WIDTH = 32, 512
MEMORY = 1e9
SETTINGS = (
    "model.name=resnet18", "model.weights=random", "model.head=pooled", "model.hidden=8",
    "train.precision=fp32", "train.epochs=3", "train.batch_size=16",
)  # fmt: skip


def configured(*settings):
    return resolve(settings=[*SETTINGS, *settings])


@pytest.fixture
def store(request, make_faces, tmp_path):
    """Ten chunks of eight faces, each with a shard of its own of the splits that it has rows of."""
    for name in ("small_chunks", "in_process"):
        request.getfixturevalue(name)
    return prepare(open_source(str(make_faces(80))), tmp_path / "data", Options(image_size=SIDE))


FILES = []


@pytest.fixture
def written():
    """The files that were computed."""
    FILES.clear()
    return FILES


def extract(features, pieces, network, _precision):
    """Compute files in this process, instead of on Ray Data."""
    for variant, shard in pieces:
        write_file(features, variant, shard, network, autocast=False)
        FILES.append((variant, shard.file))


def cached(store, *settings, extract=extract):
    features, _ = cache(store, configured(*settings), MEMORY, extract)
    return features


def trial_network(config):
    """As a trial makes it."""
    torch.manual_seed(config.seed)
    return models.build(config.model, SIDE).to(memory_format=torch.channels_last)


@pytest.mark.parametrize("head", ["pooled", "flatten"])
@pytest.mark.usefixtures("written")
def test_they_are_what_the_backbone_makes_of_faces_and_mirrored_faces(store, head):
    features = cached(store, f"model.head={head}", "seed=5")
    network = trial_network(configured(f"model.head={head}", "seed=5")).eval()
    data = features.attach({split: store.load(split) for split in SPLITS})
    for split, variants in (("train", 2), ("val", 1), ("test", 1)):
        images, made = data[split].images, data[split].features
        assert made.shape == (len(images), variants, network.width)
        assert made.dtype == np.float16
        for variant, seen in enumerate([images, images[:, :, ::-1].copy()][:variants]):
            with torch.no_grad():
                expected = network.features(to_input(torch.from_numpy(seen))).numpy()
            # float16 keeps 11 bits; the network's own roundings depend on the size of the batch.
            np.testing.assert_allclose(made[:, variant], expected, rtol=2**-11 + 1e-5, atol=1e-6)
    assert not np.array_equal(data["train"].features[:, 0], data["train"].features[:, 1])


def test_those_of_several_sizes_follow_one_another_each_kept_by_itself(store, written):
    small = cached(store, "model.image_size=24")
    written.clear()
    settings = ("model.image_size=[40,24]", "model.mirror=true")
    features = cached(store, *settings)
    of = {split: len(shards) for split, shards in store.meta.shards.items()}
    assert len(written) == 2 * sum(of.values()) + of["val"] + of["test"]  # of 24 what it lacked
    assert features.beside[0].key == small.key
    network = trial_network(configured(*settings)).eval()
    assert network.width == 2 * WIDTH
    data = features.attach({split: store.load(split) for split in SPLITS})
    alone = small.attach({"train": store.load("train")})["train"].features.astype(np.float32)
    made = data["train"].features
    np.testing.assert_allclose(made[:, 0, WIDTH:], alone.mean(1), rtol=2**-10, atol=1e-6)
    for split in SPLITS:
        images, made = data[split].images, data[split].features
        assert made.shape == (len(images), 1, 2 * WIDTH)
        with torch.no_grad():
            expected = network.features(to_input(torch.from_numpy(images))).numpy()
        np.testing.assert_allclose(made[:, 0], expected, rtol=2**-10 + 1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "settings", [(), ("augment.flip=false", "last_layer.held_out=0.25"), ("data.folds=4",)]
)
@pytest.mark.usefixtures("written")
def test_training_on_them_is_nearly_training_on_pixels(store, settings):
    config = configured(*settings)
    logits = []
    for attach in (None, cached(store, *settings).attach):
        data = load(store, config.data, "resident", attach=attach)
        training = Training(config, trial_network(config), data["train"], data["val"])
        epochs = list(training)
        logits.append(training.logits(data["test"]))
    on_pixels, on_features = logits
    assert np.ptp(on_pixels) > 0.1
    assert len(epochs) == 3 + (config.last_layer.held_out > 0)
    np.testing.assert_allclose(on_features, on_pixels, atol=2e-3 * np.ptp(on_pixels))


def test_only_what_is_missing_cut_short_or_of_another_key_is_made_again(store, written):
    features = cached(store)
    assert sorted(written) == sorted((v, shard.file) for v, shard in features.pieces())
    of = {split: len(shards) for split, shards in store.meta.shards.items()}
    assert len(written) == 2 * of["train"] + of["val"] + of["test"]
    whole, folder = tree(store.path), features.folder(PLAIN)
    first, second, third, fourth = (folder / "train" / f"part-{n:05}.parquet" for n in range(4))
    first.unlink()
    second.write_bytes(second.read_bytes()[:-100])
    third.write_bytes(b"")
    mirrored = features.folder(MIRRORED) / "train" / fourth.name
    fourth.write_bytes(mirrored.read_bytes())  # of another key
    found = [shard.file for variant, shard in features.undone() if variant == PLAIN]
    assert found == [f"train/part-{n:05}.parquet" for n in range(4)]
    assert len(features.undone()) == 4
    written.clear()
    assert cached(store) == features
    assert len(written) == 4
    assert tree(store.path) == whole


@pytest.mark.usefixtures("written")
def test_those_of_other_data_are_made_again(store):
    features = cached(store)
    other = replace(store, meta=store.meta.model_copy(update={"fingerprint": "other"}))
    assert len(replace(features, store=other).undone()) == len(features.pieces())


def test_what_decides_them_decides_the_key(store):
    def described(*settings):
        config = configured(*settings)
        return caching._describe(caching._backbone(config, SIDE), config, store)

    first = described()
    assert described("model.dropout=0.1", "model.hidden=3", "train.lr=0.1") == first
    plain = described("augment.flip=false")  # takes the plain ones, and needs no others
    assert plain.key == first.key
    assert set(plain.pieces()) == {piece for piece in first.pieces() if piece[0] == PLAIN}
    others = ("seed=1", "model.head=flatten", "model.name=resnet34", "train.precision=bf16")
    assert len({first.key, *(described(setting).key for setting in others)}) == 5


@pytest.mark.usefixtures("written")
def test_a_file_that_is_damaged_inside_is_one_line(store):
    features = cached(store)
    file = features.folder(PLAIN) / "val" / "part-00001.parquet"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert features.undone() == []  # the footer is whole
    data = {split: store.load(split) for split in SPLITS}
    with pytest.raises(InputError, match=rf"^{file}: damaged \(.*; delete .*-plain and run the s"):
        features.attach(data)
    file.unlink()
    with pytest.raises(InputError, match=rf"^{file}: no such file; delete ") as caught:
        features.attach(data)
    assert "\n" not in str(caught.value)


def test_a_network_whose_features_do_not_fit_in_float16_is_one_line(store):
    network = trial_network(configured())
    with torch.no_grad():
        for block in (network.backbone.layer4[0], network.backbone.layer4[1]):
            block.bn2.weight.fill_(1e8)
    features = cached(store, extract=lambda *_: None)
    shard = store.meta.shards["train"][0]
    with pytest.raises(InputError, match=r"^train/part-00000.parquet: .* not fit in float16"):
        write_file(features, PLAIN, shard, network, autocast=False)
    assert list(features.folder(PLAIN).rglob("part*")) == []


def test_where_features_cannot_stand_in_it_is_said_why(store, written):
    def sentence(*settings, memory=MEMORY):
        features, said = cache(store, configured(*settings), memory, extract)
        assert features is None
        return said

    assert sentence("model.name=cnn") == ""
    assert sentence("model.unfreeze=last_stage") == ""
    said = sentence("augment.shift=2")
    assert said.endswith("runs anew in every epoch, since augment.shift changes the pixels")
    assert "augment.erase changes the pixels" in sentence("augment.erase=0.1")
    said = sentence(memory=1e5)
    assert "since 0.00013 GB do not fit 0.0001 GB of shared memory" in said
    assert "model.head=pooled takes less" not in said
    assert said.count("\n") == 0
    assert "memory; model.head=pooled takes less" in sentence("model.head=flatten", memory=1e4)
    assert not (store.path / "features").exists()
    (store.path / "features").write_bytes(b"")  # nobody can make a folder here
    assert "cannot be written to (Not a directory)" in sentence()
    assert written == []


@pytest.mark.usefixtures("written")
def test_where_they_are_used_it_is_said_how_large_they_are(store):
    features, said = cache(store, configured(), MEMORY, extract)
    faces = 2 * 48 + 16 + 16
    assert features.gigabytes == pytest.approx(faces * WIDTH * 2 / 1e9)
    assert said.startswith("features: resident, 0.00013 GB, 512 a face; made once, kept in ")
    assert str(features.folder(PLAIN)) in said


def test_what_is_whole_is_not_computed_again(store, written):
    cached(store)
    assert written
    cached(store, extract=lambda *_: pytest.fail("there is nothing to compute"))


def test_what_is_computed_and_where_data_are_kept_is_shown(store, monkeypatch):
    monkeypatch.setattr(sharing, "shared_memory", lambda *_: MEMORY)
    monkeypatch.setattr(sharing, "_precision_there", lambda _: "bf16")
    monkeypatch.setattr(sharing, "share_splits", lambda *_: SimpleNamespace(placement="in place"))
    monkeypatch.setattr(sharing, "extract", lambda *task: task[-1](1, len(task[1])))
    said, shown = [], []

    @contextmanager
    def count_rows(what):
        yield lambda *numbers: shown.append((what, *numbers))

    screen = SimpleNamespace(say=said.append, count_rows=count_rows)
    sharing.share_data(store, configured(), screen)
    assert [what for what, *_ in shown] == ["computing features"]
    assert said[0].startswith("features: resident, ")
    assert len(said) == 1  # of the pixels, which nobody reads, nothing is said
    sharing.share_data(store, configured("model.unfreeze=all"), screen)
    assert said[1:] == ["in place"]
    assert len(shown) == 1


@pytest.mark.usefixtures("written")
def test_folds_take_the_features_of_val_along(store):
    features = cached(store, "data.folds=4", "data.fold=1")
    assert features.variants["val"] == (PLAIN, MIRRORED)
    config = configured("data.folds=4", "data.fold=1")
    network = trial_network(config).eval()
    data = load(store, config.data, "stream", attach=features.attach)
    assert {split: len(arrays) for split, arrays in data.items()} == {
        "train": 48, "val": 16, "test": 16,
    }  # fmt: skip
    for split in SPLITS:
        rows = np.arange(len(data[split]))
        with torch.no_grad():
            images = to_input(torch.from_numpy(data[split].images.read(rows)))
            expected = network.features(images).numpy()
        np.testing.assert_allclose(
            data[split].features[:, 0], expected, rtol=2**-11 + 1e-5, atol=1e-6
        )


def test_what_two_runs_must_share_to_share_features():
    ours = basis(configured())
    for same in ("model.hidden=3", "model.dropout=0", "train.lr=1", "balance.policy=undersample"):
        assert basis(configured(same)) == ours
    for other in (
        "seed=1", "model.name=resnet34", "model.head=flatten", "model.weights=IMAGENET1K_V1",
        "augment.flip=false", "train.precision=bf16", "model.mirror=true",
        "model.image_size=[32,40]",
    ):  # fmt: skip
        assert basis(configured(other)) not in (ours, None)
    for neither in ("model.name=cnn", "model.unfreeze=all", "augment.shift=1"):
        assert basis(configured(neither)) is None
    named = "model.weights=IMAGENET1K_V1"  # the seed draws only random weights
    assert basis(configured(named, "seed=1")) == basis(configured(named))


@pytest.fixture
def shared(store, written, monkeypatch):
    """The data of a run with a frozen network."""
    config = configured()
    data = load(store, config.data, "stream", attach=cached(store).attach)
    written.clear()
    monkeypatch.setattr(sharing.ray, "get", lambda reference: reference)
    return sharing.Shared([data], store, basis(config))


def test_a_trial_of_another_network_gets_the_pixels(shared):
    data = shared.references[0]
    for same in (configured(), configured("model.hidden=3")):
        assert shared.get(same)["train"].inputs is data["train"].features
    for other in ("model.name=cnn", "model.unfreeze=last_stage", "augment.shift=1"):
        for split, arrays in shared.get(configured(other)).items():
            assert arrays.inputs is data[split].images
    without = sharing.Shared([data], shared.store)
    assert without.get(configured("model.name=cnn")) is data


@pytest.mark.parametrize("settings", ["seed=1", "model.head=flatten", "model.name=resnet34"])
def test_a_trial_of_another_frozen_network_makes_features_of_its_own(
    shared, store, settings, monkeypatch
):
    config, made = configured(settings, "data.folds=4"), []

    def writing(*arguments):
        made.append(arguments[1:3])
        write_file(*arguments)

    monkeypatch.setattr(caching, "write_file", writing)
    own = shared.get(config)
    features = cached(store, settings, "data.folds=4")
    assert sorted(made, key=repr) == sorted(features.pieces(), key=repr)
    as_a_runs = load(store, config.data, "stream", attach=features.attach)
    for split, arrays in as_a_runs.items():
        np.testing.assert_array_equal(own[split].features, arrays.features)
        assert own[split].filename.tolist() == arrays.filename.tolist()
        assert own[split].inputs is own[split].features
    made.clear()
    assert len(shared.get(configured(settings, "data.folds=4", "train.lr=1"))["train"])
    assert made == []  # the next trial finds them


@pytest.mark.parametrize("what", ["memory", "workers", "folder"])
def test_a_trial_whose_own_features_cannot_be_had_gets_the_pixels(
    shared, store, written, monkeypatch, what
):
    settings = ["seed=1"]
    if what == "memory":
        monkeypatch.setattr(caching.machine, "memory", lambda: 1e5)
    elif what == "workers":
        settings.append("workers=2")
    else:
        folder = store.path / FOLDER
        folder.rename(store.path / "kept")
        folder.write_text("in the way")
    for split, arrays in shared.get(configured(*settings)).items():
        assert arrays.inputs is shared.references[0][split].images
    assert written == []


def train(data, out, *settings):
    words = ["train", "--data", data, "--out", out, "--set", *SETTINGS, *settings]
    return main([str(word) for word in words])


def made_at(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.parquet")}


@pytest.mark.usefixtures("ray_cluster", "small_chunks", "in_process")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_second_run_computes_nothing_and_gives_the_same_model(store, tmp_path, capfd):
    folder = store.path / FOLDER
    times, weights = [], []
    for name in ("first", "second"):
        assert train(store.path, tmp_path / name) == 0
        out = capfd.readouterr().out
        assert ("computing features: 128/128 images" in out) == (name == "first")
        assert "features: resident" in out
        assert "data: " not in out  # nobody reads the pixels
        trial = Run.open(str(tmp_path / name)).trial("default")
        times.append(made_at(folder))
        weights.append((trial.path / "model.safetensors").read_bytes())
        assert len(trial.predictions) == 32
    assert len(times[0]) == len(cached(store).pieces())
    assert times[0] == times[1]
    assert weights[0] == weights[1]
    # What Ray Data's processes wrote is what this one writes.
    made = tree(folder)
    (features, _) = cache(Store.open(store.path), configured(), MEMORY, extract)
    network = caching._backbone(configured(), SIDE)
    torch.set_num_threads(1)
    for variant, shard in features.pieces():
        write_file(features, variant, shard, network, autocast=False)
    assert tree(folder) == made
    # Data that have been damaged since are one line, where features are to be computed again.
    for file in folder.rglob("test/*.parquet"):
        file.unlink()
    shard = store.path / store.meta.shards["test"][-1].file
    image = store.load("test").images[-1].tobytes()
    shard.write_bytes(shard.read_bytes().replace(image, bytes(len(image))))
    assert train(store.path, tmp_path / "third") == 2
    said = capfd.readouterr().err
    assert f"{shard.name}: damaged" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "third").exists()
    assert shard.name not in [path.name for path in folder.rglob("test/*")]
