"""Locks between processes."""

import errno
import fcntl
import os
import subprocess
import sys
import textwrap

import pytest
from preparing import synthetic

from orchestrator.base.errors import InputError
from orchestrator.base.files import parse_uri
from orchestrator.base.locks import held
from orchestrator.cli import main
from orchestrator.data.prepare.work_folder import locked_work_folder


@pytest.mark.parametrize(
    ("first", "second", "free"), [(0, 0, False), (1, 0, False), (0, 1, False), (1, 1, True)]
)
def test_only_those_that_share_hold_it_together(tmp_path, first, second, free):
    with held(tmp_path / "lock", shared=bool(first)) as ours:
        assert ours
        with held(tmp_path / "lock", shared=bool(second)) as others:
            assert others == free
    with held(tmp_path / "lock") as ours:
        assert ours


def test_it_goes_with_a_process_that_is_killed(tmp_path):
    code = """
        import os, pathlib, sys
        from orchestrator.base.locks import held
        lock = held(pathlib.Path(sys.argv[1]))
        assert lock.__enter__()
        os.kill(os.getpid(), 9)
    """
    words = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "lock")]
    assert subprocess.run(words, check=False).returncode == -9
    with held(tmp_path / "lock") as ours:
        assert ours


def test_it_is_had_where_only_files_open_for_writing_are_locked(tmp_path, monkeypatch):
    """As NFS does, which makes of it a lock of the bytes."""
    flock = fcntl.flock

    def as_on_nfs(descriptor, kind):
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        flock(descriptor, kind)

    monkeypatch.setattr(fcntl, "flock", as_on_nfs)
    with held(tmp_path / "lock") as ours:
        assert ours
        with held(tmp_path / "lock") as others:
            assert not others


@pytest.fixture
def no_locks(monkeypatch):
    def refuse(_descriptor, _kind):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)


@pytest.mark.usefixtures("no_locks")
def test_without_locks_nothing_goes_on(tmp_path):
    with (
        pytest.raises(InputError, match=r"/lock: its file system gives no locks \(No locks avail"),
        held(tmp_path / "lock"),
    ):
        pytest.fail("it went on")


def test_a_file_that_is_not_there_is_not_made_unasked(tmp_path):
    with pytest.raises(FileNotFoundError), held(tmp_path / "lock", make=False):
        pytest.fail("it went on")
    assert not any(tmp_path.iterdir())


def test_no_command_begins_where_there_are_no_locks(tmp_path, capfd, request):
    data = synthetic(tmp_path / "data")
    request.getfixturevalue("no_locks")
    for command in ("train", "sweep"):
        assert main([command, "--data", str(data), "--out", str(tmp_path / "run")]) == 2
        said = capfd.readouterr().err
        assert "/run/.run.lock: its file system gives no locks (No locks available)" in said
        assert said.count("\n") == 1
    with pytest.raises(InputError, match="gives no locks"):
        locked_work_folder(parse_uri(tmp_path / "new.partial")).__enter__()
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
