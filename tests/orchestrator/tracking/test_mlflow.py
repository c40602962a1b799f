"""What MLflow, its client and its server, know of a run that they were told of."""

import logging
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from fakes import SWEEP, make_run
from mlflow import MlflowClient
from mlflow.entities import Run as Known
from werkzeug.serving import make_server

from orchestrator.base.errors import InputError
from orchestrator.base.files import read_json, write_json
from orchestrator.cli import main
from orchestrator.config.layers import with_overrides
from orchestrator.judging.judge import evaluate
from orchestrator.report.summary import summarise
from orchestrator.run import progress
from orchestrator.run.directory import Run
from orchestrator.tracking import destination as module
from orchestrator.tracking.destination import Destination, TrackingError, track

TRIALS = SWEEP[:5]
"""The baselines, one of three others that failed, and t004, the best."""


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where MLflow keeps all; to make its database takes more than a second."""
    return tmp_path_factory.mktemp("kept here")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[str]:
    """MLflow's own server, in a thread; what starts processes around it is left out."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.setenv("_MLFLOW_SERVER_FILE_STORE", f"sqlite:///{folder}/mlflow.db")
        patch.setenv("_MLFLOW_SERVER_ARTIFACT_ROOT", "mlflow-artifacts:/")
        patch.setenv("_MLFLOW_SERVER_ARTIFACT_DESTINATION", str(folder / "of the server"))
        patch.setenv("_MLFLOW_SERVER_SERVE_ARTIFACTS", "true")
        from mlflow.server import app

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        serving = make_server("127.0.0.1", 0, app, threaded=True)
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{serving.server_port}"
        finally:
            serving.shutdown()
            thread.join()
            serving.server_close()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A sweep with a summary, whose best trial has something for a network."""
    run = make_run(tmp_path_factory.mktemp("made") / "run", TRIALS, rows=400)
    for trial in run.begun():
        trial.note_start()
    (run.trial("t004").path / "model.safetensors").write_bytes(b"a head")
    (run.path / "backbones").mkdir()
    (run.path / "backbones" / "5f.safetensors").write_bytes(b"what it stands on")
    tell_progress(run, "finished")
    summary = summarise(run, [trial.result for trial in run.ended()], evaluate(run))
    write_json(run.path / "summary.json", summary)
    (run.path / "report.html").write_text("the page")
    return run


@pytest.fixture(scope="module")
def told(made: Run, server: str) -> Run:
    """The same, of which the server was told."""
    assert track(made, Destination("mlflow", server)).startswith(f"see {server}/#/experiments/")
    return made


@pytest.fixture
def run(made: Run, tmp_path: Path) -> Run:
    """A copy, to be changed."""
    return Run(Path(shutil.copytree(str(made.path), tmp_path / "a run")))


def tell_progress(run: Run, state: str) -> None:
    begun = progress.begin(run, "sweep", 5, 10, time.time()).model_copy(update={"state": state})
    (run.path / "progress.json").write_text(begun.model_dump_json())


def known(uri: str, run: Run) -> dict[str, Known]:
    """What is there of a run, by trial; the run as a whole has no name."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(
        os.environ.get("MLFLOW_EXPERIMENT_NAME", "fairfront")
    )
    assert experiment
    name = read_json(run.path / "tracking.json")["id"]
    found = client.search_runs([experiment.experiment_id], f"tags.`fairfront.run` = '{name}'")
    by_trial = {one.data.tags["fairfront.trial"]: one for one in found}
    assert len(by_trial) == len(found)
    return by_trial


def curve(uri: str, one: Known, name: str) -> list[tuple[int, float]]:
    history = MlflowClient(uri).get_metric_history(one.info.run_id, name)
    return [(point.step, point.value) for point in history]


def all_of(uri: str, found: dict[str, Known]) -> list[Any]:
    """All that is known, the points of a curve and the files among it."""
    client = MlflowClient(uri)
    return [
        (one.to_dictionary(), curve(uri, one, "fair"), client.list_artifacts(one.info.run_id))
        for _, one in sorted(found.items())
    ]


def test_a_run_and_its_trials_are_there(server: str, told: Run, tmp_path: Path):
    run = told
    summary, found = read_json(run.path / "summary.json"), known(server, run)
    whole = found.pop("")
    assert sorted(found) == [trial.id for trial in run.begun()]
    assert whole.info.run_name == "run"
    assert whole.info.status == "FINISHED"
    assert whole.data.tags["data_fingerprint"] == run.data["fingerprint"]
    assert whole.data.tags["git_commit"] == run.recorded["versions"]["git_commit"]
    assert whole.data.tags["verdict"] == summary["verdict"]["word"]
    assert whole.data.tags["recommended"] == summary["verdict"]["trial_id"] == "t004"
    assert whole.data.tags["mlflow.note.content"] == summary["verdict"]["paragraph"]
    assert whole.data.params["train.lr"] == "0.001"
    assert whole.data.params["sweep.space"] == "focal_gender"
    assert whole.data.metrics["hypervolume"] == summary["hypervolume"]
    assert whole.data.metrics["test_acc_women"] == summary["best"]["test"]["acc_women"]
    assert whole.data.metrics["test_fair_ci95_low"] == summary["best"]["test"]["fair_ci95"][0]
    client = MlflowClient(server)
    copies = Path(client.download_artifacts(whole.info.run_id, "", str(tmp_path)))
    network = {"model/model.safetensors": "trials/t004/model.safetensors"}
    for name in ("report.html", "summary.json", *network, "backbones/5f.safetensors"):
        source = Path(str(run.path)) / network.get(name, name)
        assert (copies / name).read_bytes() == source.read_bytes()
    for trial in run.begun():
        one = found[trial.id]
        assert one.data.tags["mlflow.parentRunId"] == whole.info.run_id
        assert one.data.params == {name: str(value) for name, value in trial.params.items()}
        assert one.info.status == ("FAILED" if trial.id == "t003" else "FINISHED")
        assert one.info.end_time == one.info.start_time + round(1000 * trial.result.seconds)
    assert "CUDA out of memory" in found["t003"].data.tags["reason"]


def test_test_figures_are_of_what_the_report_shows_alone(server: str, told: Run):
    found = known(server, told)
    roles = {name: one.data.tags.get("role") for name, one in found.items() if name}
    assert roles == {
        "t000": "plain", "t001": "reference", "t002": None, "t003": None, "t004": "recommended"
    }  # fmt: skip
    for name, role in roles.items():
        shown = any(metric.startswith("test_") for metric in found[name].data.metrics)
        assert shown == (role is not None)
    rows = told.trial("t002").metrics
    for metric in ("acc_women", "acc_men", "gap", "fair"):
        points = list(zip(rows["epoch"], rows[metric], strict=True))
        assert curve(server, found["t002"], metric) == points
        assert found["t002"].data.metrics[f"kept_{metric}"] == points[-1][1]


def test_a_run_that_is_told_again_is_there_once(
    server: str, told: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    before, whole = known(server, told), known(server, told).pop("")
    copy = Run(Path(shutil.copytree(str(told.path), tmp_path / "moved")))  # with other times
    assert main(["track", str(copy.path), "--to", f"mlflow:{server}"]) == 0
    assert capsys.readouterr().out.startswith(f"mlflow:{server}: see {server}/#/experiments/")
    after = known(server, copy)
    assert after[""].info.run_id == whole.info.run_id
    assert after[""].data.metrics == whole.data.metrics
    del before[""], after[""]
    assert all_of(server, after) == all_of(server, before)


def test_a_run_is_told_as_it_goes_on(
    run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "without a server")
    tell_progress(run, "running")
    uri = f"sqlite:///{folder}/mlflow.db"
    later, last = run.trial("t001"), run.trial("t004")
    rows, result = last.metrics, last.result
    (last.path / "result.json").unlink()
    last.write_metrics(rows[:2])
    aside = later.path.rename(tmp_path / "aside")

    tell = Destination("mlflow", str(folder))
    (run.path / "progress.json").rename(tmp_path / "progress.json")  # it has just begun
    assert (
        track(Run(run.path), tell, at_work=True) == f"mlflow ui --backend-store-uri {uri} shows it"
    )
    found = known(uri, run)
    statuses = {name: one.info.status for name, one in found.items()}
    assert statuses == {
        "": "RUNNING", "t000": "FINISHED", "t002": "FINISHED", "t003": "FAILED", "t004": "RUNNING"
    }  # fmt: skip
    assert [step for step, _ in curve(uri, found["t004"], "fair")] == [1, 2]
    assert "verdict" not in found[""].data.tags  # that of the last report is of another day

    (tmp_path / "progress.json").rename(run.path / "progress.json")
    aside.rename(later.path)
    last.write_metrics(rows)
    last.write_params({**last.params, "loss.gamma[of mine]": 1})
    last.write_result(result)
    run.record(with_overrides(run.config, {"sweep.trials": 99}), run.data)
    track(Run(run.path), tell, at_work=False)  # and its process was killed
    after = known(uri, run)
    ids = {name: one.info.run_id for name, one in after.items()}
    assert {name: ids[name] for name in found} == {n: o.info.run_id for n, o in found.items()}
    assert after[""].info.status == "KILLED"
    assert after["t004"].info.status == "FINISHED"
    assert after["t004"].data.params["loss.gamma_of mine_"] == "1"
    assert curve(uri, after["t004"], "fair") == list(zip(rows["epoch"], rows["fair"], strict=True))
    assert after["t001"].data.tags["role"] == "reference"
    copies = (folder / "artifacts").rglob("report.html")
    assert [copy.read_text() for copy in copies] == ["the page"]


class Refuses(BaseHTTPRequestHandler):
    """A server that lets nobody in, and says who asked."""

    def do_GET(self) -> None:
        body = f"no, http://me:s3cret@here{self.path} {self.headers['Authorization']}".encode()
        self.send_response(403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(params=["refuses a connection", "never answers", "lets nobody in"])
def trouble(request: pytest.FixtureRequest) -> Iterator[tuple[int, str]]:
    """The port of a server that is no use, and what is to be said of it."""
    if request.param == "lets nobody in":
        with HTTPServer(("127.0.0.1", 0), Refuses) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            yield server.server_port, "403"
            server.shutdown()
            thread.join()
        return
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        if request.param == "never answers":
            listening.listen()
            yield listening.getsockname()[1], "timed out"
        else:
            yield listening.getsockname()[1], "Connection refused"


def test_a_server_in_trouble_is_one_line_without_secrets(
    trouble: tuple[int, str],
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    port, why = trouble
    place = f"http://me:s3cret@127.0.0.1:{port}/mlflow?key=s3cret"
    shown = f"mlflow:http://127.0.0.1:{port}/mlflow"
    assert main(["track", str(run.path), "--to", f"mlflow:{place}"]) == 1
    out, said = capfd.readouterr()
    assert said.startswith(f"fairfront: {shown}: ")
    assert why in said
    assert "s3cret" not in said + out
    assert said.count("\n") == 1
    for file in run.path.rglob("*"):
        assert file.is_dir() or b"s3cret" not in file.read_bytes()


def test_who_cannot_be_told_is_refused_at_once(monkeypatch: pytest.MonkeyPatch):
    for bad in ("http://me:s3cret@host", "mlflaw:x", "mlflow:", "mlflow", "wandb:"):
        with pytest.raises(
            InputError, match=r"^--to .*: give mlflow:URI\|FOLDER or wandb:"
        ) as said:
            Destination.of(bad, "--to")
        assert "s3cret" not in str(said.value)
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"pip install 'fairfront\[mlflow\]'"):
        Destination.of("mlflow:http://me:s3cret@host", "--to")


@pytest.mark.parametrize(
    ("place", "shown"),
    [
        ("https://host:5000/a/b", "https://host:5000/a/b"),
        ("https://me:s3c%2Fret@host/a?key=s3cret#s3cret", "https://host/a"),
        ("postgresql://me:s3c/ret@host/db", "postgresql://host/db"),
        ("https://s3cret@host", "https://host"),
        ("sqlite:////data/mlflow.db", "sqlite:////data/mlflow.db"),
        ("a folder", "a folder"),
    ],
)
def test_a_place_is_shown_without_its_secrets(place: str, shown: str):
    one = Destination("mlflow", place)
    assert str(one) == f"mlflow:{shown}"
    assert "s3c" not in repr(one)
    told = one.without_secrets(f"cannot reach {place} as s3c%2Fret, s3c/ret")
    assert told.startswith(f"cannot reach {shown}")


def test_a_summary_that_was_edited_is_the_users_to_mend(run: Run, tmp_path: Path):
    write_json(run.path / "summary.json", {"best": None})
    with pytest.raises(InputError, match=r"summary\.json: not as fairfront writes it"):
        track(run, Destination("mlflow", str(tmp_path / "db")))
    assert not (tmp_path / "db").exists()


def test_a_tracker_that_fails_names_itself(run: Run, tmp_path: Path):
    (tmp_path / "taken").touch()
    with pytest.raises(TrackingError, match=r"^mlflow:.*taken: .*File exists"):
        track(run, Destination("mlflow", str(tmp_path / "taken")))
