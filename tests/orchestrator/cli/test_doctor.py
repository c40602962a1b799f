import io
import json
import shutil
import socket
from collections import namedtuple
from importlib import metadata
from pathlib import Path

import pytest

from orchestrator.cli import doctor as module
from orchestrator.cli.doctor import Check, check_disk, check_memory, check_packages, check_ray
from orchestrator.distributed import before_ray

Usage = namedtuple("Usage", "total used free")


@pytest.fixture(autouse=True)
def no_ray_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("ADDRESS", "API_SERVER_ADDRESS", "AUTH_MODE", "AUTH_TOKEN", "AUTH_TOKEN_PATH"):
        monkeypatch.delenv(f"RAY_{name}", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def run_doctor() -> tuple[int, list[str]]:
    out = io.StringIO()
    return module.doctor(out), out.getvalue().splitlines()


def test_this_machine_passes():
    code, lines = run_doctor()
    assert code == 0, lines
    assert all(line.startswith(("ok   ", "warn ")) for line in lines)
    for part in ("python 3.", "torch ", "device ", "cores", "temporary folder", "RAY_AUTH_MODE"):
        assert any(part in line for line in lines), part


def test_only_a_failed_check_is_fatal(monkeypatch: pytest.MonkeyPatch):
    found = [Check("ok", "one"), Check("warn", "two")]
    monkeypatch.setattr(module, "CHECKS", (lambda: iter(found),))
    assert run_doctor() == (0, ["ok   one", "warn two"])
    found.append(Check("fail", "three"))
    assert run_doctor() == (1, ["ok   one", "warn two", "fail three"])
    out = io.StringIO()
    assert module.doctor(out, as_json=True) == 1
    assert json.loads(out.getvalue())[2] == {"state": "fail", "text": "three"}


def test_versions_are_held_against_the_ranges(monkeypatch: pytest.MonkeyPatch):
    needs = ["good>=2", "old>=2", "none", 'extra-one; extra == "dashboard"', 'x; extra == "dev"']
    installed = {"good": "2.1+cu128", "old": "1.9"}

    def version(name: str) -> str:
        if name not in installed:
            raise metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(metadata, "requires", lambda _: needs)
    monkeypatch.setattr(metadata, "version", version)
    assert list(check_packages())[1:] == [
        Check("ok", "good 2.1+cu128"),
        Check("fail", "old 1.9 is outside >=2; pip install 'old>=2'"),
        Check("fail", "none is not installed; pip install 'none'"),
        Check("warn", "extra-one is not installed; pip install 'extra-one'"),
    ]


def test_little_shared_memory_is_a_warning(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module.machine, "cores", lambda: 1)
    monkeypatch.setattr(module.machine, "memory", lambda: 10 * module.GIB)
    monkeypatch.setattr(Path, "is_dir", lambda _: True)
    for free, state in ((3, "ok"), (2, "warn")):
        usage = Usage(4 * module.GIB, 0, free * module.GIB)
        monkeypatch.setattr(shutil, "disk_usage", lambda _, usage=usage: usage)
        cores, shared = check_memory()
        assert cores.text == "1 cores, 10.0 GiB memory; two trials at a time want 2 cores"
        assert (shared.state, "--shm-size" in shared.text) == (state, state == "warn")


@pytest.mark.parametrize(
    ("total", "free", "state", "text"),
    [
        (100, 50, "ok", "50.0 GiB free"),
        (100, 8, "warn", "wants 10"),
        (1000, 40, "warn", "95% full"),
    ],
)
def test_little_disk_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, total: int, free: int, state: str, text: str
):
    usage = Usage(total * module.GIB, (total - free) * module.GIB, free * module.GIB)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    for found in check_disk():
        assert found.state == state
        assert text in found.text


def test_the_cluster_of_the_environment_must_answer(monkeypatch: pytest.MonkeyPatch):
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
        monkeypatch.setattr(before_ray, "_ask", lambda *_: None)
        assert [found.state for found in check_ray()] == ["ok", "ok"]
    (*_, last) = check_ray()
    assert last.state == "fail"
    assert "no Ray cluster answers" in last.text
    monkeypatch.setenv("RAY_ADDRESS", f"http://127.0.0.1:{port}")
    (*_, last) = check_ray()
    assert last.state == "fail"
    assert "ray start --head" in last.text


def test_where_the_token_comes_from_is_said_and_not_the_token(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    found = next(iter(check_ray()))
    assert found == Check("ok", "RAY_AUTH_MODE unset, token in RAY_AUTH_TOKEN")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/no/such/file")
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    assert [found.state for found in check_ray()] == ["fail"]


def test_where_ray_will_work_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / ("long" * 30)))
    (*_, last) = check_ray()
    assert last.state == "warn"
    assert "its path is too long for sockets; " in last.text
    monkeypatch.setenv("HOME", "/proc")  # can be written to by nobody
    assert [found.state for found in check_ray()][:2] == ["ok", "ok"]
