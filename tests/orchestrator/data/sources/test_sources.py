"""Sources that cannot be reached end in one line, which names them and the cause."""

import errno
import os
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from orchestrator.base.errors import InputError
from orchestrator.data.sources.registry import open_source

DEAD = "http://127.0.0.1:1"


def refusal(spec: str, images: str | None = None) -> str:
    with pytest.raises(InputError) as caught:
        open_source(spec, images=images)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["faces", "faces.csv", "faces.parquet"])
def test_a_host_that_is_not_there(name: str) -> None:
    assert refusal(f"{DEAD}/{name}").startswith(
        f"{DEAD}/{name}: Cannot connect to host 127.0.0.1:1"
    )


def test_an_archive_on_a_host_that_is_not_there() -> None:
    said = refusal("faces.csv", f"{DEAD}/faces.zip")
    assert "/faces.zip: Cannot connect to host 127.0.0.1:1" in said


def test_a_file_taken_for_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for name in ("x.csv", "x.parquet"):
        spec = str(tmp_path / "file" / name)
        assert refusal(spec) == f"{spec}: Not a directory"


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *_: object, **__: object) -> object:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    (tmp_path / "list_attr_celeba.txt").touch()
    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(Path, "read_text", refuse)
    assert refusal(str(tmp_path / "x.csv")) == f"{tmp_path / 'x.csv'}: Permission denied"
    listed = tmp_path / "list_attr_celeba.txt"
    assert refusal(str(tmp_path)) == f"{listed}: Permission denied"


class NoCredentialsError(Exception):
    """As boto has it: neither an `OSError` nor one of Python's own."""


@pytest.mark.parametrize("name", ["faces", "faces.csv", "faces.parquet"])
def test_a_library_that_has_errors_of_its_own(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def info(*_: object, **__: object) -> object:
        raise NoCredentialsError("Unable to locate\ncredentials")

    for method in ("info", "ls", "_open", "exists", "isdir", "find"):
        monkeypatch.setattr(MemoryFileSystem, method, info)
    spec = f"memory://bucket/{name}"
    assert refusal(spec) == f"{spec}: Unable to locate credentials"


def test_a_fault_of_the_program_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def info(*_: object, **__: object) -> object:
        raise TypeError("a fault of ours")

    monkeypatch.setattr(MemoryFileSystem, "isdir", info)
    with pytest.raises(TypeError, match="a fault of ours"):
        open_source("memory://bucket/faces")
