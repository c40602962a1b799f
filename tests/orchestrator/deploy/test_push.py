"""An exported folder goes to a hub whole, and only if asked; the hub is a server on loopback."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub.constants
import huggingface_hub.hf_api
import pytest

from orchestrator.cli import main
from orchestrator.run.directory import Run


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's API as one commit of small files takes."""

    made: list[dict[str, object]]
    files: dict[str, bytes]
    here: str
    refuses = False

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.refuses:
            self._answer(401, {"error": "Invalid username or password."})
        elif self.path == "/api/repos/create":
            self.made.append(json.loads(body))
            self._answer(200, {"url": f"{self.here}/me/net"})
        elif "/preupload/" in self.path:
            asked = json.loads(body)["files"]
            told = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in asked
            ]
            self._answer(200, {"files": told})
        elif "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self._answer(200, {"commitUrl": f"{self.here}/me/net/commit/1", "commitOid": "1"})
        else:
            self._answer(200, {})

    def do_GET(self) -> None:
        self._answer(404, {"error": "not found"})

    def do_HEAD(self) -> None:
        self._answer(404, {})

    def _answer(self, code: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_words: object) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    Hub.made, Hub.files = [], {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Hub.here = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", Hub.here)
    monkeypatch.setenv("HF_TOKEN", "hf_of_a_test")
    yield Hub
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def shipped(trained: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("push") / "shipped"
    words = ["--run", str(trained.path), "--out", str(out), "--format", "safetensors"]
    assert main(["export", *words]) == 0
    return out


def test_nothing_is_sent_unless_asked(shipped: Path, hub: type[Hub], capsys) -> None:
    assert main(["push", str(shipped), "--to", "hf://me/net"]) == 0
    said = capsys.readouterr().out
    assert "of trial t000: nothing was sent; --send sends them to hf://me/net" in said
    assert all(path.name in said for path in shipped.iterdir())
    assert not hub.made
    assert not hub.files


def test_what_is_asked_for_is_sent_whole(shipped: Path, hub: type[Hub], capsys) -> None:
    assert main(["push", str(shipped), "--to", "hf://me/net", "--send", "--private"]) == 0
    assert hub.files == {path.name: path.read_bytes() for path in shipped.iterdir()}
    (made,) = hub.made
    assert made["name"] == "net"
    assert made.get("private") or made.get("visibility") == "private"
    assert f"{hub.here}/me/net/commit/1" in capsys.readouterr().out


def test_a_refusal_of_the_hub_is_one_line(
    shipped: Path, hub: type[Hub], monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr(hub, "refuses", True)
    assert main(["push", str(shipped), "--to", "hf://me/net", "--send"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("fairfront: --to hf://me/net: ")
    assert said.count("\n") == 1
    assert "hf_of_a_test" not in said
    assert not hub.files


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("me/net", "give hf://USER/NAME"),
        ("hf://net", "give hf://USER/NAME"),
        ("hf://me/n e t", "--to hf://me/n e t: "),
    ],
)
def test_a_wrong_target_is_one_line(shipped: Path, target: str, said: str, capsys) -> None:
    assert main(["push", str(shipped), "--to", target]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_only_what_export_wrote_is_sent(shipped: Path, tmp_path: Path, capsys) -> None:
    assert main(["push", str(tmp_path), "--to", "hf://me/net"]) == 2
    assert "not a folder of fairfront export" in capsys.readouterr().err
    (shipped / "face.jpg").touch()
    try:
        assert main(["push", str(shipped), "--to", "hf://me/net"]) == 2
    finally:
        (shipped / "face.jpg").unlink()
    assert "face.jpg: export did not write this" in capsys.readouterr().err
