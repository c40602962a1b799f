import errno
import io
import os
from pathlib import Path

import pytest
from upath import UPath

from orchestrator.base.errors import InputError
from orchestrator.base.files import (
    Anywhere,
    is_local,
    listed_sizes,
    parse_uri,
    read_json,
    refuse_existing,
    remove_tree,
    version_of,
    write_json,
    write_text,
    writing,
)
from orchestrator.base.source_files import source_of


def test_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    assert parse_uri("a/b") == tmp_path / "a/b"
    assert parse_uri("~/a") == Path("/home/me/a")
    assert parse_uri(tmp_path.as_uri()) == tmp_path
    assert all(type(parse_uri(where)) is type(tmp_path) for where in ("a", "~", tmp_path.as_uri()))
    assert is_local(parse_uri("a"))
    remote = parse_uri("memory://a/b")
    assert isinstance(remote, UPath)
    assert not is_local(remote)


@pytest.mark.parametrize("uri", ["nosuch://a/b", "s4://bucket"])
def test_an_unknown_uri_is_one_line(uri: str) -> None:
    with pytest.raises(InputError, match=f"{uri}: no file system for this URI") as caught:
        parse_uri(uri)
    assert "\n" not in str(caught.value)


def test_what_is_written_is_read(folder: Anywhere) -> None:
    write_json(folder / "a.json", {"ü": [1, 2.5, None]})
    assert read_json(folder / "a.json") == {"ü": [1, 2.5, None]}
    write_text(folder / "t.txt", "one\ntwo\n")
    assert (folder / "t.txt").read_bytes() == b"one\ntwo\n"
    with writing(folder / "t.txt") as file:
        file.write(b"\x00\x01")
    assert (folder / "t.txt").read_bytes() == b"\x00\x01"
    assert sorted(path.name for path in folder.iterdir()) == ["a.json", "t.txt"]


def test_the_sizes_of_a_folder_are_listed(folder: Anywhere) -> None:
    write_text(folder / "one.txt", "one")
    write_text(folder / "none.txt", "")
    assert listed_sizes(folder) == {"one.txt": 3, "none.txt": 0}
    assert listed_sizes(folder / "missing") == {}


def test_half_a_file_is_never_left(folder: Anywhere) -> None:
    (folder / "old.txt").write_text("old")
    for name in ("old.txt", "new.txt"):
        with pytest.raises(UnicodeEncodeError), writing(folder / name, "w", encoding="ascii") as f:
            f.writelines(["half", "ü"])
    assert (folder / "old.txt").read_text() == "old"
    assert [path.name for path in folder.iterdir()] == ["old.txt"]


def test_nan_is_no_json(folder: Anywhere) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(folder / "a.json", float("nan"))
    assert not list(folder.iterdir())


def test_json_that_cannot_be_read(folder: Anywhere) -> None:
    with pytest.raises(InputError, match=r"a\.json: no such file"):
        read_json(folder / "a.json")
    (folder / "a.json").write_text("{")
    with pytest.raises(InputError, match=r"a\.json: not valid JSON"):
        read_json(folder / "a.json")


def test_a_place_that_is_taken(folder: Anywhere) -> None:
    refuse_existing(folder / "new", "a run")
    refuse_existing(folder, "a run")  # empty
    (folder / "a.txt").write_text("x")
    for taken in (folder, folder / "a.txt"):
        with pytest.raises(InputError, match="a run exists already; choose another --out"):
            refuse_existing(taken, "a run")


def test_a_tree_is_removed_and_a_missing_one_is_fine(folder: Anywhere) -> None:
    (folder / "tree" / "leaf").mkdir(parents=True)
    (folder / "tree" / "leaf" / "a.txt").write_text("x")
    remove_tree(folder / "tree")
    remove_tree(folder / "tree")
    assert not (folder / "tree").exists()
    assert not list(folder.iterdir())


def test_a_file_that_is_written_again_is_another_version(folder: Anywhere) -> None:
    path = folder / "a.bin"
    path.write_bytes(b"one")
    first = version_of(path)
    assert version_of(path) == first
    path.write_bytes(b"three")
    assert version_of(path) != first
    with pytest.raises(FileNotFoundError):
        version_of(folder / "gone.bin")


def test_a_file_is_read_in_places(folder: Anywhere) -> None:
    (folder / "a.bin").write_bytes(bytes(range(100)))
    for ahead in (0, 16):
        source = source_of(folder / "a.bin", ahead)
        with Path(source).open("rb") if isinstance(source, str) else source as file:
            file.seek(-10, io.SEEK_END)
            assert file.read(3) == bytes([90, 91, 92])
            file.seek(5)
            assert file.read(2) == bytes([5, 6])


def test_text_options_reach_a_remote_file(folder: Anywhere) -> None:
    with writing(folder / "a.csv", "w", encoding="utf-16", newline="") as file:
        assert isinstance(file, io.TextIOBase)
        file.write("a\r\n")
    assert (folder / "a.csv").read_bytes() == "a\r\n".encode("utf-16")


def test_a_full_disk_names_the_file_that_it_did_not_take(tmp_path: Path) -> None:
    def fill() -> None:
        with writing(tmp_path / "model") as file:
            file.write(b"all of it")
            raise OSError(errno.ENOSPC, "No space left on device")  # as a write on a full disk

    with pytest.raises(OSError, match=r"No space left on device: '.*/model'"):
        fill()
    assert list(tmp_path.iterdir()) == []


def recorded_calls(monkeypatch: pytest.MonkeyPatch, path: Path) -> list[str]:
    calls: list[str] = []
    sync, replace = os.fsync, Path.replace

    def syncing(descriptor: int) -> None:
        place = Path(f"/proc/self/fd/{descriptor}").resolve()
        calls.append("folder" if place == path.parent else f"file of {place.stat().st_size}")
        sync(descriptor)

    def replacing(beside: Path, target: Path) -> Path:
        calls.append("name")
        return replace(beside, target)

    monkeypatch.setattr(os, "fsync", syncing)
    monkeypatch.setattr(Path, "replace", replacing)
    return calls


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="tells descriptors by /proc")
def test_a_power_cut_keeps_what_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = recorded_calls(monkeypatch, tmp_path / "a")
    write_text(tmp_path / "a", "whole")
    assert calls == ["file of 5", "name", "folder"]  # the content first, then what leads to it
    calls.clear()
    write_text(tmp_path / "a", "fleeting", lasting=False)
    assert calls == ["name"]
    assert (tmp_path / "a").read_text() == "fleeting"


def test_what_the_disk_did_not_take_gets_no_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_text(tmp_path / "a", "before")

    def refuse(_descriptor: int) -> None:  # as NFS does, which tells of a full disk only then
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match=r"No space left on device: '.*/a'"):
        write_text(tmp_path / "a", "after")
    assert (tmp_path / "a").read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
