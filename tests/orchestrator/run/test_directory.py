"""What fairfront 0.1 wrote of a run is read as what it meant."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeTrial, make_run
from ruamel.yaml import YAML

from orchestrator.base.errors import InputError
from orchestrator.config.layers import resolve
from orchestrator.report.report import write_report
from orchestrator.run import directory
from orchestrator.run import trial as trial_files
from orchestrator.run.directory import Run
from orchestrator.run.trial import in_order_of_ending
from orchestrator.training.early_stopping import kept_so_far


def as_0_1_wrote(run: Run) -> None:
    """Call the worse gender the worst group, and know nothing of formats."""
    yaml = YAML(typ="safe", pure=True)
    recorded = yaml.load(run.path / "config.yaml")
    assert recorded.pop("format") == 2
    recorded["train"]["monitor"] = "worst_group"
    yaml.dump(recorded, run.path / "config.yaml")
    for trial in run.ended():
        result = json.loads((trial.path / "result.json").read_text())
        assert result.pop("format") == 2
        result["config"]["train"]["monitor"] = "worst_group"
        (trial.path / "result.json").write_text(json.dumps(result))
        metrics = trial.metrics.drop(columns="worst_group")
        trial.write_metrics(metrics.rename(columns={"worst_gender": "worst_group"}))


def test_a_run_that_0_1_wrote_is_read_and_reported_on(tmp_path: Path) -> None:
    trials = [FakeTrial("t000", 0.90, 0.95, "plain"), FakeTrial("t001", 0.92, 0.94)]
    config = resolve(settings=["train.monitor=worst_gender"])
    run = make_run(tmp_path / "run", trials, config=config)
    new, trained_by = run.trial("t001").metrics, run.trial("t001").result.config
    summary = write_report(run)
    as_0_1_wrote(run)
    old = Run.open(str(run.path))
    assert old.config == config
    trial = old.trial("t001")
    assert trial.result.config == trained_by
    *_, (epoch, kept) = kept_so_far(trial.metrics, config.train)
    assert epoch == len(new)
    assert kept.worst_gender == new["worst_gender"].max()
    assert math.isnan(kept.worst_group)  # nobody counted it
    assert write_report(old) == summary


@pytest.mark.parametrize(
    "damage", [{}, [], {"config": 1}, {"config": {"train": {}}, "format": "2"}]
)
def test_a_result_that_was_edited_is_one_line(tmp_path: Path, damage: Any) -> None:
    run = make_run(tmp_path / "run", [FakeTrial("t000")])
    (run.trial("t000").path / "result.json").write_text(json.dumps(damage))
    with pytest.raises(InputError, match=r"t000/result\.json: .*it was edited, or is of another"):
        _ = run.trial("t000").result


def test_how_a_trial_ended_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On an object store each time is a request, and a sweep asks all its trials many times."""
    run = make_run(tmp_path / "run", [FakeTrial("t000"), FakeTrial("t001", state="failed")])
    run.trial("t002").write_params({})
    read = []
    monkeypatch.setattr(
        trial_files, "read_bytes", lambda path: read.append(path) or path.read_bytes()
    )
    for _ in range(3):
        assert [trial.result.state for trial in run.ended()] == ["complete", "failed"]
        assert [trial.id for trial in run.complete()] == ["t000"]
        assert in_order_of_ending(run.ended()) == run.ended()
    results = [path.parent.name for path in read if path.name == "result.json"]
    assert results.count("t000") == results.count("t001") == 1
    run.trial("t002").write_result(run.trial("t000").result)
    assert [trial.id for trial in run.complete()] == ["t000", "t002"]


def test_a_trial_that_is_begun_anew_has_not_ended(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [FakeTrial("plain", state="failed"), FakeTrial("t000")])
    failed, complete = run.ended()
    assert failed.result.state == "failed"
    run.begin_anew(run.trial("plain"))
    assert run.ended() == [complete]
    run.begin_anew(run.trial("plain"))  # as one that has never ended
    failed.write_result(complete.result)
    assert failed.result.state == "complete"
    assert [trial.result.state for trial in run.ended()] == ["complete", "complete"]


def test_the_versions_that_a_run_began_with_stay_and_later_ones_are_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run", [])
    began = Run(run.path).recorded["versions"]

    def record(commit: str) -> dict[str, Any]:
        monkeypatch.setattr(directory, "versions", lambda: {**began, "git_commit": commit})
        run.record(run.config, run.data)
        return Run(run.path).recorded

    recorded = record(began["git_commit"])
    assert "history" not in recorded  # the same ones: there is nothing to tell
    for commit in ("second", "second", "third", began["git_commit"]):
        recorded = record(commit)
    assert recorded["versions"] == began
    commits = [entry["versions"]["git_commit"] for entry in recorded["history"]]
    assert commits == ["second", "third", began["git_commit"]]
    assert all(entry["resumed"][:2] == "20" for entry in recorded["history"])
    assert Run(run.path).config == run.config
