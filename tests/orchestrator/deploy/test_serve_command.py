"""`fairfront serve` as a command, its sockets, and what runs its network."""

import asyncio
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from scipy.special import expit
from serving import listening, picture, server
from starlette.testclient import TestClient
from waiting import HANGS

import models
from models.config import ModelConfig
from orchestrator.base.errors import InputError
from orchestrator.cli import main
from orchestrator.cli import serve as command
from orchestrator.deploy.serve import onnx_engine
from orchestrator.deploy.serve import server as module
from orchestrator.deploy.serve.answers import Served
from orchestrator.deploy.serve.app import Server
from orchestrator.deploy.serve.onnx_engine import OnnxEngine
from orchestrator.deploy.serve.uploads import Limits
from orchestrator.run.directory import Run
from orchestrator.training.labeller import Network

REPOSITORY = Path(__file__).parents[3]
MODEL = "trials/t000/model.safetensors"
PARALLEL = 200
WITHOUT_RAY = """
import sys
sys.modules["ray"] = None
from orchestrator.cli import main
sys.exit(main(sys.argv[1:]))
"""


class Here:
    """A trial's network, as `predict` has it."""

    places = 1

    def __init__(self, model: Path) -> None:
        self._network = Network(model)

    async def logits(self, images: np.ndarray) -> np.ndarray:
        return self._network.logits(images)


def test_its_answers_are_the_trials_own_predictions(trained: Run) -> None:
    images = Path(trained.data["path"]) / "faces"
    rows = trained.trial("t000").predictions.head(5)
    app = Server(Served("runs/1", "t000", 24, 0.4), Here(trained.path / MODEL), Limits()).app
    files = [("image", (name, (images / name).read_bytes())) for name in rows["filename"]]
    answer = TestClient(app).post("/predict", files=files).json()
    assert (answer["run"], answer["trial"]) == ("runs/1", "t000")
    for told, filename, logit in zip(
        answer["predictions"], rows["filename"], rows["logit"], strict=True
    ):
        assert told["filename"] == filename
        assert told["probability"] == pytest.approx(expit(logit), abs=1e-5)
        assert told["threshold"] == 0.4
        assert told["class"] == (told["probability"] > 0.4)
        assert told["label"] == 2 * told["class"] - 1


def test_bare_answers_on_a_socket_without_ray_until_a_signal(together: Run) -> None:
    """With what the run recommends, an ensemble."""
    rows = together.trial("t000-ensemble").predictions.query("split == 'test'").head(3)
    images = Path(together.data["path"]) / "faces"
    files = [("image", (name, (images / name).read_bytes())) for name in rows["filename"]]
    process = subprocess.Popen(
        [sys.executable, "-c", WITHOUT_RAY, "serve", str(together.path), "--bare", "--port", "0"],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        told = process.stdout.readline()
        url = re.search(
            r"trial t000-ensemble of \S+: (http://127\.0\.0\.1:\d+/) \(Ctrl-C ends it\)", told
        )
        assert url is not None, told + process.communicate(timeout=HANGS)[1]
        answer = httpx2.post(f"{url[1]}predict", files=files, timeout=HANGS).json()
        probabilities = [one["probability"] for one in answer["predictions"]]
        np.testing.assert_allclose(probabilities, expit(rows["logit"]), atol=1e-4)
        statuses = asyncio.run(ask_together(url[1], files))
        assert len(statuses) == PARALLEL
        assert {*statuses} <= {200, 429}
        assert 200 in statuses
        assert httpx2.get(f"{url[1]}health", timeout=HANGS).json()["status"] == "ok"
        process.send_signal(signal.SIGTERM)
        out, errors = process.communicate(timeout=HANGS)
        assert (process.returncode, out, errors) == (0, "", "")
    finally:
        process.kill()
        process.communicate()


async def ask_together(url: str, files: Any) -> list[int]:
    limits = httpx2.Limits(max_connections=PARALLEL)
    async with httpx2.AsyncClient(limits=limits, timeout=HANGS) as http:
        asked = [http.post(f"{url}predict", files=files) for _ in range(PARALLEL)]
        return [answer.status_code for answer in await asyncio.gather(*asked)]


def test_onnx_that_is_another_network_is_refused(
    trained: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    to_onnx = onnx_engine._to_onnx

    def other(_network: Any, size: int) -> bytes:
        return to_onnx(models.build(ModelConfig(depth=1, width=2, hidden=2), size).eval(), size)

    monkeypatch.setattr(onnx_engine, "_to_onnx", other)
    with pytest.raises(InputError, match=r"differ by up to .* serve it without --bare"):
        OnnxEngine(trained.path / MODEL)

    def failing(_network: Any, _size: int) -> bytes:
        raise RuntimeError("no such\noperator")

    monkeypatch.setattr(onnx_engine, "_to_onnx", failing)
    with pytest.raises(InputError, match=r"cannot be had in ONNX \(no such operator\)"):
        OnnxEngine(trained.path / MODEL)


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Ray Serve's own fields
def test_replicas_give_predicts_logits(trained: Run) -> None:
    import ray
    from ray import serve

    from orchestrator.distributed.serve import replicas_of

    images = np.random.default_rng(0).integers(0, 256, (7, 24, 24, 3), np.uint8)
    expected = Network(trained.path / MODEL).logits(images)

    async def ask(engine: Any) -> list[Any]:
        parts = np.array_split(images, 4)
        return await asyncio.gather(*(engine.logits(part) for part in parts))

    many = replicas_of(trained.path / MODEL, 3)
    with pytest.raises(InputError, match="--replicas 3: each takes a CPU, and there are 2"), many:
        pass
    with replicas_of(trained.path / MODEL, 1) as engine:
        found = np.concatenate(asyncio.run(ask(engine)))
        assert engine.places == 4
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert serve.status().applications == {}
    assert ray.is_initialized()


def test_a_connection_without_a_whole_request_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEAD_SECONDS", 0.2)

    async def go() -> None:
        async with listening(server().app) as port:
            silent, slow = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
            slow[1].write(b"POST /predict HTTP/1.1\r\nHost: x\r\n")
            assert await silent[0].read() == b""
            assert await slow[0].read() == b""
            async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
                for _ in range(3):  # on one connection, which is kept
                    answer = await http.post("/predict", files=[("image", picture(0))])
                    assert answer.status_code == 200

    asyncio.run(go())


def test_a_head_without_an_end_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEAD_SECONDS", HANGS)

    async def go() -> None:
        async with listening(server().app) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nHost: ")
            with suppress(ConnectionError):  # by then it is closed, with the answer or without
                while not reader.at_eof():
                    writer.write(b"x" * 4096)
                    await writer.drain()
                    await asyncio.sleep(0)
            assert writer.is_closing() or reader.at_eof()

    asyncio.run(go())


def test_a_body_that_is_too_large_is_refused_before_it_comes() -> None:
    async def go() -> None:
        async with listening(server(limits=Limits(megabytes=1)).app) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            head = b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 100000000"
            writer.write(b"POST /predict HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n\r\n--b")
            assert (await reader.readline()).startswith(b"HTTP/1.1 413 ")

    asyncio.run(go())


def test_a_client_that_goes_leaves_its_place() -> None:
    async def go() -> None:
        made = server(limits=Limits(at_a_time=1))
        async with listening(made.app) as port:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            head = b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 1000"
            writer.write(b"POST /predict HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n\r\n--b")
            async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
                while "fairfront_in_flight 1.0" not in (await http.get("/metrics")).text:
                    pass
                writer.close()
                while "fairfront_in_flight 1.0" in (await http.get("/metrics")).text:
                    pass
                answer = await http.post("/predict", files=[("image", picture(0))])
                assert answer.status_code == 200

    asyncio.run(go())


@pytest.fixture
def complaint(trained: Run, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What `serve` says of wrong words, in one line."""

    def refused(*words: str, run: str | None = None) -> str:
        assert main(["serve", run or str(trained.path), "--bare", *words]) == 2
        said = capsys.readouterr()
        assert (said.out, said.err.count("\n")) == ("", 1)
        return said.err

    return refused


def test_wrong_words_are_one_line(
    complaint: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "nowhere: no run here" in complaint(run="nowhere")
    assert "--trial t9: not a complete trial of this run; there is t000" in complaint(
        "--trial", "t9"
    )
    assert "--replicas: are Ray's" in complaint("--replicas", "2")
    assert "--max-mb: 0: give a number above 0" in complaint("--max-mb", "0")
    assert "--timeout: x: give a number above 0" in complaint("--timeout", "x")
    assert "--threshold: 2: give fixed, shared, by-gender or" in complaint("--threshold", "2")
    token = tmp_path / "token"
    assert f"--token-file {token}: no such file" in complaint("--token-file", str(token))
    token.write_text(" \n")
    assert "holds no token" in complaint("--token-file", str(token))
    token.write_bytes(b"\xff")
    assert "is no ASCII text" in complaint("--token-file", str(token))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"--port {port}: Address already in use" in complaint("--port", port)
    assert "--port 70000: " in complaint("--port", "70000")
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda _name: None)
    assert "pip install 'fairfront[serve]'" in complaint()


def test_a_trial_without_weights_is_one_line(
    complaint: Callable[..., str], trained: Run, tmp_path: Path
) -> None:
    run = shutil.copytree(trained.path, tmp_path / "run")
    (run / MODEL).unlink()
    assert "model.safetensors: no model here; choose" in complaint(run=str(run))


def test_beyond_this_machine_one_is_warned(capsys: pytest.CaptureFixture[str]) -> None:
    for host in ("127.0.0.1", "localhost", "::1"):
        command._warn(host, None)
    assert capsys.readouterr().err == ""
    command._warn("0.0.0.0", None)
    assert "anybody who reaches it can ask; set FAIRFRONT_SERVE_TOKEN" in capsys.readouterr().err
    command._warn("::", "word")
    assert "the token is sent unencrypted; put a proxy with TLS" in capsys.readouterr().err


def test_a_token_comes_from_a_file_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAIRFRONT_SERVE_TOKEN", "of-the-environment")
    (tmp_path / "token").write_text("of-a-file\n")
    assert command._token(None) == "of-the-environment"
    assert command._token(str(tmp_path / "token")) == "of-a-file"
    monkeypatch.delenv("FAIRFRONT_SERVE_TOKEN")
    assert command._token(None) is None
