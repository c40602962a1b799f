import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import StringIO
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from tensorboardX import SummaryWriter
from waiting import HANGS

from orchestrator.base.errors import InputError
from orchestrator.cli import dashboard as module
from orchestrator.cli.dashboard import dashboard
from orchestrator.run.directory import Run

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run with a study of one trial and one TensorBoard scalar."""
    path = tmp_path / "run"
    (path / "logs").mkdir(parents=True)
    (path / "config.yaml").touch()
    with SummaryWriter(str(path / "trials" / "plain")) as writer:
        writer.add_scalar("fair", 0.8, 1)
    storage = JournalStorage(JournalFileBackend(str(path / "optuna.journal")))
    optuna.create_study(storage=storage, study_name="the study").optimize(
        lambda trial: trial.suggest_float("x", 0, 1), n_trials=1
    )
    return Run(path)


@contextmanager
def served(run: Run) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """The dashboard in a process of its own, and the lines that it has printed once it is up."""
    code = (
        "import sys; from orchestrator.cli.dashboard import dashboard, Run;"
        f"sys.exit(dashboard(Run.open({str(run.path)!r}), port=None, out=sys.stdout))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
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


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=HANGS) as answer:
        return str(answer.read().decode())


def is_free(url: str) -> bool:
    port = int(url.rstrip("/").rpartition(":")[2])
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_both_are_served_until_a_signal(run: Run, how: signal.Signals):
    with served(run) as (process, lines):
        urls = [re.search(r"http://127\.0\.0\.1:\d+/", line) for line in lines[:2]]
        optuna_url, board_url = (found[0] for found in urls if found)
        assert lines[0].startswith("Optuna Dashboard ")
        assert lines[1].startswith("TensorBoard ")
        assert "the study" in get(f"{optuna_url}api/studies")
        assert '"plain"' in get(f"{board_url}data/runs")
        process.send_signal(how)
        assert process.wait(timeout=HANGS) == 0
        assert is_free(optuna_url)
        assert is_free(board_url)
    assert (run.logs_path / "tensorboard.log").exists()


def test_a_run_without_a_study_has_tensorboard_alone(run: Run):
    (run.path / "optuna.journal").unlink()
    services = module._services(run, "127.0.0.1", None)
    assert [service.name for service in services] == ["TensorBoard"]


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
