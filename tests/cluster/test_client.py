import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from cluster.client import (
    DEFAULT_ADDRESS,
    _token_header,
    cluster_url,
    connect,
    find_token,
    last_line,
    one_line_errors,
)
from orchestrator.base.errors import InputError

pytestmark = pytest.mark.usefixtures("no_ray_settings")


def test_the_option_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch):
    assert cluster_url(None) == DEFAULT_ADDRESS
    monkeypatch.setenv("RAY_ADDRESS", "http://ray:1")
    assert cluster_url(None) == "http://ray:1"
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "https://api:2/")
    assert cluster_url(None) == "https://api:2"
    assert cluster_url("http://option:3/") == "http://option:3"


@pytest.mark.parametrize("address", ["ray://head:10001", "head:8265", "auto", "http://"])
def test_an_address_that_is_not_http_is_refused(address: str):
    with pytest.raises(InputError, match=r"^--address .*give --address http://HOST:8265$"):
        cluster_url(address)


def test_a_bad_address_in_the_environment_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    with pytest.raises(InputError, match=r"^RAY_ADDRESS 10\.0\.0\.1:6379: "):
        cluster_url(None)


def test_tokens_are_looked_for_where_ray_looks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    assert find_token() is None
    home = tmp_path / "home" / ".ray" / "auth_token"
    home.parent.mkdir(parents=True)
    home.write_text("from-home\n")
    assert find_token() == ("from-home", str(home))
    (tmp_path / "token").write_text("from-path")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    assert find_token() == ("from-path", str(tmp_path / "token"))
    monkeypatch.setenv("RAY_AUTH_TOKEN", "from-variable")
    assert find_token() == ("from-variable", "RAY_AUTH_TOKEN")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert find_token() is None


def test_a_token_file_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(InputError, match=r"RAY_AUTH_TOKEN_PATH .*none: cannot be read"):
        find_token()


def test_nobody_at_the_address(free_port: int):
    with pytest.raises(InputError, match=r"no Ray cluster answers .*`ray start --head`"):
        connect(f"http://127.0.0.1:{free_port}")


class Other(BaseHTTPRequestHandler):
    """A web server that is not Ray's: the path of the URL says what it answers."""

    def do_GET(self) -> None:
        status = int(self.path.split("/")[1])
        self.send_response(status)
        self.end_headers()
        self.wfile.write(b"[]")

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def other_server() -> Iterator[str]:
    with serving(Other) as url:
        yield url


@pytest.mark.parametrize("status", [200, 404, 500])
def test_another_server_at_the_address(other_server: str, status: int):
    with pytest.raises(InputError, match="not a Ray dashboard"):
        connect(f"{other_server}/{status}")


def test_a_token_is_asked_for(other_server: str, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(InputError, match="there is none here; set RAY_AUTH_TOKEN"):
        connect(f"{other_server}/401")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with pytest.raises(InputError, match="RAY_AUTH_MODE=disabled is set here; unset it"):
        connect(f"{other_server}/401")


def test_the_last_line_of_a_servers_traceback():
    text = "Request failed with status code 500: Traceback …\n  File x\nValueError: the reason\n"
    assert last_line(RuntimeError(text)) == "ValueError: the reason"
    assert last_line(ConnectionError()) == "ConnectionError"


def test_a_proxy_that_was_asked_instead_is_named(
    monkeypatch: pytest.MonkeyPatch, free_port: int
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", f"http://me:secret@127.0.0.1:{free_port}")
    with pytest.raises(InputError) as caught:
        connect("http://head.example:8265")
    said = "asked through the proxy that HTTP_PROXY names (add head.example to no_proxy"
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(InputError) as caught:
        connect(f"http://127.0.0.1:{free_port}")
    assert "proxy" not in str(caught.value)


class Redirecting(BaseHTTPRequestHandler):
    """Sends on to `elsewhere` what it is asked; all but the version, where it is `late`."""

    elsewhere, late = "", False

    def do_GET(self) -> None:
        if self.late and self.path == "/api/version":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"ray_version": "2.60.0"}')
            return
        self.send_response(307)
        self.send_header("Location", self.elsewhere + self.path)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class Listening(Other):
    """Keeps what it was sent."""

    heard: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.heard.append(str(self.headers))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"[]")


@pytest.mark.parametrize("late", [False, True])
def test_a_token_follows_no_redirect(monkeypatch: pytest.MonkeyPatch, *, late: bool):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "a-secret")
    monkeypatch.setattr(Listening, "heard", [])
    monkeypatch.setattr(Redirecting, "late", late)
    with serving(Listening) as elsewhere, serving(Redirecting) as url:
        monkeypatch.setattr(Redirecting, "elsewhere", elsewhere.replace("127.0.0.1", "localhost"))
        if late:
            client = connect(url)
            with pytest.raises(InputError, match="307"), one_line_errors(client):
                client.list_jobs()
        else:
            with pytest.raises(InputError, match=r"redirects to http://localhost:\d+/api/version"):
                connect(url)
    assert Listening.heard == []


def test_a_token_goes_over_plain_http_only_where_it_was_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    asked: list[str] = []
    monkeypatch.setattr("cluster.client._check_answer", lambda url, _: asked.append(url))
    url = "http://head.example:8265"
    assert _token_header(url) == {}  # without a token there is nothing to read
    monkeypatch.setenv("RAY_AUTH_TOKEN", "a-secret")
    with pytest.raises(InputError) as caught:
        connect(url)
    said = str(caught.value)
    assert said.startswith(f"{url}: the token of RAY_AUTH_TOKEN could be read on its way")
    assert "FAIRFRONT_PLAIN_HTTP=head.example where the network is trusted" in said
    assert "a-secret" not in said
    assert asked == []
    for allowed in (url, "https://head.example", "http://[::1]:8265", "http://localhost:8265"):
        monkeypatch.setenv("FAIRFRONT_PLAIN_HTTP", "other, head.example" if allowed == url else "")
        assert _token_header(allowed) == {"Authorization": "Bearer a-secret"}
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with pytest.raises(InputError, match="could be read on its way to localhost"):
        _token_header("http://localhost:8265")
