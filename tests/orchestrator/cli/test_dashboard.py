import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from io import StringIO
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from waiting import HANGS, wait_until

from orchestrator.base.errors import InputError
from orchestrator.cli import dashboard as module
from orchestrator.cli.dashboard import dashboard
from orchestrator.run.directory import Run
from orchestrator.training.early_stopping import EpochMetrics
from orchestrator.training.events import Events

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run with a study of one trial, and TensorBoard's events of it."""
    path = tmp_path / "run"
    (path / "logs").mkdir(parents=True)
    (path / "config.yaml").touch()
    epoch = dict.fromkeys((field.name for field in fields(EpochMetrics)), 0.8)
    metrics = EpochMetrics(**{**epoch, "epoch": 1})
    with Events(path / "trials" / "plain", "plain", {"loss.gamma": 0.5}) as events:
        events.add(metrics, metrics)
    study(JournalStorage(JournalFileBackend(str(path / "optuna.journal"))))
    return Run(path)


def study(storage: optuna.storages.BaseStorage) -> None:
    optuna.create_study(storage=storage, study_name="the study").optimize(
        lambda trial: trial.suggest_float("x", 0, 1), n_trials=1
    )


def into_database(run: Run, place: str = "") -> str:
    """Have the run's study in a database, as its files say; its URL."""
    url = f"sqlite:///{run.path}/study.db"
    (run.path / "optuna.journal").unlink()
    (run.path / "study.json").write_text(json.dumps({"storage": place or url, "name": "x"}))
    return url


@contextmanager
def served(run: Run, **environment: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """The dashboard in a process of its own, and the lines that it has printed once it is up."""
    code = (
        "import sys; from orchestrator.cli.dashboard import dashboard, Run;"
        f"sys.exit(dashboard(Run.open({str(run.path)!r}), port=None, out=sys.stdout))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, **environment, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    lines = []
    try:
        for line in process.stdout:
            lines.append(line)
            if line.startswith("Ctrl-C"):
                break
        yield process, lines
    finally:
        process.terminate()
        process.communicate(timeout=HANGS)


def get(url: str | urllib.request.Request) -> str:
    with urllib.request.urlopen(url, timeout=HANGS) as answer:
        return str(answer.read().decode())


def in_tab_hparams(board_url: str) -> list[dict[str, Any]]:
    """What TensorBoard's tab asks for: the trials, by their settings."""
    asked = {
        **{"experimentName": "", "allowedStatuses": ["STATUS_UNKNOWN"]},
        **{"colParams": [], "startIndex": 0, "sliceSize": 9},
    }
    url = f"{board_url}data/plugin/hparams/session_groups"
    header = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(asked).encode(), header)
    return list(json.loads(get(request)).get("sessionGroups", []))


def is_free(url: str) -> bool:
    port = int(url.rstrip("/").rpartition(":")[2])
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.parametrize(
    ("where", "how"), [("journal", signal.SIGINT), ("database", signal.SIGTERM)]
)
def test_both_are_served_until_a_signal(run: Run, where: str, how: signal.Signals):
    environment = {}
    if where == "database":
        environment = {"FAIRFRONT_STUDY_STORAGE": into_database(run)}
        study(optuna.storages.RDBStorage(environment["FAIRFRONT_STUDY_STORAGE"]))
    with served(run, **environment) as (process, lines):
        urls = [re.search(r"http://127\.0\.0\.1:\d+/", line) for line in lines[:2]]
        optuna_url, board_url = (found[0] for found in urls if found)
        assert lines[0].startswith("Optuna Dashboard ")
        assert lines[1].startswith("TensorBoard ")
        assert "the study" in get(f"{optuna_url}api/studies")
        assert '"plain"' in get(f"{board_url}data/runs")
        wait_until(lambda: in_tab_hparams(board_url), process, every=0.5)
        (group,) = in_tab_hparams(board_url)
        assert group["hparams"] == {"recipe": "plain", "loss.gamma": 0.5}
        values = {one["name"]["tag"]: one["value"] for one in group["metricValues"]}
        assert values["kept/acc_women"] == pytest.approx(0.8)
        process.send_signal(how)
        assert process.wait(timeout=HANGS) == 0
        assert is_free(optuna_url)
        assert is_free(board_url)
    assert (run.logs_path / "tensorboard.log").exists()


def test_a_run_without_a_study_has_tensorboard_alone(run: Run):
    (run.path / "optuna.journal").unlink()
    services = module._services(run, "127.0.0.1", None)
    assert [service.name for service in services] == ["TensorBoard"]


def test_a_study_in_a_database_is_asked_for_without_its_password(
    run: Run, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("FAIRFRONT_STUDY_STORAGE", raising=False)
    with pytest.raises(InputError, match="its study is in no database; leave --study-storage out"):
        dashboard(run, port=None, out=StringIO(), storage="sqlite:///x.db")
    into_database(run, "postgresql+psycopg://db/studies")
    out = StringIO()
    assert module._study_url(run, None, out) is None
    said = (
        "the study is in postgresql+psycopg://db/studies; give that with --study-storage to see it"
    )
    assert out.getvalue() == f"{said}\n"
    url = "postgresql+psycopg://me:s3cret@db/studies"
    assert module._study_url(run, url, out) == url
    optuna_service, board = module._services(run, "127.0.0.1", None, url)
    assert "s3cret" not in " ".join([*optuna_service.command, *board.command])
    assert optuna_service.environment == {"FAIRFRONT_STUDY_STORAGE": url}
    with pytest.raises(InputError, match=r"--study-storage .*//elsewhere/studies: the run's") as no:
        module._study_url(run, url.replace("db/", "elsewhere/"), out)
    assert "s3cret" not in str(no.value)


def test_a_server_that_ends_is_named_with_its_last_lines(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    command = ["-c", "print('reason one'); print('reason two'); raise SystemExit(7)"]
    broken = module.Service("Broken", "broken", command, "http://127.0.0.1:1/", tmp_path / "log")
    board = module._services(run, "127.0.0.1", None)[-1]
    monkeypatch.setattr(module, "_services", lambda *_: [board, broken])
    out = StringIO()
    assert dashboard(run, port=None, out=out) == 1
    assert f"Broken ended with exit code 7; the end of {tmp_path / 'log'}:" in out.getvalue()
    assert out.getvalue().endswith("  reason one\n  reason two\n")
    assert is_free(board.url)


def test_a_server_that_ends_later_ends_the_command(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    serve = (
        "import http.server as h, sys\n"
        "class H(h.BaseHTTPRequestHandler):\n"
        "    def do_GET(self): self.send_response(200); self.end_headers()\n"
        "s = h.HTTPServer(('127.0.0.1', int(sys.argv[1])), H)\n"
        "s.handle_request()\n"  # the question whether it is up
        "sys.exit('then it broke')\n"
    )
    (port,) = module._ports("127.0.0.1", None, 1)
    url = f"http://127.0.0.1:{port}/"
    brief = module.Service("Brief", "brief", ["-c", serve, str(port)], url, tmp_path / "log")
    monkeypatch.setattr(module, "_services", lambda *_: [brief])
    out = StringIO()
    assert dashboard(run, port=None, out=out) == 1
    assert "Ctrl-C ends it\nBrief ended with exit code 1" in out.getvalue()
    assert "then it broke" in out.getvalue()


def test_missing_packages_are_one_line(run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"pip install 'fairfront\[dashboard\]'"):
        dashboard(run, port=None, out=StringIO())


def test_a_taken_port_is_one_line(run: Run):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=rf"--port {port}: .*choose another"):
            dashboard(run, port=port, out=StringIO())
    with pytest.raises(InputError, match="--port 70000: "):
        dashboard(run, port=70000, out=StringIO())


def test_a_port_is_given_in_order(run: Run):
    services = []
    while not services:
        first = module._ports("127.0.0.1", None, 1)[0]
        with suppress(InputError):  # the next one may be another program's
            services = module._services(run, "127.0.0.1", first)
    assert [s.url.rpartition(":")[2] for s in services] == [f"{first}/", f"{first + 1}/"]
