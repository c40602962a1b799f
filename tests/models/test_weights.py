"""The weights of torchvision's networks: from files, from the hub, and wrong ones."""

import functools
import re

import fsspec
import pytest
import torch
from torchvision import models as zoo

import models
from models.config import ModelConfig
from orchestrator.base.errors import InputError

SIZE = 64
CONFIG = ModelConfig(name="resnet50", head="pooled", hidden=0)
SMALL = ModelConfig(name="resnet18", head="pooled", hidden=0)
HUB = zoo.ResNet50_Weights


def changed(config, **values):
    return config.model_copy(update=values)


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No cached weights, and a network where nothing answers."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # the discard port refuses
    return tmp_path


@functools.cache
def shapes_of(name):
    with torch.device("meta"):
        state = zoo.get_model(name, weights=None).state_dict()
    return {key: value.shape for key, value in state.items()}


def tiny_state(name="resnet18", **changes):
    """A state dict of the right names and shapes that takes no room; None removes a key."""
    return {
        key: torch.zeros(()).expand(shape)
        for key, shape in (shapes_of(name) | changes).items()
        if shape is not None
    }


def test_old_names_in_densenets_are_mended(tmp_path):
    # As in https://download.pytorch.org/models/densenet121-a639ec97.pth
    torch.manual_seed(1)
    state = zoo.densenet121(weights=None).state_dict()
    old = {re.sub(r"(denselayer\d+\.(norm|conv))", r"\1.", key): v for key, v in state.items()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    torch.save(old, tmp_path / "old.pth")
    model = models.build(
        changed(SMALL, name="densenet121", weights=str(tmp_path / "old.pth")), SIZE
    )
    name = "features.denseblock4.denselayer16.conv2.weight"
    assert torch.equal(model.backbone.state_dict()[name], state[name])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.pth", None, "cannot read the weights (no such file); give --set model.weights a"),
        ("empty.pth", b"", "neither a state dict saved by torch nor safetensors"),
        ("text.pth", b"not weights at all", "neither a state dict"),
        ("stop.pth", b"\x80\x02.", "neither a state dict"),
        ("text.safetensors", b"not weights at all", "neither a state dict"),
        ("half.safetensors", b"\x10\0\0\0\0\0\0\0{", "neither a state dict"),
    ],
)
def test_unreadable_weights_are_one_line(tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    assert_refused(path, message)


def test_a_folder_or_a_name_that_is_none_is_one_line(tmp_path, monkeypatch):
    assert_refused(tmp_path, "cannot read the weights (Is a directory)")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"null, IMAGENET1K_V1, IMAGENET1K_V2, DEFAULT$"):
        models.build(changed(CONFIG, weights="IMAGENET1K_V3"), SIZE)
    with pytest.raises(InputError, match=r"^nowhere://a/b.pth: no file system"):
        models.build(changed(CONFIG, weights="nowhere://a/b.pth"), SIZE)


def test_truncated_weights_are_one_line(tmp_path):
    path = tmp_path / "cut.pth"
    torch.save(tiny_state(), path)
    path.write_bytes(path.read_bytes()[:-1000])
    assert_refused(path, "neither a state dict")


def test_pickled_code_is_refused(tmp_path):
    path = tmp_path / "module.pth"
    torch.save(torch.nn.Linear(2, 2), path)  # a module is code; weights are data
    assert_refused(path, "neither a state dict")


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ([1, 2], "it lacks conv1.weight and 99 more"),
        ({0: torch.zeros(1)}, "it lacks conv1.weight and 99 more"),
        (lambda: {"state_dict": tiny_state()}, "it lacks conv1.weight and 99 more"),
        (lambda: tiny_state(**{"bn1.bias": None}), "it lacks bn1.bias"),
        (lambda: tiny_state(extra=(3,)), "it has the unknown extra"),
        (
            lambda: tiny_state(**{"conv1.weight": (64, 1, 7, 7)}),
            "conv1.weight has shape (64, 1, 7, 7), not (64, 3, 7, 7)",
        ),
        (lambda: tiny_state() | {"bn1.bias": 3.0}, "bn1.bias has shape (), not (64,)"),
    ],
    ids=["no dict", "no names", "nested", "missing", "unknown", "shape", "no tensor"],
)
def test_wrong_weights_are_one_line(tmp_path, state, message):
    path = tmp_path / "wrong.pth"
    torch.save(state() if callable(state) else state, path)
    assert_refused(path, message)


def test_weights_without_counters_or_classifier_are_fine(tmp_path):
    path = tmp_path / "old.pth"
    state = {k: v for k, v in tiny_state().items() if "num_batches" not in k and k[:3] != "fc."}
    torch.save(state, path)
    model = models.build(changed(SMALL, weights=str(path)), SIZE)
    assert not model.backbone.conv1.weight.any()


def test_weights_of_a_network_with_other_classes_are_fine(tmp_path):
    path = tmp_path / "two.pth"
    torch.save(tiny_state(**{"fc.weight": (2, 512), "fc.bias": (2,)}), path)
    assert not models.build(changed(SMALL, weights=str(path)), SIZE).backbone.conv1.weight.any()


def test_weights_from_a_uri():
    memory = fsspec.filesystem("memory")
    with memory.open("/weights/small.pth", "wb") as file:
        torch.save(zoo.resnet18(weights=None).state_dict() | {"bn1.bias": torch.ones(64)}, file)
    model = models.build(changed(SMALL, weights="memory://weights/small.pth"), SIZE)
    assert (model.backbone.bn1.bias == 1).all()
    memory.rm("/weights", recursive=True)


@pytest.mark.usefixtures("offline")
def test_offline_is_one_line():
    for name in (None, "IMAGENET1K_V2"):
        with pytest.raises(InputError) as caught:
            models.build(changed(CONFIG, weights=name), SIZE)
        message, url = str(caught.value), HUB[name or "IMAGENET1K_V1"].url
        assert message.startswith(f"model.weights: cannot download {url} (")
        assert message.endswith("give it with --set model.weights=FILE")
        assert "\n" not in message


@pytest.mark.parametrize("name", ["IMAGENET1K_V1", "IMAGENET1K_V2"])
def test_cached_weights_need_no_network(offline, name):
    cache = offline / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    torch.save(tiny_state("resnet50"), cache / HUB[name].url.rpartition("/")[2])
    config = changed(CONFIG, weights=None if name == "IMAGENET1K_V1" else name)
    assert not models.build(config, SIZE).backbone.conv1.weight.any()


def test_random_or_rebuilt_networks_fetch_nothing(offline):
    models.build(changed(CONFIG, weights="random"), SIZE)
    for weights in (None, "absent.pth"):
        models.build(changed(CONFIG, weights=weights), SIZE, pretrained=False)
    assert not list(offline.iterdir())


def assert_refused(path, message):
    with pytest.raises(InputError) as caught:
        models.build(changed(SMALL, weights=str(path)), SIZE)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert "model.weights" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_become_absolute_and_names_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for given, kept in [
        ("small.pth", str(tmp_path / "small.pth")),
        ("folder/small", str(tmp_path / "folder" / "small")),
        ("memory://weights/small.pth", "memory://weights/small.pth"),
        ("IMAGENET1K_V2", "IMAGENET1K_V2"),
        ("random", "random"),
    ]:
        assert ModelConfig(weights=given).weights == kept
