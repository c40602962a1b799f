"""What a space varies, read from the space itself; and the command that shows it."""

import subprocess
import sys

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

import search_spaces
from orchestrator.base.errors import InputError
from orchestrator.cli import main
from orchestrator.cli.search_spaces import describe
from search_spaces import Space
from search_spaces.ranges import SOMETIMES, count, read


def ranges_of(suggest):
    return read("mine", Space(suggest, {}, ""))


def conditions(ranges):
    return {parameter.name: parameter.condition for parameter in ranges.parameters}


def keys(ranges):
    return {parameter.name: set(parameter.keys) for parameter in ranges.parameters}


def test_focal_gender_is_read_in_the_order_it_asks():
    ranges = read("focal_gender", search_spaces.get("focal_gender"))
    assert list(conditions(ranges).items()) == [
        ("gamma", ""),
        ("class_balancing", ""),
        ("alpha", "class_balancing=True"),
        ("women_men_ratio", ""),
        ("lr", ""),
        ("policy", ""),
        ("tau", "policy=weights"),
    ]
    assert keys(ranges)["women_men_ratio"] == {"balance.weight_women", "balance.weight_men"}
    assert keys(ranges)["policy"] == {"balance.policy", "balance.over"}
    assert keys(ranges)["tau"] == {"balance.tau"}
    assert ranges.parameters[4].distribution == FloatDistribution(1e-4, 3e-3, log=True)
    assert ranges.fixed == {}


def test_architecture_tells_the_network_s_settings_from_those_of_its_parameters():
    ranges = read("architecture", search_spaces.get("architecture"))
    found = conditions(ranges)
    assert found.pop("network") == found.pop("dropout") == ""
    assert found.pop("lr_backbone") == "network=resnet50_last_stage or resnet50_all"
    assert set(found.values()) == {"network=cnn"}
    of = {"name", "head", "hidden", "unfreeze", "weights"}
    assert keys(ranges)["network"] == {f"model.{key}" for key in of}
    assert keys(ranges)["head"] == {"model.head"}


@pytest.mark.parametrize("name", search_spaces.SPACES)
def test_every_setting_of_our_spaces_is_accounted_for(name):
    space = search_spaces.get(name)
    ranges = read(name, space)
    assert count(name, space) == len(ranges.parameters)
    assert all(parameter.keys for parameter in ranges.parameters)
    assert SOMETIMES not in conditions(ranges).values()
    decided = [key for found in keys(ranges).values() for key in found]
    assert not set(decided) & set(ranges.fixed)


def test_methods_has_settings_that_are_the_same_in_all_trials():
    fixed = read("methods", search_spaces.get("methods")).fixed
    assert fixed == {"balance.policy": "weights", "balance.over": "gender_class"}


def test_conditions_of_branches_in_branches():
    def suggest(trial):
        found = {"train.lr": trial.suggest_float("lr", 1e-4, 1e-2, log=True)}
        if trial.suggest_categorical("shape", [True, False]):
            found["model.depth"] = trial.suggest_int("depth", 1, 3)
            if found["model.depth"] > 1:
                found["model.width"] = trial.suggest_int("width", 16, 64)
        return found | {"model.dropout": trial.suggest_float("dropout", 0, 0.5)}

    ranges = ranges_of(suggest)
    assert list(conditions(ranges).items()) == [
        ("lr", ""),
        ("shape", ""),
        ("depth", "shape=True"),
        ("width", "depth=2 or 3"),
        ("dropout", ""),
    ]
    assert keys(ranges)["depth"] == {"model.depth"}
    assert keys(ranges)["shape"] == set()  # what it brings is its branch's own


def test_conditions_of_two_choices():
    def suggest(trial):
        either = trial.suggest_categorical("a", "xyz"), trial.suggest_categorical("b", "xyz")
        if either == ("x", "z"):
            return {"loss.gamma": trial.suggest_float("gamma", 0, 1)}
        return {}

    assert conditions(ranges_of(suggest))["gamma"] == "a=x, b=z"


def test_a_condition_on_a_number_is_not_made_up():
    def suggest(trial):
        if trial.suggest_float("gamma", 0, 1) > 0.5:
            return {"loss.alpha": trial.suggest_float("alpha", 0, 1)}
        return {}

    assert conditions(ranges_of(suggest)) == {"gamma": "", "alpha": SOMETIMES}


def test_a_parameter_of_two_ranges_is_there_twice():
    def suggest(trial):
        most = {"narrow": 1.0, "wide": 9.0}[trial.suggest_categorical("how", ["narrow", "wide"])]
        return {"loss.gamma": trial.suggest_float("gamma", 0, most)}

    space = Space(suggest, {}, "")
    of = [(p.distribution, p.condition) for p in read("mine", space).parameters[1:]]
    assert set(of) == {
        (FloatDistribution(0, 1), "how=narrow"),
        (FloatDistribution(0, 9), "how=wide"),
    }
    assert count("mine", space) == 2


@pytest.mark.parametrize(
    ("suggest", "says"),
    [
        (lambda trial: trial.suggest_float("lr", 1, 0), "suggest(trial): ValueError: "),
        (lambda trial: trial.number, "must return a dict of settings"),
        (
            lambda _: {"loss.gama": 2.0},
            "suggest(trial): unknown key loss.gama; did you mean loss.gamma?",
        ),
        (lambda t: {"loss.gamma": t.suggest_float("g", -2, -1)}, "suggest(trial): loss.gamma=-1."),
        (
            lambda t: {"loss.gamma": t.suggest_categorical("g", [t.number, 1])},
            "dynamic value space",
        ),
    ],
)
def test_a_space_that_cannot_be_searched_is_one_line(suggest, says):
    with pytest.raises(InputError) as caught:
        ranges_of(suggest)
    assert str(caught.value).startswith("mine: ")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("distribution", "says"),
    [
        (CategoricalDistribution([False, "weights", 0.5]), ("False, weights, 0.5", "")),
        (FloatDistribution(1e-4, 3e-3, log=True), ("0.0001 to 0.003", "log")),
        (FloatDistribution(0, 1, step=0.25), ("0, 0.25, …, 1", "linear")),
        (IntDistribution(2, 2), ("2", "linear")),
        (IntDistribution(2, 3), ("2, 3", "linear")),
        (IntDistribution(2, 4), ("2, 3, 4", "linear")),
        (IntDistribution(2, 5), ("2, 3, …, 5", "linear")),
        (IntDistribution(1, 512, log=True), ("1, 2, …, 512", "log")),
        (IntDistribution(0, 512, step=128), ("0, 128, …, 512", "linear")),
    ],
)
def test_ranges_in_words(distribution, says):
    assert describe(distribution) == says


def rows(out):
    return [line.split() for line in out.splitlines()]


@pytest.mark.parametrize("words", [["search_spaces"], ["search_spaces", "list"]])
def test_list_names_every_space(capsys, words):
    assert main(words) == 0
    found = rows(capsys.readouterr().out)
    assert found[0][:2] == ["space", "parameters"]
    for row, (name, space) in zip(found[1:], search_spaces.SPACES.items(), strict=False):
        first = space.doc.splitlines()[0].split()
        assert row == [name, str(count(name, space)), *first]  # on one line of 100 columns


def test_show_lists_ranges_settings_conditions_and_baselines(capsys):
    assert main(["search_spaces", "show", "focal_gender"]) == 0
    out = capsys.readouterr().out
    found = rows(out)
    assert ["lr", "0.0001", "to", "0.003", "log", "train.lr"] in found
    assert ["tau", "0", "to", "1", "linear", "balance.tau", "policy=weights"] in found
    assert out.startswith(search_spaces.get("focal_gender").doc)
    assert out.endswith("Baselines that lie in it: plain, reference\n")


def test_show_reads_a_file(capsys, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "def suggest(trial):\n"
        "    gamma = trial.suggest_float('gamma', 0, 3)\n"
        "    return {'loss.gamma': gamma, 'model.width': 8}\n"
    )
    assert main(["search_spaces", "show", str(path)]) == 0
    out = capsys.readouterr().out
    words = (
        "parameter values scale sets gamma 0 to 3 linear loss.gamma In all trials: model.width=8"
    )
    assert " ".join(out.split()) == words


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["show", "wide"], "wide: no such search space; there are focal_gender"),
        (["show", "none.py"], "none.py: no such file"),
        (["show"], "required: NAME|FILE.py"),
        (["shew"], "invalid choice: 'shew'"),
    ],
)
def test_wrong_words_are_one_line(capsys, tmp_path, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    assert main(["search_spaces", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("fairfront: ")
    assert says in err
    assert err.count("\n") == 1


def test_showing_a_space_needs_no_ray():
    code = (
        "import sys\nfrom orchestrator.cli import main\n"
        "assert main(['search_spaces', 'show', 'gender_weight']) == 0\n"
        "assert 'ray' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "women_men_ratio" in done.stdout
