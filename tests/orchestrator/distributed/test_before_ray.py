"""What keeps Ray from starting, or a cluster from being joined: found at once, in one line."""

import os
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from orchestrator.base.errors import InputError
from orchestrator.distributed import before_ray
from orchestrator.distributed.before_ray import (
    check_address,
    give_token,
    temporary_parent,
    why_unusable,
)


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, "")  # so that what is set meanwhile is undone
        monkeypatch.delenv(name)
    for name in ("RAY_TMPDIR", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def test_a_folder_of_another_or_with_a_long_path_is_left_for_one_of_our_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(before_ray, "LONGEST_SOCKET", len(str(tmp_path)) + 110)
    good = tmp_path / "good"
    good.mkdir()
    monkeypatch.setenv("TMPDIR", str(good))
    assert temporary_parent() == good
    (good / "ray").write_text("a file where Ray wants a folder")
    assert why_unusable(good / "ray") == "Not a directory"
    own = good / f"fairfront-{os.geteuid()}"
    assert temporary_parent() == own
    assert own.stat().st_mode & 0o777 == 0o700
    own.chmod(0o755)  # somebody else's, for all one knows
    assert temporary_parent().parent in map(Path, ("/tmp", "/var/tmp", "/dev/shm"))
    assert why_unusable(tmp_path / ("long" * 30)) == "its path is too long for sockets"
    assert why_unusable(Path("/proc/ray")) is not None  # not even root can write there


def test_no_folder_at_all_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(before_ray, "why_unusable", lambda _: "Read-only file system")
    monkeypatch.setenv("TMPDIR", "/scratch")
    with pytest.raises(InputError, match=r"^/scratch: no folder for Ray there \(Read-only"):
        temporary_parent()


def test_a_session_of_our_own_has_a_token_that_is_written_nowhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    give_token()
    assert "RAY_AUTH_TOKEN" not in os.environ
    monkeypatch.delenv("RAY_AUTH_MODE")
    give_token()
    token = os.environ["RAY_AUTH_TOKEN"]
    give_token()
    assert os.environ["RAY_AUTH_TOKEN"] == token  # of the next session, too
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("http://head:8265", "is a dashboard's"),
        ("head", "not HOST:PORT"),
        ("head:port", "not HOST:PORT"),
        ("127.0.0.1:{free}", "no Ray cluster answers (Connection refused); unset RAY_ADDRESS"),
        ("ray://127.0.0.1:{free}", "no Ray cluster answers (Connection refused)"),
        ("no.such.host.invalid:6379", "no Ray cluster answers"),
    ],
)
def test_an_address_where_nobody_is_is_one_line(address: str, says: str) -> None:
    with socket.socket() as unused:  # bound, but it does not listen
        unused.bind(("127.0.0.1", 0))
        address = address.format(free=unused.getsockname()[1])
        with pytest.raises(InputError) as caught:
            check_address(address)
    assert str(caught.value).startswith(f"RAY_ADDRESS {address}")
    assert says in str(caught.value)


def test_what_is_no_head_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(before_ray, "PROBE_SECONDS", 0.5)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(InputError, match="what answers there is no head"):
            check_address(f"127.0.0.1:{silent.getsockname()[1]}")


def test_a_head_that_asks_for_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(_request: bytes, context: grpc.ServicerContext) -> bytes:
        if ("authorization", "Bearer right") not in context.invocation_metadata():
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "a token is missing")
        return b""

    service, method = before_ray.ALIVE.strip("/").split("/")
    handler = grpc.unary_unary_rpc_method_handler(answer)
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(service, {method: handler})]
    )
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        with pytest.raises(InputError, match="asks for a token and there is none here; set RAY_"):
            check_address(address)
        monkeypatch.setenv("RAY_AUTH_MODE", "token")
        with pytest.raises(InputError, match="RAY_AUTH_MODE=token: there is no token here"):
            check_address(address)
        monkeypatch.delenv("RAY_AUTH_MODE")
        monkeypatch.setenv("RAY_AUTH_TOKEN", "wrong")
        with pytest.raises(InputError, match="refuses the token of RAY_AUTH_TOKEN"):
            check_address(address)
        assert "RAY_AUTH_MODE" not in os.environ
        monkeypatch.setenv("RAY_AUTH_TOKEN", "right")
        check_address(address)
        assert os.environ["RAY_AUTH_MODE"] == "token"
        monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
        with pytest.raises(InputError, match="RAY_AUTH_MODE=disabled is set here"):
            check_address(address)
    finally:
        server.stop(None)
