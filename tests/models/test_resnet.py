"""The frozen ResNet50 against torchvision's, and the ways in which its weights can be wrong."""

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import resnet50
from torchvision.models.feature_extraction import create_feature_extractor
from torchvision.transforms.functional import normalize

import models
from models.config import ModelConfig
from models.resnet import HUB_WEIGHTS
from orchestrator.errors import InputError

SIZE = 80
FEATURES = 2048 * 3 * 3
CONFIG = ModelConfig(name="resnet50_frozen")


@pytest.fixture(scope="module")
def whole():
    """torchvision's network, with batch statistics that are not the initial 0 and 1."""
    torch.manual_seed(0)
    network = resnet50(weights=None)
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(std=0.1)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 2.0)
    return network.eval()


@pytest.fixture(scope="module", params=[".pth", ".safetensors"])
def weights_file(request, whole, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / f"resnet50{request.param}"
    save = torch.save if request.param == ".pth" else save_file
    save(whole.state_dict(), path)
    return path


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No cached weights, and a network where nothing answers."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # the discard port refuses
    return tmp_path


def tiny_state(**changes):
    """A state dict of the right names and shapes that takes no room; None removes a key."""
    shapes = {key: value.shape for key, value in resnet50(weights=None).state_dict().items()}
    return {
        key: torch.zeros(()).expand(shape)
        for key, shape in (shapes | changes).items()
        if shape is not None
    }


def test_backbone_is_torchvisions(whole, weights_file):
    model = models.build(CONFIG.model_copy(update={"weights": str(weights_file)}), SIZE).eval()
    images = torch.rand(2, 3, SIZE, SIZE)
    layer4 = create_feature_extractor(whole, ["layer4"])
    normalised = normalize(images, HUB_WEIGHTS.transforms().mean, HUB_WEIGHTS.transforms().std)
    with torch.no_grad():
        expected = layer4(normalised)["layer4"].flatten(1)
        logit = model(images)
        assert expected.shape == (2, FEATURES)
        assert logit.shape == (2,)
        torch.testing.assert_close(model.backbone(normalised), expected)
        torch.testing.assert_close(logit, model.head(expected)[:, 0])


def test_head_alone_trains():
    torch.manual_seed(0)
    model = models.build(CONFIG, SIZE, pretrained=False)
    assert models.count_parameters(model, trainable=True) == FEATURES * 512 + 512 + 512 + 1
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.eval()
    model.train()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad])
    model(torch.rand(2, 3, SIZE, SIZE)).sum().backward()
    optimizer.step()
    changed = {
        key for key, value in model.state_dict().items() if not torch.equal(value, before[key])
    }
    assert changed == {key for key in before if key.startswith("head.")}


def test_only_the_head_drops_out_in_training():
    torch.manual_seed(0)
    model = models.build(CONFIG, SIZE, pretrained=False).train()
    images = torch.rand(2, 3, SIZE, SIZE)
    assert torch.equal(model.backbone(images), model.backbone(images))
    assert not torch.equal(model(images), model(images))


def test_rebuilt_from_its_own_state():
    torch.manual_seed(0)
    model = models.build(CONFIG, 64, pretrained=False).eval()
    again = models.build(CONFIG, 64, pretrained=False).eval()
    again.load_state_dict(model.state_dict())
    images = torch.rand(2, 3, 64, 64)
    assert torch.equal(model(images), again(images))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.pth", None, "cannot read the weights (No such file or directory)"),
        ("empty.pth", b"", "neither a state dict saved by torch nor safetensors"),
        ("text.pth", b"not weights at all", "neither a state dict"),
        ("text.safetensors", b"not weights at all", "neither a state dict"),
        ("half.safetensors", b"\x10\0\0\0\0\0\0\0{", "neither a state dict"),
    ],
)
def test_unreadable_weights_are_one_line(tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    assert_refused(path, message)


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
        ([1, 2], "it lacks conv1.weight and 264 more"),
        ({0: torch.zeros(1)}, "it lacks conv1.weight and 264 more"),
        (lambda: tiny_state(**{"bn1.bias": None}), "it lacks bn1.bias"),
        (lambda: tiny_state(extra=(3,)), "it has the unknown extra"),
        (
            lambda: tiny_state(**{"conv1.weight": (64, 1, 7, 7)}),
            "conv1.weight has shape (64, 1, 7, 7), not (64, 3, 7, 7)",
        ),
        (lambda: tiny_state() | {"bn1.bias": 3.0}, "bn1.bias has shape (), not (64,)"),
    ],
    ids=["no dict", "no names", "missing", "unknown", "shape", "no tensor"],
)
def test_wrong_weights_are_one_line(tmp_path, state, message):
    path = tmp_path / "wrong.pth"
    torch.save(state() if callable(state) else state, path)
    assert_refused(path, message)


def test_weights_without_counters_or_classifier_are_fine(tmp_path):
    path = tmp_path / "old.pth"
    state = {k: v for k, v in tiny_state().items() if "num_batches" not in k and k[:3] != "fc."}
    torch.save(state, path)
    model = models.build(CONFIG.model_copy(update={"weights": str(path)}), SIZE)
    assert not model.backbone.conv1.weight.any()


@pytest.mark.usefixtures("offline")
def test_offline_is_one_line():
    with pytest.raises(InputError) as caught:
        models.build(CONFIG, SIZE)
    message = str(caught.value)
    assert message.startswith(f"model.weights: cannot download {HUB_WEIGHTS.url} (")
    assert message.endswith("give it with --set model.weights=FILE")
    assert "\n" not in message


def test_cached_weights_need_no_network(offline):
    cache = offline / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    torch.save(tiny_state(), cache / HUB_WEIGHTS.url.rpartition("/")[2])
    assert not models.build(CONFIG, SIZE).backbone.conv1.weight.any()


def test_a_rebuilt_model_fetches_nothing(offline):
    absent = CONFIG.model_copy(update={"weights": "absent.pth"})
    for config in (CONFIG, absent):
        models.build(config, SIZE, pretrained=False)
    assert not list(offline.iterdir())


def assert_refused(path, message):
    with pytest.raises(InputError) as caught:
        models.build(CONFIG.model_copy(update={"weights": str(path)}), SIZE)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert "model.weights" in str(caught.value)
    assert "\n" not in str(caught.value)
