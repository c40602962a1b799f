"""Who asked for it is told that a sweep has ended, and learns no more than that."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from fakes import SWEEP, make_run

from orchestrator.base.errors import InputError
from orchestrator.cli.webhook import VARIABLE, ending, telling, webhook_of
from orchestrator.run import progress


@pytest.fixture
def server():
    """A server that answers as its `answer` says, and keeps what it was sent."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.server.sent.append((self.path, self.headers["Content-Type"], json.loads(body)))
            self.send_response(self.server.answer)
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        def do_GET(self):
            self.do_POST()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as listening:
        listening.sent, listening.answer = [], 204
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield listening
        listening.shutdown()
        thread.join()


@pytest.fixture
def run(tmp_path):
    made = make_run(tmp_path / "run", SWEEP[:4], rows=50)
    begun = progress.begin(made, "sweep", 4, 10, 0.0)
    text = begun.model_copy(update={"state": "finished"}).model_dump_json()
    (made.path / "progress.json").write_text(text)
    return made


def test_the_end_of_a_run_is_told(server, run, capfd):
    url = f"http://127.0.0.1:{server.server_port}/hook?token=s3cret"
    with telling(url, run):
        assert server.sent == []
    ((path, kind, told),) = server.sent
    assert (path, kind) == ("/hook?token=s3cret", "application/json")
    assert told == ending(run)
    assert told["run"] == str(run.path)
    assert told["state"] == "finished"
    assert told["trials"] == {"complete": 3, "pruned": 0, "failed": 1}
    assert told["best"]["trial_id"] == progress.read(run).best.trial_id
    assert set(told["best"]) == {"trial_id", "fair", "acc_women", "acc_men", "gap"}
    with pytest.raises(ValueError, match="ours"), telling(url, run):
        raise ValueError("ours")
    assert server.sent[-1][2]["state"] == "failed"
    with pytest.raises(KeyboardInterrupt), telling(url, run):
        raise KeyboardInterrupt
    assert len(server.sent) == 3
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("answer", [302, 404, 500])
def test_who_cannot_be_told_is_named_without_secrets(server, run, answer, capfd):
    server.answer = answer
    url = f"http://127.0.0.1:{server.server_port}/s3cret?token=s3cret"
    with telling(url, run):
        pass
    said = capfd.readouterr().err
    assert said.startswith(
        f"fairfront: --webhook http://127.0.0.1:{server.server_port} was not told: "
    )
    assert str(answer) in said
    assert said.count("\n") == 1
    assert "s3cret" not in said
    assert len(server.sent) == 1  # it is not sent elsewhere


def test_a_url_that_would_be_read_on_the_way_is_refused(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert webhook_of(None) is None
    for good in ("https://host/x?y=z", "http://127.0.0.1:9/x", "http://[::1]/", "http://localhost"):
        assert webhook_of(good) == good
    monkeypatch.setenv(VARIABLE, "https://host/from-environment")
    assert webhook_of(None) == "https://host/from-environment"
    for bad, shown in (
        ("http://me:s3cret@host/s3cret?s3cret", "http://host"),
        ("https:///s3cret", "https://"),
        ("ftp://host/s3cret", "ftp://host"),
        ("s3cret", "URL"),
    ):
        with pytest.raises(InputError, match="give an https:// URL") as caught:
            webhook_of(bad)
        assert str(caught.value).startswith(f"--webhook {shown}")
        assert "s3cret" not in str(caught.value)
