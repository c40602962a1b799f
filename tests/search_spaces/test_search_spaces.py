"""The search spaces: their points, what they suggest, and the user's own."""

import cloudpickle
import optuna
import pytest

import search_spaces
from orchestrator.config import RECIPES, resolve, with_overrides
from orchestrator.errors import InputError

WEIGHTS = ("balance.weight_women", "balance.weight_men")
POINTS = [(name, recipe) for name, space in search_spaces.SPACES.items() for recipe in space.points]


def ratio(overrides):
    return overrides[WEIGHTS[0]] / overrides[WEIGHTS[1]]


@pytest.mark.parametrize(("name", "recipe"), POINTS)
def test_points_lie_in_their_space(name, recipe):
    space = search_spaces.get(name)
    trial = optuna.trial.FixedTrial(space.points[recipe])
    space.suggest(trial)
    assert trial.params == space.points[recipe]  # all of them are used
    for parameter, distribution in trial.distributions.items():
        value = distribution.to_internal_repr(trial.params[parameter])
        assert distribution._contains(value), parameter


@pytest.mark.parametrize(("name", "recipe"), POINTS)
def test_points_agree_with_their_recipe(name, recipe):
    space = search_spaces.get(name)
    overrides = space.suggest(optuna.trial.FixedTrial(space.points[recipe]))
    expected = RECIPES[recipe]
    shared = overrides.keys() & expected.keys()
    assert shared >= {"loss.gamma", "loss.class_balancing", "balance.policy", *WEIGHTS}
    assert ratio(overrides) == pytest.approx(ratio(expected))
    for key in shared - set(WEIGHTS):
        assert overrides[key] == expected[key], key


@pytest.mark.parametrize("name", search_spaces.SPACES)
def test_both_baselines_can_be_enqueued(name):
    space = search_spaces.get(name)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
    for recipe in ("plain", "reference"):
        study.enqueue_trial(space.points[recipe])
        trial = study.ask()
        space.suggest(trial)
        assert trial.params == space.points[recipe]


@pytest.mark.parametrize("name", search_spaces.SPACES)
def test_every_suggestion_is_a_valid_configuration(name):
    space, config = search_spaces.get(name), resolve()
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(100):
        with_overrides(config, space.suggest(study.ask()))


def test_focal_gender_asks_only_for_what_acts():
    space = search_spaces.get("focal_gender")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen = set()
    for _ in range(100):
        trial = study.ask()
        overrides = space.suggest(trial)
        params = trial.params
        assert ("alpha" in params) == ("loss.alpha" in overrides) == params["class_balancing"]
        tau = params["policy"] == "weights"
        assert ("tau" in params) == ("balance.tau" in overrides) == tau
        assert ratio(overrides) == pytest.approx(params["women_men_ratio"])
        assert sum(overrides[key] for key in WEIGHTS) == pytest.approx(2)
        seen.add((params["class_balancing"], params["policy"]))
    assert len(seen) == 6


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
    assert str(caught.value).startswith(f"--space {path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_space_is_one_line():
    with pytest.raises(InputError, match=r"^--space nothing: .*there are focal_gender, or give"):
        search_spaces.get("nothing")
