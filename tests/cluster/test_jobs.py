import ast
import io
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from waiting import HANGS, wait_until

from cluster.jobs import Options, jobs, logs, stop, submit
from cluster.package import source_tree
from cluster.submission import VARIABLE, Resources, keep_submission, last_submission
from orchestrator.base.errors import InputError
from orchestrator.cli.doctor import check_ray

# Raised inside Ray's client.
pytestmark = [
    pytest.mark.filterwarnings("ignore:ssl=None is deprecated:DeprecationWarning"),
]

REPOSITORY = Path(__file__).parents[2]

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


@pytest.mark.usefixtures("tree")
def test_an_unreachable_cluster_is_an_input_error():
    with pytest.raises(InputError, match="no Ray cluster answers"):
        submit(
            ["report", "/run"],
            source_tree(Path.cwd()),
            address="http://127.0.0.1:1",
            wait=True,
            out=io.StringIO(),
        )


class Proxy:
    """Stands between a client and a head, and can cut every connection through it."""

    def __init__(self, head: str) -> None:
        url = urlsplit(head)
        self._head = (str(url.hostname), int(url.port or 0))
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                head = socket.create_connection(self._head)
                self._sockets += [client, head]
                for one, other in ((client, head), (head, client)):
                    threading.Thread(target=self._pass_on, args=(one, other), daemon=True).start()

    def _pass_on(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while content := one.recv(65536):
                other.sendall(content)
        for each in (one, other):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        """End the connections that there are."""
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._sockets.clear()

    def close(self) -> None:
        self._listener.close()
        self.cut()


@pytest.fixture
def proxy(head: str) -> Iterator[Proxy]:
    """A way to the head that can be cut."""
    proxy = Proxy(head)
    yield proxy
    proxy.close()


@pytest.mark.ray
def test_a_log_goes_on_after_a_cut_and_a_job_knows_what_it_is(
    proxy: Proxy, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("cluster.following.RETRY_SECONDS", 0.1)
    subprocess.run(["git", "init", "--quiet", str(tree)], check=True)
    own = ["git", "-C", str(tree), "-c", "user.name=T", "-c", "user.email=t@example.org"]
    subprocess.run([*own, "commit", "--quiet", "--allow-empty", "-m", "first"], check=True)
    options = Options(
        variables={"FOLDER": str(tmp_path), "MY_TOKEN": "hidden"},
        name=f"counting-{uuid.uuid4().hex[:8]}",
        metadata={"who": "me"},
        resources=Resources(memory=2**20),
    )
    out, codes = io.StringIO(), []
    words = {"address": proxy.url, "wait": True, "out": out, "options": options}
    follower = threading.Thread(
        target=lambda: codes.append(submit(["report", "/count"], source_tree(tree), **words))
    )
    follower.start()
    wait_until(lambda: "number 2" in out.getvalue() or not follower.is_alive())
    proxy.cut()
    (tmp_path / "go on").touch()
    follower.join(HANGS)
    assert codes == [5], out.getvalue()
    numbers = re.findall(r"^number (\d)$", out.getvalue(), re.MULTILINE)
    assert numbers == list("012345")
    assert out.getvalue().startswith(f"job {options.name} submitted to {proxy.url}")
    assert out.getvalue().endswith(f"job {options.name} FAILED with exit code 5\n")
    assert "hidden" not in out.getvalue()

    environment = ast.literal_eval((tmp_path / "env").read_text())
    assert environment["MY_TOKEN"] == "hidden"
    monkeypatch.setenv(VARIABLE, environment[VARIABLE])
    about = "RAY_JOB_CONFIG_JSON_ENV_VAR"
    monkeypatch.setenv(about, environment[about])
    (tmp_path / "run").mkdir()
    keep_submission(tmp_path / "run")
    assert "hidden" not in (tmp_path / "run" / "submitted.json").read_text()
    kept = last_submission(str(tmp_path / "run"))
    assert (kept.job, kept.command) == (options.name, ["report", "/count"])
    assert (kept.variables, kept.secrets) == ({"FOLDER": str(tmp_path)}, ["MY_TOKEN"])
    assert (kept.metadata, kept.resources) == ({"who": "me"}, options.resources)
    assert "b/orchestrator/__main__.py" in (tmp_path / "diff").read_text()
    with pytest.raises(InputError, match=rf"^--name {options.name}: a job of this cluster has it"):
        submit(["report", "/count"], source_tree(tree), **words)


def submitted(head: str, *arguments: str) -> tuple[int, str]:
    out = io.StringIO()
    code = submit(arguments, source_tree(Path.cwd()), address=head, wait=True, out=out)
    return code, out.getvalue()


@pytest.mark.ray
def test_a_jobs_log_and_exit_code_come_back(head: str, tree: Path):
    (tree / "data").mkdir()
    (tree / "data" / "meta.json").touch()
    (tree / "data" / "train").mkdir()
    code, log = submitted(head, "report", "/a $HOME")
    assert code == 3
    assert "arguments ['report', '/a $HOME']" in log
    assert "folder ['orchestrator', 'pyproject.toml', 'sweep.yaml']" in log  # no data
    assert f"python {sys.executable}" in log
    assert "nodes 1 cpus 1.0" in log  # it joined the cluster that it runs on
    assert re.search(r"job raysubmit_\w+ FAILED with exit code 3$", log.strip())


@pytest.mark.ray
def test_the_real_program_runs_as_a_job(head: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(REPOSITORY)
    code, log = submitted(head, "report", "/no/such/run")
    assert code == 2, log
    assert "fairfront: /no/such/run: no run here" in log


@pytest.mark.ray
@pytest.mark.usefixtures("tree")
def test_a_job_is_listed_followed_and_stopped(head: str):
    out = io.StringIO()
    assert (
        submit(["report", "/sleep"], source_tree(Path.cwd()), address=head, wait=False, out=out)
        == 0
    )
    found = re.search(r"fairfront stop (raysubmit_\w+) --address", out.getvalue())
    assert found
    job = found[1]

    followed = io.StringIO()
    codes: list[int] = []
    follower = threading.Thread(
        target=lambda: codes.append(logs(job, head, follow=True, out=followed))
    )
    follower.start()
    while "sleeping" not in followed.getvalue():
        assert follower.is_alive(), followed.getvalue()
        follower.join(0.1)

    listed, log, stopped = io.StringIO(), io.StringIO(), io.StringIO()
    assert jobs(head, listed) == 0
    assert re.search(rf"{job}  RUNNING +\d{{4}}-.* report /sleep\n", listed.getvalue())
    assert logs(job, head, follow=False, out=log) == 0
    assert "arguments ['report', '/sleep']" in log.getvalue()
    assert stop(job, head, stopped) == 0
    assert stopped.getvalue() == f"job {job}: stopping\n"
    follower.join()
    assert codes == [1]
    assert "kept what was finished" in followed.getvalue()
    assert f"job {job} STOPPED" in followed.getvalue()
    assert stop(job, head, stopped) == 0
    assert "had ended before (STOPPED)" in stopped.getvalue()


@pytest.mark.ray
@pytest.mark.usefixtures("tree")
def test_ctrl_c_leaves_the_job_running(head: str):
    code = "import pathlib, sys; from cluster import jobs, package; "
    code += "tree = package.source_tree(pathlib.Path.cwd()); "
    code += f"words = {{'address': {head!r}, 'wait': True, 'out': sys.stdout}}; "
    code += "sys.exit(jobs.submit(['report', '/sleep'], tree, **words))"
    waiting = subprocess.Popen(
        [sys.executable, "-P", "-c", code],  # the tree holds another orchestrator
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert waiting.stdout
    lines = iter(waiting.stdout.readline, "")
    assert any(line == "sleeping\n" for line in lines)
    waiting.send_signal(signal.SIGINT)
    rest, complaints = waiting.communicate(timeout=HANGS)
    assert waiting.returncode == 130
    assert "Traceback" not in complaints
    found = re.search(r"the job goes on. Log: fairfront logs (\w+) --follow --address", rest)
    assert found, rest
    stopped = io.StringIO()
    stop(found[1], head, stopped)
    assert "stopping" in stopped.getvalue()


@pytest.mark.ray
def test_an_unknown_job_is_named(head: str):
    for call in (
        lambda: logs("raysubmit_none", head, follow=False, out=io.StringIO()),
        lambda: logs("raysubmit_none", head, follow=True, out=io.StringIO()),
        lambda: stop("raysubmit_none", head, io.StringIO()),
    ):
        with pytest.raises(InputError, match=r"^raysubmit_none: no such job at http://"):
            call()


@pytest.mark.ray
def test_a_wrong_or_missing_token_is_one_line(head: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "wrong" * 8)
    with pytest.raises(InputError, match="refuses the token of RAY_AUTH_TOKEN; set"):
        jobs(head, io.StringIO())
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    with pytest.raises(InputError, match="asks for a token and there is none here; set"):
        jobs(head, io.StringIO())


@pytest.mark.ray
def test_doctor_says_that_only_submit_reaches_a_cluster_over_http(
    head: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("RAY_ADDRESS", head)
    (*_, last) = check_ray()
    assert last.state == "warn"
    assert "only submit can use it; RAY_API_SERVER_ADDRESS" in last.text
