"""The command line without Ray: what it refuses, in one line, with exit code 2."""

import pkgutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from fakes import make_run

from orchestrator.base.errors import InputError
from orchestrator.cli import main


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
        ([], "the following arguments are required: COMMAND"),
        (["prepair"], "invalid choice: 'prepair'"),
        (["prepare"], "required: source, --out"),
        (["prepare", "nowhere.csv", "--out", "d"], "nowhere.csv"),
        (["prepare", "synthetic:40", "--out", "d", "--split", "1,2"], "--split 1,2: give three"),
        (["prepare", "synthetic:40", "--out", "d", "--split-by", "name"], "invalid choice: 'name'"),
        (["prepare", "synthetic:x", "--out", "d"], "synthetic:x"),
        (["prepare", "synthetic:40", "--out", "d", "--max-bad", "2"], "--max-bad 2"),
        (["prepare", "a.csv", "--out", "d", "--column", "sex"], "--column sex: give KEY=COLUMN"),
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
        (["report", "memory://run"], "not a URI"),
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
        (b"id,filename\n1,a.jpg\n2\n", "row 2 has no filename"),
        ("filename\nZo\u00eb.jpg\n".encode("latin-1"), "no CSV in UTF-8"),
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
