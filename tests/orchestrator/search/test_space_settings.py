"""Spaces of the user's own that are wrong, and those that say nothing of plain."""

import pytest
from searching import SPACE, config

from orchestrator.base.errors import InputError
from orchestrator.cli import main
from orchestrator.search.space_settings import about_space, check_space
from search_spaces import get


def test_a_space_that_says_nothing_of_plain_tunes_none(tmp_path):
    file = tmp_path / "space.py"
    file.write_text("def suggest(trial):\n    return {}\n")
    assert get(str(file)).untuned_plain is None
    assert "lr" not in SPACE.untuned_plain
    assert get("gender_weight").untuned_plain is None


def test_a_space_may_not_vary_the_data(tmp_path):
    file = tmp_path / "space.py"
    file.write_text("def suggest(trial):\n    return {'data.fold': trial.suggest_int('f', 0, 1)}\n")
    with pytest.raises(InputError, match=r"varies data\.fold"):
        check_space(get(str(file)), config())


def test_a_sweep_says_what_it_varies_and_what_would_serve_its_network_better(tmp_path):
    said = about_space(get("focal_gender"), config())
    assert said.startswith("space focal_gender: focal loss, women/men weight, balance policy")
    assert said.endswith("; fairfront search-spaces lists the others")
    frozen = config("model.name=resnet50", "sweep.space=methods")
    assert about_space(get("methods"), frozen).endswith(
        "--space heads fits its heads, hundreds in minutes"
    )
    tuned = config("model.name=resnet50", "model.unfreeze=all")
    assert "heads" not in about_space(get("focal_gender"), tuned)
    (tmp_path / "space.py").write_text("def suggest(trial):\n    return {}\n")
    own = config(f"sweep.space={tmp_path}/space.py")
    assert about_space(get(own.sweep.space), own).startswith(f"space {tmp_path}/space.py; ")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("return {'loss.gamma': gama}", "NameError: name 'gama' is not defined"),
        ("trial.suggest_float('gamma', 0, 3)", "it returned a NoneType"),
        ("return {'loss.gamma': trial.suggest_float('gamma', 3, 0)}", "ValueError: "),
        ("return {3: 4}", "it returned a dict with 3 in it"),
        ("return {'loss.gama': 4}", "unknown key loss.gama"),
    ],
)
def test_a_space_that_is_wrong_is_one_line_before_a_run_is_made(tmp_path, capfd, body, says):
    file = tmp_path / "space.py"
    file.write_text(f"def suggest(trial):\n    {body}\n")
    assert main(["sweep", "--data", "d", "--out", str(tmp_path / "run"), "--space", str(file)]) == 2
    said = capfd.readouterr().err
    assert said.startswith(f"fairfront: --space {file}: suggest(trial)")
    assert says in said
    assert said.count("\n") == 1
    assert not (tmp_path / "run").exists()
