"""A tracker that fails is one warning, and nothing waits for it for long."""

import multiprocessing
from pathlib import Path

import pytest
import trackers
from waiting import HANGS, wait_until

from orchestrator.run.directory import Run
from orchestrator.tracking import following
from orchestrator.tracking.destination import Destination
from orchestrator.tracking.following import tracked

PLACE = Destination("mlflow", "http://me:s3cret@host:5000")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def test_a_tracker_that_was_away_is_one_warning_and_is_told_to_the_end(
    run: Run, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(following, "PATIENCE", HANGS)
    monkeypatch.setattr(following, "LAST_OF_FAILING", HANGS)
    said: list[str] = []
    asked = run.path / "asked"
    with tracked(run, [PLACE], said.append, trackers.recovers, look=0.01):
        wait_until(lambda: asked.exists() and len(asked.read_text().splitlines()) > 4)
    assert said == [
        "mlflow:http://host:5000: away; that stops nothing, and fairfront track "
        f"{run.path} --to mlflow:http://host:5000 tells it later"
    ]
    *before, last = asked.read_text().splitlines()
    assert set(before) == {"True"}
    assert last == "False"
    assert capfd.readouterr() == ("", "")
    assert not multiprocessing.active_children()


def test_a_tracker_that_hangs_is_ended_as_the_run_ends(run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(following, "PATIENCE", 0.0)
    monkeypatch.setattr(following, "LAST", 0.0)
    said: list[str] = []
    with tracked(run, [PLACE], said.append, trackers.hangs):
        wait_until((run.path / "asked").exists)
    waiting, late = said
    assert waiting == "telling mlflow:http://host:5000 the rest; Ctrl-C leaves it untold"
    assert late.startswith("mlflow:http://host:5000: it takes too long; that stops nothing")
    assert not multiprocessing.active_children()


def test_a_tracker_that_ends_its_process_is_one_warning(run: Run):
    said: list[str] = []
    with tracked(run, [PLACE], said.append, trackers.dies):
        wait_until(lambda: not multiprocessing.active_children())
    (word,) = said
    assert word.startswith("mlflow:http://host:5000: its process ended with 3; that stops nothing")


def test_without_trackers_there_is_no_process(run: Run):
    with tracked(run, [], print):
        assert not multiprocessing.active_children()
