from typing import get_args

import pytest
from ruamel.yaml import YAML

from models.config import LossConfig, MethodConfig
from models.losses import LOSSES
from models.methods import METHODS
from orchestrator.base.errors import InputError
from orchestrator.config.layers import resolve, with_overrides, with_recipe
from orchestrator.config.recipes import RECIPES
from orchestrator.config.settings import BalanceConfig
from orchestrator.data.balance import POLICIES
from orchestrator.run.directory import Run


def test_reference_is_the_published_recipe():
    config = resolve("reference")
    assert (config.loss.gamma, config.loss.alpha, config.loss.class_balancing) == (5.0, 0.25, False)
    assert (config.balance.weight_women, config.balance.weight_men) == (1.0, 0.1)
    assert config.balance.policy == "undersample"
    train = config.train
    assert (train.epochs, train.batch_size, train.lr) == (10, 32, 1e-3)
    assert (train.monitor, train.patience, train.keep) == ("val_loss", 1, "last")
    assert (train.schedule, train.weight_decay, train.ema) == ("constant", 0.0, None)
    assert not any(value for _, value in config.augment)
    assert config.method.name == "erm"
    assert (config.model.name, config.model.dropout) == ("cnn", 0.5)


def test_plain_is_cross_entropy_without_weights_and_else_the_default():
    assert resolve("plain").loss.gamma == 0
    changed = with_recipe(
        resolve(settings=["loss.gamma=3", "balance.policy=weights", "train.epochs=4"]), "plain"
    )
    assert changed == resolve("plain", settings=["train.epochs=4"])


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_resolves(recipe):
    assert resolve(recipe).recipe == recipe


def test_layers_the_later_wins(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("recipe: reference\nloss: {gamma: 1}\ntrain: {lr: 1e-4, epochs: 3}\n")
    config = resolve(file=file, settings=["train.epochs=7"])
    assert (config.recipe, config.loss.gamma, config.train.lr, config.train.epochs) == (
        "reference", 1.0, 1e-4, 7,
    )  # fmt: skip
    assert config.balance.weight_men == 0.1  # the recipe's


def test_the_file_written_by_a_run_can_be_read_back(tmp_path):
    settings = ["sweep.concurrent=null", "seed=5", "train.lr=3e-5", "data.folds=5", "data.fold=3"]
    config = resolve("reference", settings=settings)
    data = {"path": "somewhere", "fingerprint": "f", "image_size": 80}
    Run.create(str(tmp_path / "run"), config, data)
    run = Run.open(str(tmp_path / "run"))
    assert run.config == config
    assert run.data == data
    assert run.recorded["versions"]["torch"]
    again = resolve(file=tmp_path / "run" / "config.yaml", settings=["data.fold=4"])
    assert again == with_overrides(config, {"data.fold": 4})


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("loss.gama=2", "unknown key loss.gama; did you mean loss.gamma?"),
        ("loss.what=2", "unknown key loss.what; known: alpha, class_balancing, gamma, name"),
        ("gamma=2", "unknown key gamma; did you mean loss.gamma?"),
        ("augment.flip=yes", "augment.flip='yes': write true"),
        ("augment.flip=Off", "augment.flip='Off': write false"),
        ("nothing=2", "unknown key nothing; known: augment, balance"),
        ("a.b=2", "unknown key a.b"),
        ("loss.gamma=high", "loss.gamma='high': input should be a valid number"),
        ("loss.gamma=-1", "loss.gamma=-1: input should be greater than or equal to 0"),
        ("loss.gamma=.nan", "loss.gamma=nan: input should be a finite number"),
        ("train.epochs=2.5", "train.epochs=2.5: input should be a valid integer"),
        ("augment.flip=1", "augment.flip=1: input should be a valid boolean"),
        ("train.keep=first", "train.keep='first': input should be 'best' or 'last'"),
        (
            "balance.policy=half",
            "balance.policy='half': input should be 'none', 'undersample', ",
        ),
        ("loss=3", "loss is a group of keys; set one of name, smoothing, gamma"),
        ("loss.gamma", "expected key=value"),
        ("loss.gamma=[1", "not valid YAML"),
        ("loss.gamma=2020-13-45", "not valid YAML"),
        ("recipe=group-dro", "give it with --recipe"),
    ],
)
def test_a_wrong_setting_is_one_line(setting, says):
    with pytest.raises(InputError) as caught:
        resolve(settings=[setting])
    assert says in str(caught.value)
    assert "--set" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["sweep.sampler=cmaes", "sweep.objective=pareto"], "--set: sweep: cmaes has one"),
        (["workers=2", "min_workers=3"], "--set: min_workers is 3, more than workers=2"),
    ],
)
def test_settings_that_do_not_go_together_are_one_short_line(settings, says):
    with pytest.raises(InputError) as caught:
        resolve(settings=settings)
    assert str(caught.value).startswith(says)
    assert len(str(caught.value)) < 100


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("loss: {gamma: x}", "loss.gamma='x'"),
        ("- 1", "expected keys and values at the top, found a list"),
        ("loss: {gamma: 1", "not valid YAML"),
        ("los: {gamma: 1}", "unknown key los.gamma"),
        ("seed: 1\nloss:\n\tgamma: 2\n", "line 3: a tab, where YAML takes spaces alone"),
        ("seed: 1\nworkers: 2\nseed: 2\n", 'line 3: a second key "seed"'),
        ("seed: 1\nloss: [1\nworkers: 2\n", "line 3: "),
        ("seed: 1\nrecipe: \udce9\n", "line 2 is no UTF-8; save the file as that"),
        ("augment:\n  flip: on\n", "augment.flip='on': write true"),
        ("seed: \x00", "not valid YAML: "),
        ("seed: 2020-13-45", "not valid YAML: month must be in 1..12"),
        ("recipe: [plain]", "--recipe ['plain']: no such recipe"),
        ("recipe: best", "--recipe best: no such recipe; there are default, plain, reference"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path, text, says):
    file = tmp_path / "config.yaml"
    file.write_text(text, errors="surrogateescape")
    with pytest.raises(InputError) as caught:
        resolve(file=file)
    assert "unicode string" not in str(caught.value)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_file_of_another_editor_is_read(tmp_path, encoding):
    file = tmp_path / "config.yaml"
    file.write_text("seed: 3\n", encoding=encoding)
    assert resolve(file=file).seed == 3


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.yaml: no such configuration file"):
        resolve(file=tmp_path / "nowhere.yaml")


def test_a_number_with_an_exponent_is_a_number():
    assert resolve(settings=["train.lr=1e-3"]).train.lr == 1e-3


@pytest.mark.parametrize(
    ("section", "field", "registry"),
    [
        (LossConfig, "name", LOSSES),
        (MethodConfig, "name", METHODS),
        (BalanceConfig, "policy", POLICIES),
    ],
)
def test_what_can_be_chosen_is_what_there_is(section, field, registry):
    assert get_args(section.model_fields[field].annotation) == tuple(registry)


def test_what_fairfront_0_1_called_the_worst_group_is_the_worse_gender(tmp_path):
    old = resolve(settings=["train.monitor=worst_group"]).model_dump()
    file = tmp_path / "config.yaml"
    for written, monitor in (
        ({"versions": {"fairfront": "0.1.0"}}, "worst_gender"),  # of a run that it made
        ({"versions": {"fairfront": "0.2.0"}, "format": 2}, "worst_group"),
        ({}, "worst_group"),  # a file of the user's own
    ):
        YAML(typ="safe", pure=True).dump(old | written, file)
        assert resolve(file=file).train.monitor == monitor
