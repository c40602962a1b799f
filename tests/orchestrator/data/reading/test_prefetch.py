"""Reading ahead gives what reading does, no later, and holds little of it."""

import ctypes
import mmap
import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from layouts import write_parquet, write_zip
from waiting import wait_until

from orchestrator.base.files import Anywhere
from orchestrator.data.reading import parquet_images as cells
from orchestrator.data.reading import prefetch as readahead
from orchestrator.data.reading import zip_members as archives
from orchestrator.data.reading.image_bytes import ReadingError, read_many
from orchestrator.data.reading.prefetch import read_ahead

FILES = {f"{k}.bin": bytes([k]) * 100 for k in range(50)}


def pieces_of(paths: list[str], size: int = 7) -> Iterator[list[str]]:
    return (paths[k : k + size] for k in range(0, len(paths), size))


def paths_in(folder: Anywhere, kind: str) -> list[str]:
    if kind == "zip":
        archive = write_zip(folder / "a.zip", FILES)
        return [archives.uri(name, archive) for name in [*FILES, "gone"]]
    if kind == "parquet":
        table = write_parquet(folder / "a.parquet", list(FILES.values()), row_group=9)
        return [cells.uri(row, table) for row in range(len(FILES))]
    for name, data in FILES.items():
        (folder / name).write_bytes(data)
    (folder / "folder").mkdir()
    return [str(folder / name) for name in ["gone.bin", *FILES, "folder"]]


@pytest.mark.parametrize("kind", ["files", "zip", "parquet"])
def test_it_gives_what_reading_one_after_the_other_does(folder: Anywhere, kind: str) -> None:
    paths = paths_in(folder, kind)
    ahead, one_by_one = list(read_ahead(pieces_of(paths))), list(read_many(paths))
    assert [data for data in ahead if isinstance(data, bytes)] == list(FILES.values())
    assert list(map(repr, ahead)) == list(map(repr, one_by_one))


def test_names_that_cannot_be_opened_and_no_names() -> None:
    assert list(read_ahead([])) == []
    long, nul = read_ahead([["a" * 300], ["a\0b"]])
    assert isinstance(long, OSError)
    assert isinstance(nul, ValueError)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The remote files that were asked for, in order; a name with `bad` in it fails."""
    asked: list[str] = []

    def read(paths: Sequence[str]) -> Iterator[bytes]:
        for path in paths:
            asked.append(path)
            if "bad" in path:
                raise ReadingError(f"{path}: 503")
            yield path.encode()

    monkeypatch.setattr(readahead, "read_many", read)
    return asked


def names(first: int, *others: str) -> list[str]:
    return [f"s3://faces/{k}" for k in range(first, first + 3)] + list(others)


def test_a_failure_is_raised_in_its_turn(reads: list[str]) -> None:
    files = read_ahead([names(0), names(3), names(6, "s3://faces/bad"), names(9)])
    assert [next(files) for _ in range(6)] == [path.encode() for path in names(0) + names(3)]
    with pytest.raises(ReadingError, match="s3://faces/bad: 503"):
        next(files)
    assert reads[:10] == [*names(0), *names(3), *names(6), "s3://faces/bad"]


def test_the_next_piece_is_read_meanwhile_and_no_more(reads: list[str]) -> None:
    threads = threading.active_count()
    files = read_ahead(pieces_of([f"s3://faces/{k}" for k in range(30)], 3))
    next(files)
    wait_until(lambda: len(reads) == 6)
    time.sleep(0.05)
    assert len(reads) == 6
    files.close()  # type: ignore[attr-defined]
    assert threading.active_count() == threads


def test_a_piece_that_cannot_be_had_ends_it(reads: list[str]) -> None:
    def pieces() -> Iterator[list[str]]:
        yield names(0)
        raise InterruptedError

    with pytest.raises(InterruptedError):
        list(read_ahead(pieces()))
    assert set(reads) <= set(names(0))


def test_local_files_are_brought_near(tmp_path: Path) -> None:
    paths = [str(tmp_path / f"{k}.bin") for k in range(8)]
    for path in paths:
        Path(path).write_bytes(os.urandom(10_000))
    if not evict(paths):
        pytest.skip("nothing can be taken out of this file system's cache")
    files = read_ahead([paths[:4], paths[4:]])
    next(files)  # the first piece may be read before its hint is given, which then is not
    wait_until(lambda: all(map(is_cached, paths[4:])))
    assert [len(data) for data in files if isinstance(data, bytes)] == [10_000] * 7


def evict(paths: list[str]) -> bool:
    """Take files out of the system's cache; tell whether they are."""
    for path in paths:
        file = os.open(path, os.O_RDONLY)
        os.fsync(file)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)
    return not any(map(is_cached, paths))


def is_cached(path: str) -> bool:
    """Ask the kernel for the first page, which unlike reading does not bring it in."""
    with Path(path).open("rb") as file, mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE) as mapped:
        residence, start = ctypes.c_ubyte(), ctypes.c_char.from_buffer(mapped)
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            address = ctypes.c_void_p(ctypes.addressof(start))
            assert libc.mincore(address, ctypes.c_size_t(1), ctypes.byref(residence)) == 0
        finally:
            del start
    return bool(residence.value & 1)
