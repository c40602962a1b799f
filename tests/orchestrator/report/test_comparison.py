"""Several runs side by side, on the terminal and on a page; what people say of a run."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from fakes import SWEEP, FakeTrial, confirm_run, make_run
from optuna.study._multi_objective import _is_pareto_front

from orchestrator.base.errors import InputError
from orchestrator.cli import main
from orchestrator.config.layers import resolve
from orchestrator.report.comparison import compare, names_of
from orchestrator.report.outline import find_runs, outline
from orchestrator.report.report import write_report
from orchestrator.run import progress
from orchestrator.run.directory import Run
from orchestrator.run.notes import read_notes

pytestmark = pytest.mark.usefixtures("no_picture")

OTHER = [
    FakeTrial("t000", 0.90, 0.95, "plain"),
    FakeTrial("t001", 0.93, 0.95, params={"lr": 1e-4}),
    FakeTrial("t002", 0.95, 0.96, params={"lr": 2e-4}),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of the same faces, one of them with retrained finalists, and one with no report."""
    folder = tmp_path_factory.mktemp("runs")
    first = make_run(folder / "a" / "run", SWEEP, rows=400)
    config = resolve(settings=["sweep.finalists=1", "sweep.confirm_folds=2", "train.epochs=3"])
    second = make_run(folder / "b" / "run", OTHER, rows=400, config=config)
    confirm_run(second, OTHER, seeds=1, folds=2, rows=400)
    for run in (first, second):
        write_report(run)
    make_run(folder / "new", [], rows=400)
    return folder


@pytest.fixture(scope="module")
def runs(folder: Path) -> list[Run]:
    return [Run.open(str(folder / name / "run")) for name in ("a", "b")]


def test_the_joint_front_is_optunas(runs):
    comparison = compare(runs)
    points = np.vstack([np.column_stack([-one.mean_accuracy, one.gap]) for one in comparison.runs])
    ids = [(one.name, name) for one in comparison.runs for name in one.trial_ids]
    first = _is_pareto_front(points, assume_unique_lexsorted=False)
    expected = {name for name, on in zip(ids, first, strict=True) if on}
    found = {
        (one.name, name)
        for one, names in zip(comparison.runs, comparison.on_joint_front, strict=True)
        for name in names
    }
    assert found == expected
    assert comparison.hypervolume >= max(one.summary["hypervolume"] for one in comparison.runs)


def test_settings_that_differ_are_told_and_no_others(runs):
    settings = compare(runs).settings
    assert settings["train.epochs"] == [resolve().train.epochs, 3]
    assert settings["sweep.finalists"] == [0, 1]
    assert "loss.name" not in settings
    assert not compare(runs).cautions


def test_figures_of_other_faces_are_said_not_to_compare(tmp_path, runs):
    other = make_run(tmp_path / "other", OTHER, rows=500)
    recorded = other.path / "config.yaml"
    recorded.write_text(recorded.read_text().replace("fair_lambda: 2.0", "fair_lambda: 1.0"))
    write_report(Run(other.path))
    first, second = compare([runs[0], Run(other.path)]).cautions
    assert "other validates on other faces of the same data than run" in first
    assert "weighs the gap by 1 and run by 2" in second
    recorded.write_text(recorded.read_text().replace("5f" * 32, "6f" * 32))
    assert "of other data than run" in compare([runs[0], Run(other.path)]).cautions[0]


def test_runs_are_named_by_what_tells_them_apart(runs):
    assert names_of(runs) == ["a/run", "b/run"]
    assert names_of([Run(Path("/x/1")), Run(Path("/y/2"))]) == ["1", "2"]


def test_a_page_shows_every_trial_and_asks_for_nothing(runs, tmp_path, capsys):
    out = tmp_path / "compared.html"
    words = ["compare", *(str(run.path) for run in runs), "--out", str(out)]
    assert main(words) == 0
    page = out.read_text(encoding="utf-8")
    complete = sum(len(one.trial_ids) for one in compare(runs).runs)
    assert len(re.findall(r"<svg class=\"(?:other|front|chosen)\"", page)) == complete
    assert page.count('class="chosen"') == 2
    assert "<script" not in page
    assert not re.search(r'(src|href|action)="(?!#)|url\((?!#)', page)
    said = capsys.readouterr().out
    assert f"Page: {out}" in said
    assert "hypervolume" in said
    assert main(words) == 2
    assert "compared.html" in capsys.readouterr().err


def test_what_a_run_is_called_is_shown_as_text(tmp_path, runs):
    odd = make_run(tmp_path / "<b>&'x", OTHER, rows=400)
    write_report(odd)
    out = tmp_path / "page.html"
    assert main(["compare", str(odd.path), str(runs[0].path), "--out", str(out)]) == 0
    page = out.read_text(encoding="utf-8")
    assert "<b>&" not in page
    assert "&lt;b&gt;&amp;&#39;x" in page


def test_compare_is_read_by_programs(runs, capsys):
    assert main(["compare", *(str(run.path) for run in runs), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    for one, run in zip(found["runs"], runs, strict=True):
        summary = json.loads((run.path / "summary.json").read_text())
        assert one["use"] == summary["verdict"]["trial_id"]
        assert one["hypervolume"] == summary["hypervolume"]
    pooled = json.loads((runs[1].path / "summary.json").read_text())["confirmed"]
    assert found["runs"][1]["chosen"] == pooled["trials"][pooled["best"]]["val"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a/run"], "takes two runs or more"),
        (["a/run", "a/run"], "a run is given twice"),
        (["a/run", "new"], "has no report yet; fairfront report"),
        (["a/run", "nothing"], "no run here"),
    ],
)
def test_what_cannot_be_compared_is_one_line(folder, words, said, capsys):
    assert main(["compare", *(str(folder / word) for word in words)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_runs_are_found_where_they_lie(folder, runs, capsys):
    assert [run.path for run in find_runs(folder)] == [
        *(run.path for run in runs), folder / "new",
    ]  # fmt: skip
    assert main(["runs", str(folder), "--json"]) == 0
    first, second, new = json.loads(capsys.readouterr().out)
    assert (new["state"], new["best"], new["fair"]) == ("new", None, None)
    assert first["trials"] == sum(fake.state == "complete" for fake in SWEEP)
    assert second["best"] == json.loads((runs[1].path / "summary.json").read_text())["verdict"][
        "trial_id"
    ]  # fmt: skip
    assert main(["runs", str(folder)]) == 0
    assert "b/run" in capsys.readouterr().out
    assert main(["runs", str(folder / "nothing")]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_a_run_that_is_not_heard_of_any_more_is_silent(tmp_path):
    run = make_run(tmp_path / "run", OTHER, rows=300)
    begun = progress.begin(run, "sweep", 6, 10, now=1000.0)
    (run.path / "progress.json").write_text(begun.model_dump_json())
    assert outline(run, now=1000.0 + progress.STALE).state == "running"
    assert outline(run, now=1001.0 + progress.STALE).state == "silent"


def test_an_edited_run_hides_no_other(capsys, tmp_path):
    run = make_run(tmp_path / "x" / "run", OTHER, rows=300)
    (run.path / "notes.json").write_text("no")
    make_run(tmp_path / "y", OTHER, rows=300)
    assert main(["runs", str(tmp_path), "--json"]) == 0
    captured = capsys.readouterr()
    assert [one["path"] for one in json.loads(captured.out)] == [str(tmp_path / "y")]
    assert "notes.json: not as fairfront writes it" in captured.err


def test_tags_and_a_note_stay_with_the_run(tmp_path, capsys):
    run = make_run(tmp_path / "run", OTHER, rows=300)
    where = str(run.path)
    assert main(["tag", where, "keep", "paper"]) == 0
    assert main(["tag", where, "keep"]) == 0
    assert read_notes(run).tags == ["keep", "paper"]
    assert main(["note", where, "cleaned\nlabels <i>"]) == 0
    assert read_notes(run).text == "cleaned labels <i>"
    capsys.readouterr()
    assert main(["runs", str(tmp_path), "--tag", "paper"]) == 0
    assert "cleaned labels <i>" in capsys.readouterr().out
    assert main(["runs", str(tmp_path), "--tag", "other"]) == 0
    assert "no runs here with tag other" in capsys.readouterr().out
    assert main(["tag", where, "keep", "--remove"]) == 0
    assert (read_notes(run).tags, read_notes(run).text) == (["paper"], "cleaned labels <i>")
    assert main(["tag", where, "keep", "--remove"]) == 2
    assert main(["tag", where, "two words"]) == 2
    assert "give a word without spaces" in capsys.readouterr().err
    with pytest.raises(InputError, match="no run here"):
        Run.open(str(tmp_path / "nothing"))
