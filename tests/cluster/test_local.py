"""A cluster of this machine: started, used, and ended with nobody else harmed."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from waiting import HANGS, wait_until

from cluster.client import connect
from cluster.launchers import local
from orchestrator.cli import main


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, no_ray_settings: None) -> Iterator[Path]:  # noqa: ARG001
    """Where the command keeps its cluster; nobody else's, and short enough for sockets."""
    parent = Path(tempfile.mkdtemp(prefix="ff", dir="/tmp"))
    monkeypatch.setenv("RAY_TMPDIR", str(parent))
    yield parent / f"ff-{os.geteuid()}"
    shutil.rmtree(parent, ignore_errors=True)


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(9999)"])


@pytest.mark.nodes
def test_a_cluster_of_two_nodes_is_used_loses_one_and_is_ended(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        assert main(["cluster", "local", "--nodes", "2", "--cpus-per-node", "1"]) == 0
        said = capsys.readouterr().out
        assert "A cluster of 2 nodes with 1 CPU each." in said
        assert main(["cluster", "local"]) == 2  # there is one
        assert "a cluster runs there; `fairfront cluster down` ends it" in capsys.readouterr().err
        ((_, url), (_, token)) = (
            re.findall(pattern, said)[0]
            for pattern in (r"(--address) (\S+)", r"(RAY_AUTH_TOKEN_PATH)=(\S+)")
        )
        assert main(["jobs", "--address", url]) == 2  # without the token
        assert "asks for a token" in capsys.readouterr().err
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", token)
        assert Path(token).stat().st_mode & 0o077 == 0
        assert folder.stat().st_mode & 0o077 == 0
        made = local.read(folder)
        ask = "import ray; ray.init(); print([n['Resources']['CPU'] for n in ray.nodes()])"
        address = {"RAY_ADDRESS": made.address, "RAY_AUTH_MODE": "token"}
        answer = subprocess.run(
            [sys.executable, "-c", ask], env=os.environ | address, capture_output=True, check=True
        )
        assert answer.stdout.decode().strip() == "[1.0, 1.0]"
        client = connect(url)
        job = client.submit_job(entrypoint="sleep 9999")
        wait_until(lambda: str(client.get_job_status(job)) == "RUNNING")
        psutil.Process(made.nodes[1].pid).kill()
        wait_until(lambda: any("sleep" in words for words in processes(made).values()))
        everything = list(processes(made))
    finally:
        assert main(["cluster", "down"]) == 0
    assert "ended a cluster of 2 nodes" in capsys.readouterr().out
    assert not psutil.wait_procs(everything, timeout=HANGS)[1]
    assert not folder.exists()
    assert main(["cluster", "down"]) == 2
    assert "no cluster runs there; `fairfront cluster local` starts one" in capsys.readouterr().err


def processes(made: local.Cluster) -> dict[psutil.Process, list[str]]:
    """What descends from a cluster's nodes, and its command lines."""
    found = {}
    for node in made.nodes:
        with suppress(psutil.Error):
            for process in psutil.Process(node.pid).children(recursive=True):
                with suppress(psutil.Error):
                    found[process] = process.cmdline()
    return found


def test_a_process_that_was_given_the_id_of_a_node_anew_is_left_alone(folder: Path) -> None:
    ours, other = sleeper(), sleeper()
    try:
        started = [psutil.Process(process.pid).create_time() for process in (ours, other)]
        nodes = [local.Node(ours.pid, started[0]), local.Node(other.pid, started[1] - 1)]
        folder.mkdir()
        made = local.Cluster("127.0.0.1:1", "http://127.0.0.1:2", "token", nodes)
        (folder / local.STATE).write_text(json.dumps(made._asdict()))
        assert local.stop(folder) == 2
        assert local._process_of(nodes[0]) is None
        assert other.poll() is None
    finally:
        for process in (ours, other):
            process.kill()
            process.wait()


def test_a_node_that_does_not_start_is_one_line_and_leaves_nothing_running(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[local.Node] = []

    def fail(*_words: object) -> local.Node:
        process = sleeper()
        node = local.Node(process.pid, psutil.Process(process.pid).create_time())
        started.append(node)
        if len(started) == 1:
            return node
        process.kill()
        process.wait()
        return node

    monkeypatch.setattr(local, "_start_node", fail)
    monkeypatch.setattr(local, "_joined", lambda _cluster: 1)
    assert main(["cluster", "local", "--nodes", "2"]) == 2
    error = capsys.readouterr().err
    assert f"{folder / '1.log'}: the node did not start; that says why" in error
    assert error.count("\n") == 1
    wait_until(lambda: not any(psutil.pid_exists(node.pid) for node in started[1:]))
    assert local._process_of(started[0]) is None
    assert not (folder / local.STATE).exists()


@pytest.mark.parametrize(
    "words", [["--nodes", "0"], ["--cpus-per-node", "0"], ["--gpus-per-node", "-1"]]
)
def test_numbers_that_make_no_cluster_are_refused(
    folder: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cluster", "local", *words]) == 2
    assert f"{words[0]} {words[1]}: give " in capsys.readouterr().err
    assert not folder.exists()


def test_another_users_folder_is_not_used(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.mkdir()
    uid = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
    folder.rename(folder.with_name(f"ff-{uid + 1}"))
    for action in ("local", "down"):
        assert main(["cluster", action]) == 2
        assert "belongs to another user" in capsys.readouterr().err
