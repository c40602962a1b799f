import errno
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem
from layouts import write_parquet, write_zip

from orchestrator.base.files import Anywhere, parse_uri
from orchestrator.data.reading import image_bytes as reading
from orchestrator.data.reading import parquet_images as cells
from orchestrator.data.reading import zip_members as archives
from orchestrator.data.reading.image_bytes import ReadingError, read_many


def test_many_files_are_read_in_order(folder: Anywhere) -> None:
    for k in range(150):  # more than are fetched at a time
        (folder / f"{k}.bin").write_bytes(bytes([k]))
    names = [f"{k}.bin" for k in reversed(range(150))] + ["gone.bin"]
    *there, gone = read_many([str(folder / name) for name in names])
    assert there == [bytes([k]) for k in reversed(range(150))]
    assert isinstance(gone, FileNotFoundError)


def test_reading_no_file_or_a_folder(tmp_path: Path) -> None:
    assert list(read_many([])) == []
    folder, nul, long = read_many([str(tmp_path), "a\0b", "a" * 300])
    assert isinstance(folder, IsADirectoryError)
    assert isinstance(nul, ValueError)
    assert getattr(long, "errno", None) == errno.ENAMETOOLONG


def test_no_name_is_a_pattern(folder: Anywhere) -> None:
    names = ["a[1].jpg", "a?.jpg", "*", "a1.jpg"]
    for name in names:
        (folder / name).write_bytes(name.encode())
    paths = [str(folder / name) for name in [*names, "b[1].jpg"]]
    *there, gone = read_many(paths)
    assert there == [name.encode() for name in names]
    assert isinstance(gone, FileNotFoundError)


def fails_at(number: int, target: str, opener: Callable[..., Any]) -> Callable[..., Any]:
    def failing(path: str, *rest: Any, **options: Any) -> Any:
        if target in path:
            raise OSError(number, os.strerror(number), path)
        return opener(path, *rest, **options)

    return failing


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EMFILE, errno.ETIMEDOUT])
def test_a_disk_that_fails_is_no_fault_of_an_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    for name in "ab":
        (tmp_path / name).write_bytes(name.encode())
    monkeypatch.setattr("builtins.open", fails_at(number, str(tmp_path / "b"), open))
    read = read_many([str(tmp_path / name) for name in "ab"])
    assert next(read) == b"a"
    with pytest.raises(ReadingError, match=re.escape(f"{tmp_path / 'b'}: {os.strerror(number)}")):
        next(read)


def test_an_image_that_may_not_be_read_is_a_fault_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builtins.open", fails_at(errno.EACCES, str(tmp_path), open))
    assert [type(error) for error in read_many([str(tmp_path / "a")])] == [PermissionError]


@pytest.mark.parametrize("folder", ["remote"], indirect=True)
@pytest.mark.parametrize("failures", [2, 3])
def test_a_server_is_asked_again_and_then_given_up(
    folder: Anywhere, monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    """A server in trouble raises what its library has; here, no OSError."""
    for name in "abc":
        (folder / name).write_bytes(name.encode())
    left, cat_file = [None] * failures, MemoryFileSystem.cat_file

    def flaky(self: MemoryFileSystem, path: str, *rest: Any, **options: Any) -> bytes:
        if path.endswith("b") and left:
            left.pop()
            raise RuntimeError("503, message='Service\nUnavailable'")
        content: bytes = cat_file(self, path, *rest, **options)
        return content

    monkeypatch.setattr(MemoryFileSystem, "cat_file", flaky)
    monkeypatch.setattr(reading, "PAUSES", (0, 0))
    read = read_many([str(folder / name) for name in "abcx"])
    assert next(read) == b"a"
    if failures == 2:
        *there, gone = read
        assert there == [b"b", b"c"]
        assert isinstance(gone, FileNotFoundError)
    else:
        with pytest.raises(ReadingError) as caught:
            next(read)
        assert str(caught.value) == "memory://folder/b: 503, message='Service Unavailable'"


@pytest.fixture
def packed(folder: Anywhere) -> dict[str, list[str]]:
    """Paths of three images each in a zip archive and in a Parquet file."""
    images = {f"{k}.jpg": os.urandom(200_000) for k in range(3)}
    archive = write_zip(folder / "a.zip", images)
    table = write_parquet(folder / "a.parquet", list(images.values()), row_group=1)
    return {
        "zip": [archives.uri(name, archive) for name in images],
        "parquet": [cells.uri(row, table) for row in range(3)],
    }


@pytest.mark.parametrize("kind", ["zip", "parquet"])
def test_a_file_of_images_that_has_gone_is_no_fault_of_an_image(
    packed: dict[str, list[str]], kind: str
) -> None:
    container = packed[kind][0].rpartition("::")[2]
    parse_uri(container).unlink()
    with pytest.raises(ReadingError, match=re.escape(f"{container}: no such file")):
        list(read_many(packed[kind]))


@pytest.mark.parametrize("folder", ["remote"], indirect=True)
@pytest.mark.parametrize("kind", ["zip", "parquet"])
@pytest.mark.parametrize(
    "error", [OSError("Forbidden"), ValueError("no ranges"), TimeoutError(), ConnectionResetError()]
)
def test_a_file_of_images_out_of_reach_is_no_fault_of_an_image(
    packed: dict[str, list[str]], kind: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = packed[kind]
    archives._open.cache_clear()
    cells._open.cache_clear()
    read = read_many(paths)
    assert isinstance(next(read), bytes)

    def fail(*_: Any) -> bytes:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(MemoryFile, "read", fail, raising=False)
        with pytest.raises(ReadingError, match=re.escape(str(error) or type(error).__name__)):
            list(read)
    assert all(isinstance(data, bytes) for data in read_many(paths))
