"""The search spaces: their points, what they suggest to whom, and the user's own."""

import warnings

import cloudpickle
import numpy as np
import optuna
import pytest
import torch

import models
import search_spaces
from models.config import ModelConfig
from orchestrator.base.errors import InputError
from orchestrator.config.layers import resolve, value_at, with_overrides, with_recipe
from orchestrator.config.recipes import PLAIN, RECIPES
from orchestrator.config.settings import SweepConfig
from orchestrator.data.balance import sample_weights
from orchestrator.search.study import make_sampler
from search_spaces import architecture

WEIGHTS = ("balance.weight_women", "balance.weight_men")
POINTS = [(name, recipe) for name, space in search_spaces.SPACES.items() for recipe in space.points]
NAMES = list(search_spaces.SPACES)


def ratio(overrides):
    return overrides[WEIGHTS[0]] / overrides[WEIGHTS[1]]


def drawn(name, trials):
    """Give a space's random trials, each with what the space makes of it."""
    space = search_spaces.get(name)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(trials):
        trial = study.ask()
        overrides = space.suggest(trial)
        yield trial.params, overrides


def test_the_spaces_of_the_mission_are_there():
    assert NAMES[0] == resolve().sweep.space == "focal_gender"
    others = {"focal", "gender_weight", "methods", "recipe", "architecture", "full", "heads"}
    assert set(NAMES) >= others


def test_plain_heads_are_tuned():
    space = search_spaces.get("heads")
    assert "weight_decay" not in space.untuned_plain
    trial = optuna.trial.FixedTrial({**space.untuned_plain, "weight_decay": 0.1})
    tuned = with_overrides(with_recipe(resolve(), space.recipe), space.suggest(trial))
    assert all(value_at(tuned, key) == value for key, value in PLAIN.items())
    assert tuned.fit.l2 == 0.1
    assert tuned.train.optimiser == "lbfgs"
    assert with_recipe(tuned, "reference").train.optimiser == "adam"


@pytest.mark.parametrize(("name", "recipe"), POINTS)
def test_points_lie_in_their_space(name, recipe):
    space = search_spaces.get(name)
    trial = optuna.trial.FixedTrial(space.points[recipe])
    space.suggest(trial)
    assert trial.params == space.points[recipe]  # all of them are used
    for parameter, distribution in trial.distributions.items():
        value = distribution.to_internal_repr(trial.params[parameter])
        assert distribution._contains(value), parameter


@pytest.mark.parametrize("name", NAMES)
def test_plain_lies_in_every_space(name):
    """Its point changes nothing of the recipe's configuration but what has no effect."""
    space, plain = search_spaces.get(name), resolve("plain")
    point = with_overrides(resolve(), space.suggest(optuna.trial.FixedTrial(space.points["plain"])))
    assert point.model_dump(exclude={"recipe", "balance"}) == plain.model_dump(
        exclude={"recipe", "balance"}
    )
    gender, label = np.array([[-1, -1, -1, 1, 1], [0, 0, 1, 0, 1]], np.int8)
    assert all(value_at(point, key) == value for key, value in PLAIN.items())  # so it is told by
    assert (sample_weights(point.balance, gender, label) == 1).all()


def test_reference_lies_where_its_loss_and_its_weights_can_be_had():
    assert [name for name, recipe in POINTS if recipe == "reference"] == ["focal_gender"]
    space = search_spaces.get("focal_gender")
    overrides = space.suggest(optuna.trial.FixedTrial(space.points["reference"]))
    expected = RECIPES["reference"]
    assert ratio(overrides) == pytest.approx(ratio(expected))
    for key in overrides.keys() & expected.keys() - set(WEIGHTS):
        assert overrides[key] == expected[key], key


@pytest.mark.parametrize(("name", "recipe"), POINTS)
def test_baselines_can_be_enqueued(name, recipe):
    space = search_spaces.get(name)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
    study.enqueue_trial(space.points[recipe])
    trial = study.ask()
    overrides = space.suggest(trial)
    assert trial.params == space.points[recipe]
    with_recipe(with_overrides(resolve(), overrides), recipe)


@pytest.mark.parametrize("name", NAMES)
def test_every_suggestion_is_a_valid_configuration(name):
    config = resolve()
    for _, overrides in drawn(name, 100):
        with_overrides(config, overrides)
        assert not any(key.startswith("data.") for key in overrides)  # all trials share the data


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "gp", "cmaes", "random"])
def test_every_sampler_searches_every_space(name, sampler):
    space, config = search_spaces.get(name), resolve()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        made = make_sampler(SweepConfig(sampler=sampler, startup_trials=4), seed=0)
    objectives = 1 if sampler == "cmaes" else 2
    study = optuna.create_study(sampler=made, directions=["maximize"] * objectives)
    told = np.random.default_rng(0)
    for recipe in space.points:
        study.enqueue_trial(space.points[recipe])
    trials = 7 if sampler == "gp" else 20  # it models the last three, and takes its time
    for _ in range(trials):
        trial = study.ask()
        with_overrides(config, space.suggest(trial))
        study.tell(trial, list(told.random(objectives)))
    # A genetic algorithm repeats itself now and then.
    assert len({tuple(sorted(t.params.items())) for t in study.trials}) > trials / 2


def test_focal_gender_asks_only_for_what_acts():
    seen = set()
    for params, overrides in drawn("focal_gender", 100):
        assert ("alpha" in params) == ("loss.alpha" in overrides) == params["class_balancing"]
        tau = params["policy"] == "weights"
        assert ("tau" in params) == ("balance.tau" in overrides) == tau
        assert ratio(overrides) == pytest.approx(params["women_men_ratio"])
        assert sum(overrides[key] for key in WEIGHTS) == pytest.approx(2)
        seen.add((params["class_balancing"], params["policy"]))
    assert len(seen) == 6


def test_focal_gender_asks_as_it_always_did():
    """Studies of before go on with the parameters that they have."""
    trial = optuna.trial.FixedTrial(
        {"gamma": 2.0, "class_balancing": True, "alpha": 0.4, "women_men_ratio": 3.0, "lr": 5e-4}
        | {"policy": "weights", "tau": 0.25}
    )
    assert search_spaces.get("focal_gender").suggest(trial) == {
        "loss.gamma": 2.0,
        "loss.class_balancing": True,
        "loss.alpha": 0.4,
        "balance.weight_women": 1.5,
        "balance.weight_men": 0.5,
        "train.lr": 5e-4,
        "balance.policy": "weights",
        "balance.over": "gender_class",
        "balance.tau": 0.25,
    }
    assert [d.__class__.__name__[:3] for d in trial.distributions.values()] == [
        *("Flo", "Cat", "Flo", "Flo", "Flo", "Cat", "Flo")
    ]


def test_methods_asks_only_for_what_acts():
    seen = set()
    for params, overrides in drawn("methods", 60):
        seen.add(params["method"])
        assert ("dro_step" in params) == ("method.step" in overrides)
        assert ("dro_step" in params) == (params["method"] == "group_dro")
        assert ("penalty" in params) == (params["method"] == "gap_penalty")
        assert ("tau" in params) == (params["method"] != "group_dro")
        assert overrides["balance.over"] == "gender_class"
    assert seen == {"erm", "group_dro", "gap_penalty"}


def test_full_is_the_sum_of_its_parts_on_cnns_of_equal_length():
    parts = ("methods", "gender_weight", "recipe", "architecture")
    expected = {name for part in parts for params, _ in drawn(part, 60) for name in params}
    expected -= {"network", "lr_backbone", "epochs"}
    asked = {name for params, _ in drawn("full", 60) for name in params}
    assert asked == expected
    for params, overrides in drawn("full", 20):
        assert overrides["model.name"] == "cnn"
        assert ("women_men_ratio" in params) == (params["method"] != "group_dro")


def test_every_cnn_of_the_space_can_be_built():
    cheapest_and_dearest = [
        {"depth": depth, "width": width, "head": head, "hidden": hidden, "batch_norm": width < 64}
        for depth in (2, 4)
        for width in (16, 64)
        for head in ("flatten", "pooled")
        for hidden in (0, 512)
    ]
    for params in cheapest_and_dearest:
        overrides = architecture.cnn(optuna.trial.FixedTrial(params | {"dropout": 0.3}))
        model = models.build(with_overrides(resolve(), overrides).model, 80).eval()
        with torch.no_grad():
            assert model(torch.zeros(2, 3, 80, 80)).shape == (2,)


def resnet(network, **params):
    fixed = optuna.trial.FixedTrial({"network": network, "dropout": 0.5} | params)
    return search_spaces.get("architecture").suggest(fixed)


def test_resnets_take_their_weights_from_the_run():
    run = with_overrides(resolve(), {"model.weights": "/weights/resnet50.pth"})
    for network in architecture.RESNETS:
        fine_tuned = network in architecture.FINE_TUNED
        overrides = resnet(network, **({"lr_backbone": 0.1} if fine_tuned else {}))
        model = with_overrides(run, overrides).model
        scratch = network == "resnet50_scratch"
        assert model.weights == ("random" if scratch else "/weights/resnet50.pth")
        assert models.caches_features(model) == (
            network in ("resnet50_reference", "resnet50_pooled")
        )
    assert model.weights == "random"


def test_the_resnet_of_the_reference_head_can_be_built():
    overrides = resnet("resnet50_reference") | {"model.weights": "random"}
    config = with_overrides(resolve(), overrides).model
    assert config == ModelConfig(name="resnet50", weights="random")  # the head's defaults
    assert models.build(config, 80).width == 2048 * 3 * 3


OWN_SPACE = '''"""Only the loss."""

LOW = 1.0


def suggest(trial):
    return {"loss.gamma": trial.suggest_float("gamma", LOW, 2.0)}
'''


def test_own_space_from_a_file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(OWN_SPACE)
    space = search_spaces.get(str(path))
    assert space.doc == "Only the loss."
    assert space.points == {}
    assert space.suggest(optuna.trial.FixedTrial({"gamma": 1.5})) == {"loss.gamma": 1.5}


def test_own_space_travels_without_its_file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(OWN_SPACE)
    pickled = cloudpickle.dumps(search_spaces.get(str(path)))
    path.unlink()
    space = cloudpickle.loads(pickled)
    assert space.suggest(optuna.trial.FixedTrial({"gamma": 1.5})) == {"loss.gamma": 1.5}


def test_own_space_is_made_of_ours(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from search_spaces import focal, recipe\n\n\n"
        "def suggest(trial):\n    return focal.gamma(trial) | recipe.learning_rate(trial)\n"
    )
    fixed = optuna.trial.FixedTrial({"gamma": 1.5, "lr": 1e-3})
    expected = {"loss.gamma": 1.5, "train.lr": 1e-3}
    assert search_spaces.get(str(path)).suggest(fixed) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        ("x = 1\n", "has no function suggest(trial); write one"),
        ("suggest = 1\n", "has no function suggest(trial); write one"),
        (
            "def suggest(trial):\n    return (\n",
            "SyntaxError: '(' was never closed (mine.py, line 2)",
        ),
        ("import not_there\n", "ModuleNotFoundError: No module named 'not_there'"),
        ("def suggest(trial): ...\nPOINTS = ['plain']\n", "POINTS must be a dict of dicts"),
    ],
    ids=["absent", "empty", "no function", "syntax", "import", "points"],
)
def test_unusable_file_is_one_line(tmp_path, content, message):
    path = tmp_path / "mine.py"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError) as caught:
        search_spaces.get(str(path))
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_space_is_one_line():
    with pytest.raises(InputError, match=r"^nothing: no such search space; there are focal_gender"):
        search_spaces.get("nothing")
