import struct
import tracemalloc
import zipfile
from pathlib import Path

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from layouts import write_zip

from orchestrator.base.errors import InputError
from orchestrator.base.files import Anywhere, parse_uri
from orchestrator.data.reading import zip_members as archives
from orchestrator.data.reading.zip_members import open_archive, read_members

CENTRAL = b"PK\x01\x02"
"""What a member's entry in the directory at the end of an archive begins with."""


def read(path: Anywhere, *names: str) -> list[bytes | Exception]:
    archive = open_archive(path)
    return list(read_members([archive.find(name) for name in names]))


def reason(path: Anywhere, name: str) -> str:
    """Why a member cannot be read; those beside it can."""
    before, why, after = read(path, "a.jpg", name, "z.jpg")
    assert (before, after) == (b"first", b"last")
    assert isinstance(why, Exception)
    return str(why)


def patched(path: Path, offset: int, value: bytes) -> Path:
    """Change the directory's entry of the second member."""
    content = bytearray(path.read_bytes())
    entry = content.index(CENTRAL, content.index(CENTRAL) + 1)
    content[entry + offset : entry + offset + len(value)] = value
    path.write_bytes(content)
    return path


def three(path: Path, content: bytes, method: int = zipfile.ZIP_DEFLATED) -> Path:
    write_zip(path, {"a.jpg": b"first", "b.jpg": content, "z.jpg": b"last"}, method)
    return path


PARTS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="/\\\0:"), min_size=1, max_size=8
).filter(lambda part: part not in (".", "..", "__MACOSX") and not part.endswith(".DS_Store"))
NAMES = st.lists(PARTS, min_size=1, max_size=3).map("/".join)


@given(st.dictionaries(NAMES, st.binary(max_size=50), min_size=1, max_size=8))
def test_whatever_is_packed_is_read(files: dict[str, bytes]) -> None:
    path = write_zip(parse_uri("memory://packed/faces.zip"), files)
    try:
        assert read(path, *files) == list(files.values())
    finally:
        fsspec.filesystem("memory").rm("/packed", recursive=True)


def test_names_in_one_top_folder_may_do_without_it(folder: Anywhere) -> None:
    files = {"faces/": b"", "faces/1.jpg": b"one", "faces/x/é ü.jpg": b"two"}
    litter = {"__MACOSX/faces/._1.jpg": b"-", "faces/.DS_Store": b"-"}
    path = write_zip(folder / "faces.zip", files | litter)
    assert open_archive(path).top == "faces/"
    assert read(path, "1.jpg", "faces/1.jpg", "x/é ü.jpg") == [b"one", b"one", b"two"]


@pytest.mark.parametrize("other", ["men/2.jpg", "2.jpg"])
def test_names_in_two_places_are_those_of_the_archive(folder: Anywhere, other: str) -> None:
    path = write_zip(folder / "faces.zip", {"women/1.jpg": b"one", other: b"two"})
    assert open_archive(path).top == ""
    whole, two, short = read(path, "women/1.jpg", other, "1.jpg")
    assert (whole, two) == (b"one", b"two")
    assert isinstance(short, FileNotFoundError)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_empty_member_is_an_empty_file(tmp_path: Path, method: int) -> None:
    assert read(three(tmp_path / "a.zip", b"", method), "b.jpg") == [b""]


def test_members_of_several_archives(folder: Anywhere) -> None:
    one, two = (write_zip(folder / f"{n}.zip", {"a.jpg": n.encode()}) for n in ("one", "two"))
    paths = [archives.uri("a.jpg", path) for path in (one, two, one)]
    assert list(read_members(paths)) == [b"one", b"two", b"one"]


def test_an_archive_that_is_written_again_is_read_again(folder: Anywhere) -> None:
    path = write_zip(folder / "a.zip", {"a.jpg": b"old"})
    assert read(path, "a.jpg") == [b"old"]
    write_zip(path, {"b.jpg": b"another", "a.jpg": b"new"})
    assert read(path, "a.jpg") == [b"new"]


@pytest.mark.parametrize(
    "name",
    ["../b.jpg", "x/../../b.jpg", "/etc/b.jpg", "C:/b.jpg", "c:b.jpg", "..\\b.jpg", "\\b.jpg"],
)
def test_an_archive_whose_members_lead_out_is_refused(tmp_path: Path, name: str) -> None:
    path = write_zip(tmp_path / "a.zip", {"a.jpg": b"", name: b""})
    with pytest.raises(InputError) as caught:
        open_archive(path)
    assert str(caught.value) == (
        f"{path}: unsafe: its member {name!r} leads out of the archive; pack it again with names "
        "that do not"
    )


def test_dots_in_names_do_not_lead_out(tmp_path: Path) -> None:
    assert read(write_zip(tmp_path / "a.zip", {"a..b/c...jpg": b"dots"}), "c...jpg") == [b"dots"]


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    whole = write_zip(tmp_path / "whole.zip", {f"{k}.jpg": bytes(100) for k in range(9)})
    content = whole.read_bytes()
    (tmp_path / "text.zip").write_text("no archive")
    (tmp_path / "nothing.zip").write_bytes(b"")
    (tmp_path / "cut.zip").write_bytes(content[:-100])
    (tmp_path / "beheaded.zip").write_bytes(content[-100:])
    (tmp_path / "garbled.zip").write_bytes(content.replace(CENTRAL, b"PK\x07\x07"))
    for name in ("text", "nothing", "cut", "beheaded", "garbled"):
        with pytest.raises(InputError, match=rf"{name}\.zip: not a zip archive, or a damaged one"):
            open_archive(tmp_path / f"{name}.zip")
    with pytest.raises(InputError, match=r"gone\.zip: no such file"):
        open_archive(tmp_path / "gone.zip")
    with pytest.raises(InputError, match=r"folders\.zip: no files in this archive"):
        open_archive(write_zip(tmp_path / "folders.zip", {"a/": b"", ".DS_Store": b"x"}))


def test_a_member_that_unpacks_to_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_BYTES", 2**20)
    assert read(three(tmp_path / "fits.zip", bytes(2**20)), "b.jpg") == [bytes(2**20)]
    bomb = three(tmp_path / "bomb.zip", bytes(2**20 + 1))
    assert reason(bomb, "b.jpg") == "more than 1 MiB when unpacked"


def test_a_bomb_that_calls_itself_small_takes_no_memory(tmp_path: Path) -> None:
    bomb = patched(three(tmp_path / "bomb.zip", bytes(2**26)), 24, struct.pack("<I", 10))
    open_archive(bomb)
    tracemalloc.start()
    assert reason(bomb, "b.jpg") == "damaged in the archive: wrong checksum"
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20


def test_members_that_cannot_be_read(tmp_path: Path) -> None:
    encrypted = patched(three(tmp_path / "encrypted.zip", b"x"), 8, b"\x01")
    assert reason(encrypted, "b.jpg") == "encrypted in the archive"
    bzip2 = three(tmp_path / "bzip2.zip", b"x", zipfile.ZIP_DEFLATED)
    patched(bzip2, 10, struct.pack("<H", zipfile.ZIP_BZIP2))
    assert reason(bzip2, "b.jpg") == "packed in the archive by a method that is not read"
    missing = three(tmp_path / "missing.zip", b"x")
    assert reason(missing, "gone.jpg") == "gone.jpg"
    elsewhere = patched(three(tmp_path / "elsewhere.zip", b"x"), 42, b"\xff\xff\xff")
    assert reason(elsewhere, "b.jpg") == "damaged in the archive"
    newer = patched(three(tmp_path / "newer.zip", b"x"), 8, b"\x20")
    assert reason(newer, "b.jpg") == "damaged in the archive"


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_damaged_member_is_noticed(tmp_path: Path, method: int) -> None:
    content = bytes(range(256))
    path = three(tmp_path / "a.zip", content, method)
    whole = path.read_bytes()
    at = whole.index(b"b.jpg") + len(b"b.jpg") + 20
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
    assert reason(path, "b.jpg").startswith("damaged in the archive")
