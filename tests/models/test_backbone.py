"""torchvision's networks as backbones, against torchvision itself."""

import copy

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch.nn.parallel import DistributedDataParallel
from torchvision import models as zoo
from torchvision.models.feature_extraction import create_feature_extractor
from torchvision.transforms.functional import normalize

import models
from models.config import ModelConfig
from orchestrator.base.errors import InputError

SIZE = 80
CONFIG = ModelConfig(name="resnet50")
SMALL = ModelConfig(name="resnet18", weights="random", hidden=8)
HUB = zoo.ResNet50_Weights


def with_statistics(network, seed=0):
    """Batch statistics that are not the initial 0 and 1."""
    torch.manual_seed(seed)
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(std=0.1)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 2.0)
    return network.eval()


@pytest.fixture(scope="module")
def whole():
    torch.manual_seed(0)
    return with_statistics(zoo.resnet50(weights=None))


@pytest.fixture(scope="module", params=[".pth", ".safetensors"])
def weights_file(request, whole, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / f"resnet50{request.param}"
    save = torch.save if request.param == ".pth" else save_file
    save(whole.state_dict(), path)
    return path


def changed(config, **values):
    return config.model_copy(update=values)


def build(config, size=SIZE, seed=0):
    torch.manual_seed(seed)
    return models.build(config, size)


def normalised(images, weights=HUB.IMAGENET1K_V1):
    return normalize(images, weights.transforms().mean, weights.transforms().std)


@pytest.mark.parametrize(
    ("head", "node", "features"), [("flatten", "layer4", 2048 * 3 * 3), ("pooled", "avgpool", 2048)]
)
def test_resnet50_is_torchvisions(whole, weights_file, head, node, features):
    model = models.build(changed(CONFIG, weights=str(weights_file), head=head), SIZE).eval()
    images = torch.rand(2, 3, SIZE, SIZE)
    extractor = create_feature_extractor(whole, [node])
    with torch.no_grad():
        expected = extractor(normalised(images))[node].flatten(1)
        assert expected.shape == (2, features)
        torch.testing.assert_close(model.features(images), expected)
        torch.testing.assert_close(model(images), model.head(expected)[:, 0])
        assert torch.equal(model(model.features(images)), model(images))


def test_the_reference_head():
    model = models.build(CONFIG, SIZE, pretrained=False)
    assert models.count_parameters(model, trainable=True) == 18432 * 512 + 512 + 512 + 1
    assert models.last_layer(model) is model.head[3]
    assert models.last_layer(model).out_features == 1


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("convnext_tiny", 80),
        ("densenet121", 80),
        ("efficientnet_b0", 80),
        ("mnasnet0_5", 80),
        ("mobilenet_v3_small", 80),
        ("regnet_y_400mf", 80),
        ("swin_t", 80),
        ("vit_b_32", 224),
    ],
)
def test_any_network_up_to_its_last_layer(name, size, tmp_path):
    torch.manual_seed(0)
    theirs = with_statistics(zoo.get_model(name, weights=None))
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    config = ModelConfig(name=name, head="pooled", weights=str(tmp_path / "weights.pth"))
    model = build(config, size, seed=1).eval()
    images = torch.rand(2, 3, size, size)
    last = [module for module in theirs.modules() if isinstance(module, torch.nn.Linear)][-1]
    seen = []
    last.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        theirs(normalised(images))
        torch.testing.assert_close(model.features(images), seen[0])
    assert models.caches_features(config)


@pytest.mark.parametrize(
    ("name", "node"),
    [
        ("convnext_tiny", "features"),
        ("mobilenet_v3_small", "features"),
        ("regnet_y_400mf", "trunk_output"),
        ("vgg11", "features"),
    ],
)
def test_any_map_of_features(name, node):
    model = build(ModelConfig(name=name, weights="random")).eval()
    torch.manual_seed(0)
    theirs = zoo.get_model(name, weights=None).eval()  # the same draws
    seen = []
    theirs.get_submodule(node).register_forward_hook(lambda *args: seen.append(args[2]))
    images = torch.rand(2, 3, SIZE, SIZE)
    with torch.no_grad():
        theirs(normalised(images))
        torch.testing.assert_close(model.features(images), seen[0].flatten(1))


def train_one_step(model, config, images, network=None):
    """Step with `model`, or with what wraps it."""
    groups = models.parameter_groups(model, config)
    optimiser = torch.optim.SGD([{"params": ps, "lr": 0.1 * factor} for ps, factor in groups])
    network = network or model
    network.eval()
    network.train()
    network(images).square().sum().backward()
    optimiser.step()


FREEZING = {
    # What trains: prefixes of the names of parameters, and the factors of their learning rates.
    "none": ("head.", [1.0]),
    "last_stage": (("backbone.layer4.", "head."), [0.01, 1.0]),
    "all": (("backbone.", "head."), [0.01, 0.01**0.8, 0.01**0.6, 0.01**0.4, 0.01**0.2, 1.0]),
}


@pytest.mark.parametrize("head", ["flatten", "pooled"])
@pytest.mark.parametrize("unfreeze", list(FREEZING))
def test_what_is_unfrozen_trains_and_nothing_else(unfreeze, head):
    torch.manual_seed(0)
    theirs = with_statistics(zoo.resnet50(weights=None)).state_dict()
    config = changed(CONFIG, head=head, hidden=4, unfreeze=unfreeze, lr_backbone=0.01)
    model = models.build(config, 64, pretrained=False)
    model.backbone.load_state_dict({k: v for k, v in theirs.items() if k[:3] != "fc."})
    before = copy.deepcopy(model.state_dict())
    prefixes, factors = FREEZING[unfreeze]
    train_one_step(model, config, torch.rand(4, 3, 64, 64))
    after = model.state_dict()
    moved = {key for key, value in after.items() if not torch.equal(value, before[key])}
    # Parameters and batch statistics alike.
    assert moved == {key for key in before if key.startswith(prefixes)}
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trainable == {n for n, _ in model.named_parameters() if n.startswith(prefixes)}
    groups = models.parameter_groups(model, config)
    assert [factor for _, factor in groups] == pytest.approx(factors)
    grouped = [id(parameter) for parameters, _ in groups for parameter in parameters]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters() if p.requires_grad)
    assert models.caches_features(config) == (unfreeze == "none")


def test_stages_are_torchvisions_layers():
    config = changed(SMALL, unfreeze="all")
    model = build(config)
    names = {parameter: name for name, parameter in model.named_parameters()}
    children = [
        {names[parameter].split(".")[1] for parameter in parameters}
        for parameters, _ in models.parameter_groups(model, config)[:-1]
    ]
    assert children == [{"conv1", "bn1"}, {"layer1"}, {"layer2"}, {"layer3"}, {"layer4"}]
    assert {factor for _, factor in models.parameter_groups(model, config)} == {1.0}  # no weights


def test_a_class_token_trains():
    config = ModelConfig(name="vit_b_32", head="pooled", unfreeze="all", hidden=0)
    model = models.build(config, 224, pretrained=False)
    first, factor = models.parameter_groups(model, config)[0]
    assert any(parameter is model.backbone.class_token for parameter in first)
    assert factor == pytest.approx(0.1)


def test_no_activations_are_kept_of_frozen_layers():
    images = torch.rand(2, 3, SIZE, SIZE)
    for unfreeze, expected in [("none", set()), ("last_stage", {"layer4"})]:
        model = build(changed(SMALL, unfreeze=unfreeze)).train()
        gradients = {}
        for name, module in model.backbone.named_children():
            module.register_forward_hook(
                lambda _, __, output, name=name, seen=gradients: seen.update(
                    {name: output.requires_grad}
                )
            )
        model(images)
        layers = {name for name, recorded in gradients.items() if recorded}
        assert layers - {"avgpool", "fc"} == expected  # these two keep nothing


def test_batch_statistics_train_only_where_unfrozen():
    model = build(changed(SMALL, unfreeze="last_stage"))
    normalising = {
        name.split(".")[0]
        for name, module in model.backbone.named_modules()
        if isinstance(module, torch.nn.BatchNorm2d) and module.training
    }
    assert normalising == {"layer4"}
    assert model.head.training
    assert not any(module.training for module in model.eval().modules())
    assert build(changed(SMALL, unfreeze="all")).backbone.bn1.training


def test_a_copy_freezes_itself():
    """As averaged weights are kept in a deep copy."""
    model = copy.deepcopy(build(changed(SMALL, unfreeze="last_stage")))
    model.eval()
    model.train()
    assert model.backbone.layer4[0].bn1.training
    assert not model.backbone.layer3[0].bn1.training


@pytest.fixture
def process_group(tmp_path, monkeypatch):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group("gloo", f"file://{tmp_path}/met", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("process_group")
@pytest.mark.parametrize("unfreeze", list(FREEZING))
def test_distributed_without_looking_for_unused_parameters(unfreeze):
    config = changed(SMALL, unfreeze=unfreeze)
    model = build(config)
    network = DistributedDataParallel(model)
    for _ in range(2):  # a second step raises where the first left a gradient out
        train_one_step(model, config, torch.rand(2, 3, SIZE, SIZE), network)
    if unfreeze == "none":
        network(torch.rand(2, 512 * 3 * 3)).sum().backward()


def test_only_the_head_drops_out_in_training():
    model = build(changed(SMALL, hidden=64)).train()
    images = torch.rand(2, 3, SIZE, SIZE)
    assert torch.equal(model.features(images), model.features(images))
    assert not torch.equal(model(images), model(images))


def test_rebuilt_from_its_own_state():
    model = build(SMALL, 64).eval()
    again = build(SMALL, 64, seed=1).eval()
    again.load_state_dict(model.state_dict())
    images = torch.rand(2, 3, 64, 64)
    assert torch.equal(model(images), again(images))


def test_normalised_as_the_weights_were():
    # The one family whose images are brought to [-1, 1].
    model = models.build(ModelConfig(name="efficientnet_v2_l", head="pooled"), 32, pretrained=False)
    assert model.mean.flatten().tolist() == model.std.flatten().tolist() == [0.5] * 3


@pytest.mark.parametrize(
    ("config", "size", "message"),
    [
        (
            {"name": "resnet50_frozen"},
            80,
            "model.name=resnet50_frozen: no such .* as resnet50",
        ),
        ({"name": "zzz"}, 80, "model.name=zzz: no such network; there are cnn, .* resnet50$"),
        ({"name": "squeezenet1_1"}, 80, "model.name=squeezenet1_1: its last layer is not a dense"),
        ({"name": "densenet121"}, 80, "model.head=flatten: densenet121 .*use model.head=pooled$"),
        ({"name": "vit_b_32"}, 224, "model.head=flatten: vit_b_32 .*use model.head=pooled$"),
        (
            {"name": "vit_b_32", "head": "pooled"},
            80,
            "model.name=vit_b_32: does not take images of 80 pixels .*larger images$",
        ),
        (
            {"name": "alexnet"},
            20,
            "model.name=alexnet: does not take images of 20 pixels .*larger images$",
        ),
        (
            {"name": "vit_b_32", "head": "pooled", "unfreeze": "last_stage"},
            224,
            "model.unfreeze=last_stage: vit_b_32 .*use none or all$",
        ),
    ],
    ids=lambda value: "-".join(value.values()) if isinstance(value, dict) else None,
)
def test_networks_that_do_not_fit_are_one_line(config, size, message):
    with pytest.raises(InputError, match=f"^{message}") as caught:
        models.build(ModelConfig(**config), size, pretrained=False)
    assert "\n" not in str(caught.value)


def test_auxiliary_classifiers_are_refused(monkeypatch):
    def quick(*_, **__):  # GoogLeNet itself takes seconds to initialise
        return zoo.GoogLeNet(aux_logits=True, init_weights=False)

    monkeypatch.setattr("models.torchvision_networks.zoo.get_model", quick)
    with pytest.raises(InputError, match=r"^model.name=googlenet: has auxiliary classifiers"):
        models.build(ModelConfig(name="googlenet"), SIZE)
