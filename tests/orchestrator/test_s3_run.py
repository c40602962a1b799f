"""DATA and RUN on S3: the main job, a server that goes away for a while, and what is refused."""

import json
import threading
import time

import numpy as np
import pytest
from layouts import write_zip
from optuna.trial import TrialState
from preparing import synthetic
from s3_server import KEY, SECRET
from waiting import wait_until

from orchestrator.base.files import (
    children,
    parse_uri,
    read_bytes,
    read_json,
    remove_tree,
    write_text,
)
from orchestrator.cli import main
from orchestrator.data.splits import SPLITS
from orchestrator.data.store.store import Store
from orchestrator.run.claims import LEASE, claimed
from orchestrator.run.directory import Run, about_data
from orchestrator.run.progress import read
from orchestrator.search.study import open_study
from orchestrator.search.sweep import Sweep
from search_spaces import get

pytestmark = [
    pytest.mark.usefixtures("s3", "ray_cluster"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
ROOT = "s3://faces/job"
QUICK = ("--set", "train.precision=fp32", "train.batch_size=16")


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """The same data on a disk."""
    return Store.open(synthetic(tmp_path_factory.mktemp("here") / "data"))


@pytest.fixture(scope="module")
def data(here):
    """Faces in an archive on S3, prepared there."""
    faces, source = here.path / "faces", f"{ROOT}/source"
    images = {f"images/{file.name}": file.read_bytes() for file in (faces / "images").iterdir()}
    archive = write_zip(here.path.parent / "images.zip", images)
    for file in (faces / "manifest.csv", archive):
        parse_uri(source).fs.put(str(file), f"{source}/{file.name}")
    words = ["prepare", f"{source}/manifest.csv", "--images", f"{source}/images.zip"]
    assert main([*words, "--out", f"{ROOT}/data", "--image-size", "24"]) == 0
    return f"{ROOT}/data"


@pytest.fixture(scope="module")
def away(s3, data):
    """A sweep of three trials, for whose files the server was away for a while; and whether."""
    out = f"{ROOT}/run"
    words = ["sweep", "--data", data, "--out", out, "--concurrent", "2", "--trials", "3", *QUICK]
    words += ["--epochs", "2", "--finalists", "0"]
    trials, over, away = parse_uri(f"{out}/trials"), threading.Event(), []

    def stop_and_start() -> None:
        wait_until(lambda: over.is_set() or len(children(trials)) >= 2, every=0.3)
        s3.stop()
        away.append(not over.wait(6))  # meanwhile they train, and want to write
        s3.start()

    helper = threading.Thread(target=stop_and_start)
    helper.start()  # for the signals, the command has the main thread
    try:
        assert main(words) == 0
    finally:
        over.set()
        helper.join()
    return away


@pytest.fixture(scope="module")
def run(away):  # noqa: ARG001
    """The sweep, gone on with to a fourth trial, and then its best retrained."""
    more = ["--trials", "4", "--finalists", "1", "--set", "sweep.confirm_folds=null"]
    assert main(["sweep", "--out", f"{ROOT}/run", "--resume", *more]) == 0
    return Run.open(f"{ROOT}/run")


def test_workers_make_the_same_data_there(data, here):
    there = Store.open(data)
    for split in SPLITS:
        ours, theirs = here.load(split), there.load(split)
        assert theirs.filename.tolist() == ours.filename.tolist()
        assert theirs.rank.tolist() == ours.rank.tolist()
        np.testing.assert_array_equal(theirs.images, ours.images)


def files_of(run):
    return {name.removeprefix(f"{run.path.path}/") for name in run.path.fs.find(run.path.path)}


def test_a_sweep_is_gone_on_with_from_its_trials_files(run):
    files = files_of(run)
    assert files >= {
        "config.yaml", "trials.csv", "pareto.csv", "summary.json", "report.html", "pareto.png",
        "progress.json", "logs/ray.log",
    }  # fmt: skip
    assert not any("journal" in name or name.endswith(".lock") for name in files)
    trials = run.complete()
    assert [trial.id for trial in trials] == ["t000", "t001", "t002", "t003"]
    recipes = [trial.result.recipe for trial in trials]
    assert recipes == ["plain", "reference", "default", "default"]
    assert trials[2].params != trials[3].params
    for trial in trials:
        names = {path.name for path in children(trial.path)}
        assert names >= {"params.json", "metrics.csv", "model.safetensors", "predictions.parquet"}
        assert any("tfevents" in name for name in names)
        assert "checkpoint.pt" not in names
    assert read(run).state == "finished"
    assert {name.split("/")[1] for name in files if name.startswith("confirm/")} >= {"t000"}
    assert read_json(run.path / "summary.json")["verdict"] is not None


def test_it_is_reported_on_watched_and_used(run, tmp_path, capsys):
    before = read_bytes(run.path / "report.html")
    assert main(["report", str(run.path)]) == 0
    assert read_bytes(run.path / "report.html") == before
    assert main(["watch", str(run.path)]) == 0
    assert main(["watch", "--once", str(run.path)]) == 0
    out = tmp_path / "labels.csv"
    words = ["predict", "--run", str(run.path), "--images", f"{ROOT}/data", "--out", str(out)]
    assert main(words) == 0
    assert len(out.read_text().splitlines()) > 100
    capsys.readouterr()
    assert main(["dashboard", str(run.path)]) == 2
    assert "copy it" in capsys.readouterr().err


def test_another_sweep_begins_with_its_trials_each_time(run, data):
    store = Store.open(data)
    warm = Run.create(f"{ROOT}/warm", run.config, about_data(store))
    for others in ([str(run.path)], []):  # the second one goes on
        begun = Sweep.open(warm, run.config, store, None, others)
        assert begun.words[-1] == f"warm start: 4 of 4 trials of {run.path} taken in"
        values = [trial.values for trial in begun.study.get_trials() if trial.values]
        assert len(values) == 4


def test_what_was_asked_of_a_trial_is_asked_again(run):
    """As of one that was begun when its session was killed."""
    killed = run.trial("t004")
    killed.write_params(run.trial("t003").params)
    try:
        study = open_study(run, run.config, get(run.config.sweep.space))
    finally:
        remove_tree(killed.path)
    *ended, waiting = study.get_trials()
    assert [trial.params for trial in ended] == [trial.params for trial in run.complete()]
    assert waiting.state == TrialState.WAITING
    assert waiting.system_attrs["fixed_params"] == run.trial("t003").params


def test_nothing_of_a_run_has_a_secret(run):
    contents = [read_bytes(run.path / name) for name in files_of(run)]
    assert len(contents) > 20
    assert not any(word.encode() in content for content in contents for word in (KEY, SECRET))


def test_a_server_that_is_away_for_a_while_costs_no_trial(away, run):
    assert away == [True]
    assert [trial.result.restarts for trial in run.complete()] == [0, 0, 0, 0]


def test_a_second_session_is_refused_until_the_first_ones_lease_expires(run, capsys):
    words = ["sweep", "--out", str(run.path), "--resume"]
    with claimed(run.path):
        capsys.readouterr()
        assert main(words) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"{run.path}: another fairfront is at work on this run" in line
        assert "its lease expires at" in line
        (lease,) = children(run.path / LEASE)
        dead = json.loads(read_bytes(lease)) | {"until": time.time() - 1}
    write_text(lease, json.dumps(dead))  # as one leaves it that was killed two minutes ago
    assert main(words) == 0


def test_a_study_in_a_database_needs_a_disk(run, capsys):
    words = ["sweep", "--out", str(run.path), "--resume", "--study-storage", "sqlite:///a.db"]
    assert main(words) == 2
    assert "one session at a time" in capsys.readouterr().err
