"""A Ray head of the tests' own, started as a user starts one."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from waiting import HANGS

from cluster.client import connect
from orchestrator.base.errors import InputError

TOKEN = "0123456789abcdef" * 4
RAY_VARIABLES = (
    "RAY_ADDRESS",
    "RAY_API_SERVER_ADDRESS",
    "RAY_AUTH_MODE",
    "RAY_AUTH_TOKEN",
    "RAY_AUTH_TOKEN_PATH",
)


# What the job's tree holds instead of fairfront: it reports what reached it, and obeys --out.
PROGRAM = """
import os, signal, sys, time
from pathlib import Path
print("arguments", sys.argv[1:])
print("folder", sorted(path.name for path in Path.cwd().iterdir()))
print("python", sys.executable)
def keep(*_):
    time.sleep(4)  # longer than Ray's own patience with a job that it stops
    sys.exit("kept what was finished")
if "/count" in sys.argv:
    folder = Path(os.environ["FOLDER"])
    for number in range(6):
        while number > 2 and not (folder / "go on").exists():
            time.sleep(0.05)
        print("number", number, flush=True)
    (folder / "env").write_text(str(dict(os.environ)))
    (folder / "diff").write_bytes(Path("fairfront-uncommitted.diff").read_bytes())
    sys.exit(5)
if "/sleep" in sys.argv:
    signal.signal(signal.SIGTERM, keep)
    print("sleeping", flush=True)
    time.sleep(600)
import ray
ray.init(runtime_env={"env_vars": {"MALLOC_TOP_PAD_": "1"}})
print("nodes", len(ray.nodes()), "cpus", ray.cluster_resources()["CPU"])
sys.exit(3)
"""


def free_ports(count: int) -> list[int]:
    with ExitStack() as sockets:
        held = [sockets.enter_context(socket.socket()) for _ in range(count)]
        for each in held:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in held]


@pytest.fixture
def free_port() -> int:
    """A port on which nobody listens."""
    return free_ports(1)[0]


@pytest.fixture
def no_ray_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither variables nor a home folder that say something of a cluster."""
    for name in (*RAY_VARIABLES, "FAIRFRONT_PYTHON"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture(scope="session")
def running_head() -> Iterator[str]:
    """A head with one CPU and a token, on free ports, in a temporary folder of its own.

    It is ended by its process id: `ray stop` would end every cluster of the machine.
    """
    dashboard, *others = free_ports(6)
    # Sockets live under it and their paths are limited to 107 bytes, so pytest's are too long.
    folder = Path(tempfile.mkdtemp(prefix="ff", dir="/tmp"))
    names = (
        "--dashboard-agent-listen-port",
        "--dashboard-agent-grpc-port",
        "--runtime-env-agent-port",
        "--ray-client-server-port",
        "--metrics-export-port",
    )
    ports = [f"{name}={port}" for name, port in zip(names, others, strict=True)]
    environment = {k: v for k, v in os.environ.items() if k not in RAY_VARIABLES}
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN, "OMP_NUM_THREADS": "1"}
    environment["RAY_worker_niceness"] = "0"  # beside the other tests
    log = folder / "start.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"),
                *("--port=0", "--min-worker-port=0", "--max-worker-port=0", "--num-cpus=1"),
                *(f"--dashboard-port={dashboard}", *ports, f"--temp-dir={folder}"),
                *("--object-store-memory=100000000", "--disable-usage-stats"),
            ],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        url = f"http://127.0.0.1:{dashboard}"
        wait_for(url, process, log)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(timeout=HANGS)  # it drains its node and then ends its other processes
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            shutil.rmtree(folder, ignore_errors=True)


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + HANGS
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_TOKEN", TOKEN)
        while True:
            try:
                connect(url)
                return
            except InputError as error:
                if process.poll() is not None or time.monotonic() > deadline:
                    pytest.fail(f"no head: {error}\n{log.read_text()}")
                time.sleep(0.5)


@pytest.fixture
def head(
    running_head: str,
    monkeypatch: pytest.MonkeyPatch,
    no_ray_settings: None,  # noqa: ARG001
) -> str:
    """The URL of the head; its token is in the environment."""
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    return running_head


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small source tree, which is also the current folder."""
    root = tmp_path / "tree"
    (root / "orchestrator").mkdir(parents=True)
    (root / "pyproject.toml").touch()
    (root / "orchestrator" / "__init__.py").touch()
    (root / "orchestrator" / "__main__.py").write_text(PROGRAM)
    (root / "sweep.yaml").touch()
    monkeypatch.chdir(root)
    return root
