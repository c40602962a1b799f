import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from orchestrator.errors import InputError
from orchestrator.sources import open_source

GOOD = {"filename": ["b.jpg", "a.jpg", "c/d.jpg"], "class": [1, 0, 0], "gender": [-1, 1, -1]}


def write(folder: Path, name: str = "m.csv", **columns: Any) -> str:
    table = pd.DataFrame({**GOOD, **columns})
    table = table.drop(columns=[column for column in table if table[column].isna().all()])
    path = folder / name
    if name.endswith(".parquet"):
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False)
    return str(path)


@pytest.mark.parametrize("name", ["m.csv", "m.parquet"])
def test_a_manifest_is_read_and_sorted_by_filename(tmp_path: Path, name: str) -> None:
    source = open_source(
        write(
            tmp_path, name, identity=[5, 6, None], split=["train", "val", "test"], other=[1, 2, 3]
        )
    )
    table = source.table
    assert table["filename"].tolist() == ["a.jpg", "b.jpg", "c/d.jpg"]
    assert table["path"].tolist() == [f"{tmp_path}/{n}" for n in ("a.jpg", "b.jpg", "c/d.jpg")]
    assert table["label"].tolist() == [0, 1, 0]
    assert table["gender"].tolist() == [1, -1, -1]
    assert table["identity"].isna().tolist() == [False, False, True]
    assert table["identity"].tolist()[:2] == [6, 5]
    assert table["split"].tolist() == ["val", "train", "test"]
    assert source.name == name


def test_csv_and_parquet_make_the_same_source(tmp_path: Path) -> None:
    first, second = (open_source(write(tmp_path, name)) for name in ("m.csv", "m.parquet"))
    assert first.fingerprint == second.fingerprint


def test_the_fingerprint_is_of_the_content_and_not_of_the_place_or_order(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    first = open_source(write(tmp_path))
    reverse = {name: values[::-1] for name, values in GOOD.items()}
    assert first.fingerprint == open_source(write(tmp_path / "elsewhere", **reverse)).fingerprint
    changed = write(tmp_path, **{"class": [1, 1, 0]})
    assert first.fingerprint != open_source(changed).fingerprint


def test_optional_columns_may_be_missing(tmp_path: Path) -> None:
    table = open_source(write(tmp_path)).table
    assert table["identity"].isna().all()
    assert table["split"].isna().all()


def test_class_may_be_minus_one_and_one(tmp_path: Path) -> None:
    table = open_source(write(tmp_path, **{"class": [1, -1, -1]})).table
    assert table["label"].tolist() == [0, 1, 0]


def test_images_may_lie_elsewhere(tmp_path: Path) -> None:
    table = open_source(write(tmp_path), images=str(tmp_path / "images")).table
    assert table["path"].iloc[0] == f"{tmp_path}/images/a.jpg"


def test_an_absolute_name_inside_the_image_folder_is_fine(tmp_path: Path) -> None:
    names = [f"{tmp_path}/b.jpg", "x/../a.jpg", "./c.jpg"]
    table = open_source(write(tmp_path, filename=names)).table
    assert sorted(table["path"]) == [f"{tmp_path}/{name}" for name in ("./c.jpg", "a.jpg", "b.jpg")]


def test_quotes_a_byte_order_mark_and_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text('\ufefffilename,class,gender\r\n"a,1.jpg",0,1\r\n\r\n007,1,-1\r\n', "utf-8")
    assert open_source(str(path)).table["filename"].tolist() == ["007", "a,1.jpg"]


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "class of another kind": ({"class": [1, 2, 0]}, "row 2: class is 2; it must be 0 or 1"),
    "class not a number": ({"class": ["1", "x", "0"]}, "row 2: class is x; it must be"),
    "class empty": ({"class": ["1", "0", ""]}, "row 3: class is empty; it must be"),
    "two conventions": (
        {"class": [1, 0, -1]},
        "row 2 has class 0 and row 3 has class -1; write the other class as 0 or as -1",
    ),
    "gender of another kind": (
        {"gender": [-1, 1, 0]},
        "row 3: gender is 0; it must be -1 (woman) or 1 (man)",
    ),
    "twice": (
        {"filename": ["a.jpg", "b.jpg", "a.jpg"]},
        "row 3: a.jpg is already in row 1; keep one row an image",
    ),
    "twice, spelt differently": (
        {"filename": ["a.jpg", "b.jpg", "x/../a.jpg"]},
        "row 3: x/../a.jpg is already in row 1",
    ),
    "out of the folder": (
        {"filename": ["a.jpg", "../b.jpg", "c.jpg"]},
        "row 2: ../b.jpg is outside the image folder",
    ),
    "out of it and round about": (
        {"filename": ["a.jpg", "b.jpg", "x/../../y/c.jpg"]},
        "row 3: x/../../y/c.jpg is outside the image folder",
    ),
    "absolute": (
        {"filename": ["/etc/passwd", "b.jpg", "c.jpg"]},
        "row 1: /etc/passwd is outside the image folder",
    ),
    "a URI": (
        {"filename": ["http://host/a.jpg", "b.jpg", "c.jpg"]},
        "row 1: http://host/a.jpg is outside the image folder",
    ),
    "no name": ({"filename": ["a.jpg", "", "c.jpg"]}, "row 2: the filename is empty"),
    "no women": ({"gender": [1, 1, 1]}, "no women among 3 faces (gender -1), so the fair metric"),
    "no men": ({"gender": [-1, -1, -1]}, "no men among 3 faces (gender 1), so the fair metric"),
    "identity": ({"identity": ["1", "2.5", "3"]}, "row 2: identity is 2.5; it must be a whole"),
    "negative identity": ({"identity": [1, 2, -3]}, "row 3: identity is -3; it must be a whole"),
    "split": (
        {"split": ["train", "dev", "test"]},
        "row 2: split is dev; it must be one of train, val, test",
    ),
}


@pytest.mark.parametrize("name", ["m.csv", "m.parquet"])
@pytest.mark.parametrize("case", BAD)
def test_a_bad_row_is_named(tmp_path: Path, name: str, case: str) -> None:
    columns, message = BAD[case]
    path = write(tmp_path, name, **columns)
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        open_source(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("missing", ["filename", "class", "gender"])
@pytest.mark.parametrize("name", ["m.csv", "m.parquet"])
def test_a_missing_column_is_named(tmp_path: Path, name: str, missing: str) -> None:
    path = write(tmp_path, name, **{missing: [None] * 3})
    with pytest.raises(InputError, match=rf"m\.\w+: no column {missing}; a manifest has filename"):
        open_source(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Empty CSV file"),
        ("filename,class,gender\n", "no rows"),
        ("filename,class,gender\na.jpg,1,-1\nb.jpg,1\n", "row 2: Expected 3 columns, got 2"),
        ("filename,class,gender,class\na.jpg,1,-1,1\n", "column class twice"),
        ("filename;class;gender\na.jpg;1;-1\n", "no column filename"),
    ],
)
def test_what_is_no_table(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "m.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        open_source(str(path))


def test_what_is_no_text_or_no_parquet(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_bytes(b"filename,class,gender\n\xff\xfe,1,1\n")
    (tmp_path / "m.parquet").write_bytes(b"PAR1 or not")
    for name in ("m.csv", "m.parquet"):
        with pytest.raises(InputError, match=rf"{name}: ") as caught:
            open_source(str(tmp_path / name))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _folder: None, "no such file or folder"),
        (lambda folder: (folder / "here.txt").write_text("x"), "neither .csv nor .parquet"),
        (lambda folder: (folder / "here.txt").mkdir(), "no such file; give a CelebA folder"),
    ],
)
def test_what_is_no_source(tmp_path: Path, make: Callable[[Path], object], message: str) -> None:
    make(tmp_path)
    with pytest.raises(InputError, match=message):
        open_source(str(tmp_path / "here.txt"))


def test_a_missing_manifest(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.csv: no such file"):
        open_source(str(tmp_path / "gone.csv"))
