"""S3: faults that pass are waited for, others are one line, and no key is in any."""

import os
import socket
import subprocess
import threading

import pytest
from namespaces import why_impossible
from s3_server import KEY, SECRET, S3Server
from waiting import HANGS

from orchestrator.base.errors import StorageError
from orchestrator.base.files import (
    append_line,
    children,
    listed_sizes,
    parse_uri,
    read_text,
    write_text,
)
from orchestrator.base.here import copied_here, copy_out, folder_here
from orchestrator.base.s3 import S3
from orchestrator.cli import main
from orchestrator.distributed.faults import fault_of

pytestmark = pytest.mark.usefixtures("s3")
PLACE = "s3://faces/run"


def test_files_are_written_whole_and_listed(tmp_path):
    folder = parse_uri("s3://faces/files")
    assert children(folder) == []
    append_line(folder / "starts.txt", "one")
    append_line(folder / "starts.txt", "two")
    assert read_text(folder / "starts.txt") == "one\ntwo\n"
    (tmp_path / "events").write_text("x")
    copy_out(tmp_path.iterdir(), folder / "logs")
    assert [path.name for path in children(folder)] == ["logs", "starts.txt"]
    with copied_here(folder / "logs" / "events") as here:
        assert here.read_text() == "x"
    assert not here.exists()
    with folder_here(folder) as here:
        assert here.is_dir()
    with folder_here(tmp_path) as here:
        assert here == tmp_path


@pytest.fixture
def asked(monkeypatch):
    """What is asked of the server, by Amazon's names."""
    asked, ours = [], S3._call_s3

    async def call(self, method, *lists, **named):
        asked.append(method)
        return await ours(self, method, *lists, **named)

    monkeypatch.setattr(S3, "_call_s3", call)
    return asked


def test_a_file_is_read_in_one_request(asked):
    path = parse_uri("s3://faces/one")
    write_text(path, "one")
    asked.clear()
    assert read_text(path) == "one"
    with pytest.raises(FileNotFoundError):
        read_text(path.with_name("none"))
    assert asked == ["get_object", "get_object"]


def test_the_sizes_in_a_folder_are_one_request(asked):
    folder = parse_uri("s3://faces/sizes")
    write_text(folder / "one", "1")
    write_text(folder / "deep" / "two", "22")
    asked.clear()
    assert listed_sizes(folder) == {"one": 1}
    assert asked == ["list_objects_v2"]


def test_a_server_that_comes_back_is_waited_for(s3):
    path = parse_uri("s3://faces/late")
    write_text(path, "before")
    s3.stop()
    back = threading.Timer(1.0, s3.start)
    back.start()
    write_text(path, "after")
    back.join()
    assert read_text(path) == "after"


@pytest.fixture
def server():
    server = S3Server.begin()
    yield server
    server.end()


@pytest.mark.skipif(bool(why := why_impossible()), reason=str(why))
def test_the_tests_server_starts_where_a_network_of_a_test_before_has_gone(server):
    """It did not, and whoever asked it to waited for ever."""
    name = f"ff{os.getpid()}gone"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        server.appear(name, "0.0.0.0")
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)
    for _ in range(2):
        server.stop()
        server.start()
    with socket.create_connection(("127.0.0.1", server.port), timeout=HANGS):
        pass


def test_the_tests_server_leaves_nobody_waiting_when_it_dies(server):
    with pytest.raises(IndexError):
        server.appear("no-such-network", "0.0.0.0")


@pytest.mark.usefixtures("anew")
def test_one_that_does_not_is_a_fault_of_the_machine(monkeypatch):
    monkeypatch.setattr(S3, "patience", 0.2)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StorageError, match="the server cannot be reached") as failed:
        write_text(parse_uri("s3://faces/gone"), "")
    assert fault_of(failed.value) == str(failed.value)


@pytest.fixture
def anew():
    """The client begins anew, as that of another process does."""
    S3.clear_instance_cache()
    yield
    S3.clear_instance_cache()


def refused(capsys, out, *words):
    capsys.readouterr()
    command = words or ("report",)
    assert main([*command, out]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"fairfront: {out}: ")
    assert KEY not in line
    assert SECRET not in line
    return line


@pytest.mark.usefixtures("anew")
@pytest.mark.parametrize(
    "words",
    [
        ("report",),
        ("inspect",),
        ("prepare", "synthetic:40", "--out"),
        ("train", "--out", "s3://faces/new", "--data"),
    ],
)
def test_a_bucket_that_is_not_there_is_named(capsys, words):
    assert "no such bucket; make it" in refused(capsys, "s3://nowhere/run", *words)


@pytest.mark.usefixtures("anew")
def test_keys_that_the_server_does_not_know(capsys, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDOFNOBODY")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    line = refused(capsys, PLACE)
    assert "AWS_ACCESS_KEY_ID" in line
    assert "AKIDOFNOBODY" not in line


@pytest.mark.usefixtures("anew")
def test_no_keys_at_all(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    assert "no credentials; set AWS_ACCESS_KEY_ID" in refused(capsys, PLACE)


@pytest.mark.usefixtures("anew")
def test_a_server_that_is_not_there(capsys, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert "the server cannot be reached" in refused(capsys, PLACE)
