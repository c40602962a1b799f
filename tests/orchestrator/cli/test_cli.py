"""The command line without Ray: what it refuses, in one line, with exit code 2."""

import json
import os
import pkgutil
import shlex
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from fakes import SWEEP, make_run

from orchestrator.base.errors import InputError
from orchestrator.cli import main
from orchestrator.cli.arguments import _changed, configure
from orchestrator.cli.commands import COMMANDS
from orchestrator.cli.other_options import EXAMPLES
from orchestrator.cli.parser import build, parse
from orchestrator.config.layers import resolve
from orchestrator.config.recipes import RECIPES
from orchestrator.run.directory import Run
from orchestrator.run.progress import begin
from search_spaces import SPACES


def refuse(capfd, *words):
    """Run a command that must be refused; return its one line."""
    assert main([str(word) for word in words]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("fairfront: ")
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["prepair"], "invalid choice: 'prepair'; did you mean prepare?"),
        (["xyz"], "invalid choice: 'xyz'; choose from prepare, inspect"),
        (["train", "--outt", "r"], "unrecognized arguments: --outt; did you mean --out?"),
        (["train", "--zzz", "r"], "unrecognized arguments: --zzz (see"),
        (["sweep", "--out", "r", "--sampler", "tpee"], "invalid choice: 'tpee'; did you mean tpe?"),
        (["config", "show", "r", "--set", "seed=1"], "give RUN, or --recipe and the like"),
        (["config", "show", "--set", "gamma=1"], "unknown key gamma; did you mean loss.gamma?"),
        (["completion", "csh"], "invalid choice: 'csh'"),
        (["prepare"], "required: source, --out"),
        (["prepare", "nowhere.csv", "--out", "d"], "nowhere.csv"),
        (["prepare", "synthetic:40", "--out", "d", "--split", "1,2"], "--split 1,2: give three"),
        (["prepare", "synthetic:40", "--out", "d", "--split-by", "name"], "invalid choice: 'name'"),
        (["prepare", "synthetic:x", "--out", "d"], "synthetic:x"),
        (["prepare", "synthetic:40", "--out", "d", "--max-bad", "2"], "--max-bad 2"),
        (["prepare", "a.csv", "--out", "d", "--column", "sex"], "--column: sex: give KEY=COLUMN"),
        (["prepare", "--out", "d", "--column", "class=x", "a.csv"], "a.csv: give KEY=COLUMN; what"),
        (["prepare", "synthetic:40", "--out", "d", "--layout", "class"], "--layout class: synthe"),
        (["train", "--out", "r"], "--data is missing"),
        (["train", "--data", "nowhere", "--out", "r"], "nowhere: no prepared data here"),
        (["train", "--data", "d", "--out", "r", "--recipe", "magic"], "--recipe magic: no such"),
        (["train", "--data", "d", "--out", "r", "--set", "loss.gama=2"], "unknown key loss.gama"),
        (["train", "--data", "d", "--out", "r", "--workers", "0"], "workers=0"),
        (["sweep", "--data", "d", "--out", "r", "--trials", "0"], "sweep.trials=0"),
        (["sweep", "--data", "d", "--out", "r", "--space", "wide"], "wide"),
        (["sweep", "--data", "d", "--out", "r", "--config", "no.yaml"], "no.yaml: no such"),
        (["sweep", "--data", "nowhere", "--out", "r", "--resume"], "r: no run here"),
        (["report", "nowhere"], "nowhere: no run here"),
        (["watch", "nowhere"], "nowhere: no run here"),
        (["report", "memory://run"], "memory://run: no run here"),
    ],
)  # fmt: skip
def test_wrong_words_are_one_line(capfd, tmp_path, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    assert says in refuse(capfd, *words)
    assert list(tmp_path.iterdir()) == []  # and nothing is left behind


def test_the_end_of_a_run_is_never_overwritten(capfd, tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    said = refuse(capfd, "prepare", "synthetic:40", "--out", tmp_path)
    assert "exists already" in said
    assert (tmp_path / "mine.txt").read_text() == "keep"


def test_resume_refuses_what_would_change_the_run(capfd, tmp_path):
    run = make_run(tmp_path / "run")
    for option, value in (
        ("--epochs", "3"),
        ("--workers", "0"),
        ("--set", "loss.gamma=1"),
        ("--space", "other"),
    ):
        said = refuse(capfd, "sweep", "--out", run.path, "--resume", option, value)
        assert f"{option} {value.partition('=')[0] * (option == '--set')}".strip() in said
        assert "cannot change with --resume (only --trials, --hours" in said


def begun_again(words):
    """What a command line with --resume comes to, but for the data."""
    arguments = parse(words)
    run = Run.open(arguments.out)
    return _changed(arguments, run, arguments.command_name)


def test_resume_takes_the_line_that_the_run_was_begun_with(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("loss: {gamma: 2}\n")
    line = ["--config", str(file), "--set", "train.lr=1e-4", "--epochs", "3", "--workers", "1"]
    more = [*line, "--space", "focal", "--objective", "pareto", "--trials", "30"]
    config = configure(parse(["sweep", "--out", "r", *more]), "default")
    run = make_run(tmp_path / "run", [], config=config)
    words = ["sweep", "--out", str(run.path), "--resume"]
    assert begun_again([*words, *more]) is None
    assert begun_again([*words, *more, "--trials", "40", "--set", "sweep.patience=3"]) is None
    assert begun_again([*words, "--set", "train.lr=2e-4"]) == "--set train.lr"
    assert begun_again([*words, "--workers", "1-2"]) == "--workers"
    assert begun_again([*words, *more, "--warm-start", "other"]) == "--warm-start"
    file.write_text("loss: {gamma: 3}\n")
    assert begun_again([*words, *more]) == "--config"
    trained = make_run(tmp_path / "trained", [], config=resolve("plain"))
    words = ["train", "--out", str(trained.path), "--resume"]
    assert begun_again([*words, "--recipe", "plain", "--workers", "2"]) is None
    assert begun_again([*words, "--recipe", "reference"]) == "--recipe"


def test_files_of_a_run_that_are_not_as_it_writes_them_are_one_line(capfd, tmp_path):
    run = make_run(tmp_path / "run")
    result = run.path / "trials" / "t002" / "result.json"
    whole = result.read_text()
    result.write_text(whole.replace('"kept_epoch"', '"kept_epochs"'))
    assert f"{result}: kept_epoch" in refuse(capfd, "report", run.path)
    result.write_text(whole)
    config = run.path / "config.yaml"
    whole = config.read_text()
    for text, says in (
        (whole.replace("gamma:", "gama:"), f"{config}: loss.gama"),
        (whole.replace("fingerprint", "finger: ["), f"{config}: not valid YAML"),
        ("seed: 3\n", f"{config}: lacks data"),
    ):
        config.write_text(text)
        assert says in refuse(capfd, "report", run.path)


def test_places_that_cannot_be_are_one_line(capfd, tmp_path):
    (tmp_path / "file").write_text("")
    said = refuse(capfd, "train", "--data", "d", "--out", "r", "--config", tmp_path)
    assert f"{tmp_path}: no configuration file (Is a directory)" in said
    with pytest.raises(InputError, match=r"no folder can be made there \(Not a directory\)"):
        make_run(tmp_path / "file" / "run")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"id,filename\n1,a.jpg\n2\n", "CSV parse error: row 2: Expected 2 columns, got 1"),
        (b"id,filename\n1,a.jpg\n2,\n", "row 2: the filename is empty"),
        (b"PK\x03\x04\0", "not a text file"),
        (b"id\n1\n", "no column filename"),
    ],
)
def test_a_list_of_images_that_is_damaged_is_one_line(capfd, tmp_path, content, says):
    run = make_run(tmp_path / "run")
    assert main(["report", str(run.path)]) == 0
    capfd.readouterr()
    listed = tmp_path / "images.csv"
    listed.write_bytes(content)
    words = ("predict", "--run", run.path, "--images", listed, "--out", tmp_path / "p.csv")
    assert f"{listed}: {says}" in refuse(capfd, *words)


def test_predict_refuses_a_trial_that_is_not_complete(capfd, tmp_path):
    run = make_run(tmp_path / "run")
    words = ("predict", "--run", run.path, "--images", tmp_path, "--out", tmp_path / "p.csv")
    assert "--trial t003: not a complete trial" in refuse(capfd, *words, "--trial", "t003")
    assert "summary.json: no such file" in refuse(capfd, *words)


def test_report_prints_the_table_and_where_the_report_lies(capsys, tmp_path):
    run = make_run(tmp_path / "run")
    assert main(["report", str(run.path)]) == 0
    out = capsys.readouterr().out
    assert f"Report: {run.path / 'report.html'}" in out
    assert (run.path / "report.html").exists()
    rows = [line.split()[0] for line in out.splitlines()[2:5]]
    assert rows == ["best", "plain", "reference"]


def test_a_run_without_a_complete_trial_ends_with_1(capsys, tmp_path):
    run = make_run(tmp_path / "run", trials=[])
    assert main(["report", str(run.path)]) == 1
    assert "no trial finished" in capsys.readouterr().err


def test_no_command_is_a_question_for_help(capsys):
    assert main([]) == 0
    assert "usage: fairfront" in capsys.readouterr().out


def test_every_command_has_examples_that_can_be_typed():
    commands = build()[1]
    assert set(EXAMPLES) == set(commands)
    for name, lines in EXAMPLES.items():
        assert lines[0] in commands[name].format_help()
        for line in lines:
            words = shlex.split(line.partition(" > ")[0])
            assert words[:2] == ["fairfront", name]
            assert parse(words[1:]).command_name in COMMANDS


def test_the_old_word_of_search_spaces_still_works(capsys):
    assert main(["search_spaces", "show", "focal", "--json"]) == 0
    old = json.loads(capsys.readouterr().out)
    assert main(["search-spaces", "show", "focal"]) == 0
    assert [one["name"] for one in old["parameters"]][:1] == ["gamma"]
    assert "gamma" in capsys.readouterr().out
    assert main(["search-spaces", "--json"]) == 0
    assert {one["name"] for one in json.loads(capsys.readouterr().out)} == set(SPACES)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_can_complete_words(capsys, shell):
    assert main(["completion", shell]) == 0
    out = capsys.readouterr().out
    assert "search-spaces" in out
    assert "warm-start" in out


def test_a_configuration_is_shown_as_a_file_that_makes_it(capsys, tmp_path):
    assert main(["config", "show", "--recipe", "reference", "--set", "seed=3"]) == 0
    file = tmp_path / "config.yaml"
    file.write_text(capsys.readouterr().out)
    assert resolve(file=file) == resolve("reference", settings=["seed=3"])
    run = make_run(tmp_path / "run", [], config=resolve("plain"))
    assert main(["config", "show", str(run.path)]) == 0
    file.write_text(capsys.readouterr().out)
    assert resolve(file=file) == run.config
    assert main(["config", "recipes"]) == 0
    listed = capsys.readouterr().out
    assert all(recipe in listed for recipe in RECIPES)


def test_a_report_and_a_glance_for_programs_and_people(capsys, tmp_path):
    run = make_run(tmp_path / "run", SWEEP[:3], rows=200)
    assert main(["watch", str(run.path), "--once"]) == 0
    assert "not started yet" in capsys.readouterr().out
    assert main(["report", str(run.path), "--json"]) == 0
    summary = run.path / "summary.json"
    printed = json.loads(capsys.readouterr().out)
    assert printed.pop("path") == str(summary)
    assert printed == json.loads(summary.read_text())
    begun = begin(run, "sweep", 5, 10, now=time.time())
    for state, silent, code in (("running", 0, 0), ("running", 999, 1), ("interrupted", 0, 1)):
        past = {"state": state, "updated": time.time() - silent}
        (run.path / "progress.json").write_text(begun.model_copy(update=past).model_dump_json())
        assert main(["watch", str(run.path), "--once"]) == code
        out = capsys.readouterr().out
        assert "3/5 trials" in out
        assert ("no sign of life" in out) == (silent > 0)


def test_ctrl_c_ends_with_130_and_an_empty_variable_is_none(capsys, tmp_path, monkeypatch):
    run = make_run(tmp_path / "run", SWEEP[:1], rows=200)
    monkeypatch.setenv("FAIRFRONT_STUDY_STORAGE", "")
    monkeypatch.setenv("RAY_ADDRESS", "")

    def interrupted(_run, **_more):
        assert not {"FAIRFRONT_STUDY_STORAGE", "RAY_ADDRESS"} & set(os.environ)
        raise KeyboardInterrupt

    monkeypatch.setattr("orchestrator.report.report.write_report", interrupted)
    assert main(["report", str(run.path)]) == 130
    assert capsys.readouterr().err == "fairfront: interrupted\n"


def test_help_is_quick_because_it_imports_neither_ray_nor_torch():
    code = (
        "import sys\nfrom orchestrator.cli import main\n"
        "try: main(['sweep', '--help'])\nexcept SystemExit: pass\n"
        "assert not {'ray', 'torch', 'pandas'} & set(sys.modules), 'heavy'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--resume" in done.stdout


def test_the_installed_command_is_this_one():
    root = Path(__file__).parents[3]
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert pkgutil.resolve_name(project["scripts"]["fairfront"]) is main
