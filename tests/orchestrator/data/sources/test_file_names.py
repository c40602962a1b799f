"""Names in a table that are not spelt as the files are."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from unicodedata import normalize

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import write_zip

from orchestrator.base.errors import InputError
from orchestrator.data.reading.image_bytes import read_many
from orchestrator.data.sources.registry import open_source
from orchestrator.data.sources.source import Source, refuse_absent

NFD, NFC = (normalize(form, "José") for form in ("NFD", "NFC"))


def write(folder: Path, names: list[str], files: list[str]) -> str:
    """Write files that hold their own names, and a table of others."""
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(file)
    folder.mkdir(exist_ok=True)
    rows = [f"{name},{row % 2},{(-1, 1)[row % 2]}\n" for row, name in enumerate(names)]
    (folder / "m.csv").write_text("filename,class,gender\n" + "".join(rows), "utf-8")
    return str(folder / "m.csv")


def contents(source: Source) -> dict[str, str]:
    """Return what is in the file of each name."""
    data = read_many(source.table["path"].tolist())
    return {
        name: read.decode() if isinstance(read, bytes) else "missing"
        for name, read in zip(source.table["filename"], data, strict=True)
    }


FACES = ["faces/1.jpg", "faces/2.jpg"]
SPELLINGS: dict[str, tuple[list[str], list[str], str]] = {
    "backslashes": (["faces\\1.jpg", "faces\\2.jpg"], FACES, "backslashes"),
    "upper case": (["faces/1.JPG", "FACES/2.jpg"], FACES, "case"),
    "another suffix": (["faces/1.png", "faces/2.jpeg"], FACES, "suffix"),
    "no suffix": (["faces/1", "faces/2"], FACES, "suffix"),
    "a file without one": (["1.jpg", "2.jpg"], ["1", "2"], "suffix"),
    "decomposed": ([f"{NFD}.jpg", "2.jpg"], [f"{NFC}.jpg", "2.jpg"], "Unicode form"),
    "composed": ([f"{NFC}.jpg", "2.jpg"], [f"{NFD}.jpg", "2.jpg"], "Unicode form"),
    "a folder below": (["1.jpg", "2.jpg"], FACES, "folder"),
    "folders below": (["1.jpg", "2.jpg"], ["a/1.jpg", "b/c/2.jpg"], "folder"),
    "all of it": (["Faces\\1.PNG", "Faces\\2.PNG"], ["x/faces/1.jpg", "x/faces/2.jpg"], "suffix"),
}


@pytest.mark.parametrize("case", SPELLINGS)
def test_one_file_that_fits_is_taken_and_said(tmp_path: Path, case: str) -> None:
    names, files, how = SPELLINGS[case]
    path = write(tmp_path, names, files)
    source = open_source(path)
    assert contents(source) == dict(zip(names, files, strict=True))
    (note,) = source.notes
    odd = [pair for pair in zip(names, files, strict=True) if pair[0] != pair[1]]
    assert note.startswith(f"{path}: {len(odd)} of 2 names are spelt otherwise than the files (")
    assert how in note
    assert note.endswith(f": {odd[0][0]} is {odd[0][1]}")


@pytest.mark.parametrize("top", ["C:\\Users\\me\\", "/home/me/", "\\\\host\\share\\", "old/"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_path_of_another_machine(tmp_path: Path, top: str, packed: bool) -> None:
    slash = "\\" if "\\" in top else "/"
    names = [top + file.replace("/", slash) for file in FACES]
    path = write(tmp_path / "table", names, [])
    images = tmp_path / "faces.zip"
    if packed:
        write_zip(images, {file: file.encode() for file in FACES})
    else:
        images = tmp_path / "images"
        write(images, [], FACES)
    assert contents(open_source(path, images=str(images))) == dict(zip(names, FACES, strict=True))
    if top == "old/":
        assert set(contents(open_source(path)).values()) == {"missing"}
    else:
        with pytest.raises(
            InputError, match=r"row 1: .* is outside the image folder .*--images the"
        ):
            open_source(path)


LETTERS = st.text("aAbé_- 1", min_size=1, max_size=4).map(str.strip).filter(bool)
RESPELL: dict[str, Callable[[str], str]] = {
    "upper": str.upper,
    "decomposed": lambda name: normalize("NFD", name),
    "suffix": lambda name: f"{name.partition('.')[0]}.png",
    "bare": lambda name: name.partition(".")[0],
    "backslashes": lambda name: name.replace("/", "\\"),
    "moved": lambda name: f"D:\\old\\{name}",
    "as it is": str,
}


@given(
    st.lists(
        st.tuples(
            st.lists(LETTERS, min_size=1, max_size=3).map("/".join),
            st.lists(st.sampled_from(list(RESPELL)), max_size=2),
        ),
        min_size=2,
        max_size=6,
        unique_by=lambda drawn: normalize("NFC", drawn[0].rpartition("/")[2]).casefold(),
    )
)
@settings(deadline=None, max_examples=50)
def test_any_spelling_of_files_whose_names_differ(drawn: list[tuple[str, list[str]]]) -> None:
    files = [f"{stem}.jpg" for stem, _ in drawn]
    names = []
    for file, (_, ways) in zip(files, drawn, strict=True):
        name = file
        for way in ways:
            name = RESPELL[way](name)
        names.append(name)
    with TemporaryDirectory() as folder:
        path = write(Path(folder), names, files)
        found = contents(open_source(path, images=folder))
    assert found == dict(zip(names, files, strict=True))


def test_the_longest_end_that_fits_is_taken(tmp_path: Path) -> None:
    names = ["/old/b/1.jpg", "/old/c/1.jpg"]
    path = write(tmp_path, names, ["1.jpg", "b/1.jpg", "c/1.jpg"])
    found = contents(open_source(path, images=str(tmp_path)))
    assert found == {"/old/b/1.jpg": "b/1.jpg", "/old/c/1.jpg": "c/1.jpg"}


@pytest.mark.parametrize(
    ("names", "files", "said"),
    [
        (["1", "2"], ["1.jpg", "1.png", "2.jpg"], "row 1: 1 may be 1.jpg, 1.png; write it as the"),
        (["1.JPG", "2"], ["1.jpg", "1.Jpg", "2"], "row 1: 1.JPG may be"),
        (["1.jpg", "2.jpg"], ["a/1.jpg", "b/1.jpg", "a/2.jpg"], "1.jpg may be a/1.jpg, b/1.jpg"),
    ],
)
def test_several_are_refused(tmp_path: Path, names: list[str], files: list[str], said: str) -> None:
    path = write(tmp_path, names, sorted(files))
    with pytest.raises(InputError) as caught:
        open_source(path)
    assert all(part in str(caught.value) for part in said.split("may be"))


def test_what_is_there_is_left_alone(tmp_path: Path) -> None:
    """A file that another row names is not taken twice, and nothing is looked for below."""
    names = ["1.jpg", "1.png", "3.jpg"]
    source = open_source(write(tmp_path, names, ["1.jpg", "below/3.jpg"]))
    assert contents(source) == {"1.jpg": "1.jpg", "1.png": "missing", "3.jpg": "missing"}
    assert source.notes == ()


def test_a_closer_spelling_comes_first(tmp_path: Path) -> None:
    names = ["1.JPG", "2.jpg"]
    source = open_source(write(tmp_path, names, ["1.jpg", "1.png", "2.jpg"]))
    assert contents(source)["1.JPG"] == "1.jpg"


def test_none_is_there_is_told_before_a_worker_starts(tmp_path: Path) -> None:
    path = write(tmp_path, ["1.jpg", "2.jpg"], ["other.jpg"])
    with pytest.raises(InputError) as caught:
        refuse_absent(open_source(path), path)
    assert str(caught.value) == (
        f"{path}: none of the 2 images is there: 1.jpg would be {tmp_path}/1.jpg; give --images "
        "the folder or .zip that they lie in"
    )
    refuse_absent(open_source(write(tmp_path, ["1.jpg", "other.jpg"], [])), path)
    refuse_absent(open_source("synthetic:20"), "synthetic:20")


def test_what_is_no_image_is_left_out_of_a_table_and_named(tmp_path: Path) -> None:
    names = ["1.jpg", "2.jpg", "Thumbs.db", "x/._3.jpg", "__MACOSX/x/3.jpg", ".DS_Store"]
    source = open_source(write(tmp_path, names, ["1.jpg", "2.jpg"]))
    assert source.table["filename"].tolist() == ["1.jpg", "2.jpg"]
    assert source.notes == (
        f"{tmp_path}/m.csv: no images, and left out: Thumbs.db (row 3), x/._3.jpg (row 4), "
        "__MACOSX/x/3.jpg (row 5), .DS_Store (row 6)",
    )


def test_what_is_no_image_is_passed_over_in_folders_and_archives(tmp_path: Path) -> None:
    junk = ["__MACOSX/faces/._1.jpg", "faces/Thumbs.db", "faces/._1.jpg", "faces/desktop.ini"]
    names = ["1", "2"]
    path = write(tmp_path, names, [*FACES, *junk])
    assert contents(open_source(path)) == dict(zip(names, FACES, strict=True))
    archive = write_zip(tmp_path / "f.zip", {file: file.encode() for file in [*FACES, *junk]})
    packed = open_source(path, images=str(archive))
    assert contents(packed) == dict(zip(names, FACES, strict=True))
