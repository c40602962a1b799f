"""Several networks in one file: the mean of their logits, and refusals."""

import pytest
import torch

import models
from models.ensemble import Ensemble
from orchestrator.base.errors import InputError
from orchestrator.config.layers import resolve
from orchestrator.training.model_file import load_model, save_ensemble, save_model

CPU = torch.device("cpu")


def saved(folder, seed, *settings):
    config = resolve(settings=["model.depth=2", "model.width=4", "model.hidden=8", *settings])
    torch.manual_seed(seed)
    folder.mkdir()
    save_model(folder, models.build(config.model, 24), config, 24, CPU)
    return folder


@pytest.mark.parametrize("settings", [(), ("model.batch_norm=true", "model.head=pooled")])
def test_an_ensemble_says_the_mean_of_its_members(tmp_path, settings):
    members = [saved(tmp_path / f"{n}", n, *settings) for n in range(3)]
    (tmp_path / "all").mkdir()
    save_ensemble(tmp_path / "all", members)
    images = torch.rand(5, 3, 24, 24)
    each = [load_model(member / "model.safetensors") for member in members]
    together = load_model(tmp_path / "all" / "model.safetensors")
    assert isinstance(together.network, Ensemble)
    assert (together.members, each[0].members) == (3, 1)
    assert (together.config, together.image_size) == (each[0].config, 24)
    with torch.inference_mode():
        logits = [one.network(images) for one in each]
        expected = sum(logits) / 3
        assert (logits[0] - logits[1]).abs().max() > 0.01
        torch.testing.assert_close(together.network(images), expected)
    assert not together.network.training


def test_fitted_heads_of_one_backbone_are_one_head(tmp_path):
    (tmp_path / "config.yaml").touch()  # a run's, in which the backbone is kept
    sizes = ["model.image_size=[32,48]", "model.mirror=true"]
    network = ["model.name=resnet18", "model.weights=random"]
    config = resolve("head", None, [*network, *sizes])
    model = models.build(config.model, 24)
    members = [tmp_path / "confirm" / f"{n}" for n in range(3)]
    for number, member in enumerate(members):
        member.mkdir(parents=True)
        torch.manual_seed(number)
        torch.nn.init.normal_(models.last_layer(model).weight)
        save_model(member, model, config, 24, CPU)
    (tmp_path / "all").mkdir()
    save_ensemble(tmp_path / "all", members)
    images = torch.rand(4, 3, 24, 24)
    together = load_model(tmp_path / "all" / "model.safetensors")
    assert (together.members, together.config) == (1, config.model)
    with torch.inference_mode():
        each = [load_model(m / "model.safetensors").network(images) for m in members]
        assert (each[0] - each[1]).abs().max() > 1
        torch.testing.assert_close(together.network(images), sum(each) / 3, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize(
    ("kinds", "expected"), [(("bf16", "bf16"), "bf16"), (("bf16", "fp32"), "fp32")]
)
def test_its_precision_is_one_in_which_all_were_judged(tmp_path, kinds, expected):
    members = [
        saved(tmp_path / f"{n}", n, f"train.precision={kind}") for n, kind in enumerate(kinds)
    ]
    (tmp_path / "all").mkdir()
    save_ensemble(tmp_path / "all", members)
    assert load_model(tmp_path / "all" / "model.safetensors").precision == expected


def test_networks_that_differ_are_no_ensemble(tmp_path):
    members = [saved(tmp_path / "a", 0), saved(tmp_path / "b", 0, "model.hidden=9")]
    (tmp_path / "all").mkdir()
    with pytest.raises(InputError, match="not built alike"):
        save_ensemble(tmp_path / "all", members)
    members[1] = tmp_path / "c"
    with pytest.raises(InputError, match=r"c/model.safetensors: no model here"):
        save_ensemble(tmp_path / "all", members)
    assert not list((tmp_path / "all").iterdir())
