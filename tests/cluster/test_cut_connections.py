"""A job on a real head whose connections are cut, and which says what it was told."""

import ast
import io
import re
import socket
import subprocess
import threading
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from waiting import HANGS, wait_until

from cluster.jobs import Options, submit
from cluster.package import source_tree
from cluster.submission import VARIABLE, Resources, keep_submission, last_submission
from orchestrator.base.errors import InputError

# Raised inside Ray's client.
pytestmark = pytest.mark.filterwarnings("ignore:ssl=None is deprecated:DeprecationWarning")


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
