import json
from pathlib import Path

import pytest

from cluster.submission import (
    DIFF,
    VARIABLE,
    Submission,
    keep_submission,
    last_submission,
    repeated_secrets,
)
from orchestrator.base.errors import InputError

SUBMITTED = Submission(
    at="2026-01-02T03:04:05+00:00",
    command=["report", "/r"],
    environment="none",
    secrets=["HF_TOKEN"],
    fairfront="0.1.0",
    commit="abc",
)


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that a job runs in, which it is now."""
    folder = tmp_path / "job"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv(VARIABLE, SUBMITTED.told())
    about = {"metadata": {"job_submission_id": "raysubmit_1"}}
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps(about))
    return folder


def test_a_run_that_was_not_submitted_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    keep_submission(tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match=r"^--again .*: no submitted.json there; give the run of"):
        last_submission(str(tmp_path))


def test_a_job_keeps_what_it_was_submitted_as(tmp_path: Path, job: Path):
    diff = b"--- a/x\n+++ b/x\n" + b"+\xe9\n"
    (job / DIFF).write_bytes(diff)
    keep_submission(tmp_path)
    kept = last_submission(str(tmp_path))
    assert kept.job == "raysubmit_1"
    assert kept.diff is not None
    assert kept.diff.encode(errors="surrogateescape") == diff
    assert kept.model_copy(update={"job": None, "diff": None}) == SUBMITTED


@pytest.mark.usefixtures("job")
def test_a_run_that_goes_on_keeps_all_its_submissions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    commands = [["sweep", "--out", "/r"], ["sweep", "--out", "/r", "--resume"], ["report", "/r"]]
    for command in commands:
        told = SUBMITTED.model_copy(update={"command": command}).told()
        monkeypatch.setenv(VARIABLE, told)
        keep_submission(tmp_path)
    assert last_submission(str(tmp_path)).command == commands[-1]
    before = json.loads((tmp_path / "submitted.json").read_text())["before"]
    assert [each["command"] for each in before] == commands[:2]
    assert not any("before" in each for each in before)


@pytest.mark.parametrize("text", ["{}", "[]", '{"format": 1, "unheard_of": 1}'])
def test_a_file_that_is_none_of_ours_is_one_line(tmp_path: Path, text: str):
    (tmp_path / "submitted.json").write_text(text)
    with pytest.raises(InputError, match=r"submitted.json: not as a job writes it") as raised:
        last_submission(str(tmp_path))
    assert "\n" not in str(raised.value)


def test_secrets_are_given_again_or_taken_from_here(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    assert repeated_secrets(SUBMITTED, {"HF_TOKEN": "given"}) == {"HF_TOKEN": "given"}
    with pytest.raises(InputError, match="the submission had HF_TOKEN, which is not kept; set it"):
        repeated_secrets(SUBMITTED, {})
    monkeypatch.setenv("HF_TOKEN", "here")
    assert repeated_secrets(SUBMITTED, {}) == {"HF_TOKEN": "here"}
