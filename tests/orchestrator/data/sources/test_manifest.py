import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from layouts import write_zip

from orchestrator.base.errors import InputError
from orchestrator.data.prepare.prepare import Options, prepare
from orchestrator.data.reading.image_bytes import read_many
from orchestrator.data.sources.registry import open_source

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


@pytest.mark.parametrize("top", ["", "faces/"])
def test_images_may_lie_in_an_archive(tmp_path: Path, top: str) -> None:
    odd = ["b.jpg", "./x/../a ü.jpg", "c/d e.jpg"]
    files = {"b.jpg": b"b", "a ü.jpg": b"a", "c/d e.jpg": b"d"}
    archive = write_zip(tmp_path / "faces.zip", {top + name: files[name] for name in files})
    source = open_source(write(tmp_path, filename=odd), images=str(archive))
    assert list(read_many(source.table["path"].tolist())) == [b"a", b"b", b"d"]
    if top:
        whole = write(tmp_path, filename=["faces/b.jpg", "faces/c/d e.jpg", "a ü.jpg"])
        table = open_source(whole, images=str(archive)).table
        assert list(read_many(table["path"].tolist())) == [b"a", b"b", b"d"]


@pytest.mark.parametrize("name", ["../b.jpg", "/z.jpg", "x/../../b.jpg", "http://host/b.jpg"])
def test_a_name_out_of_the_archive_is_refused(tmp_path: Path, name: str) -> None:
    archive = write_zip(tmp_path / "faces.zip", {"b.jpg": b"b"})
    path = write(tmp_path, filename=["a.jpg", name, "c.jpg"])
    with pytest.raises(InputError) as caught:
        open_source(path, images=str(archive))
    assert str(caught.value) == (
        f"{path}: row 2: {name} is outside the image archive {archive}; give names inside it, or "
        "another --images"
    )


def test_two_names_of_one_member_are_refused(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "faces.zip", {"faces/b.jpg": b"b"})
    path = write(tmp_path, filename=["a.jpg", "b.jpg", "faces/b.jpg"])
    with pytest.raises(InputError, match=r"row 3: faces/b\.jpg is already in row 2"):
        open_source(path, images=str(archive))


def test_a_folder_named_like_an_archive(tmp_path: Path) -> None:
    (tmp_path / "faces.zip").mkdir()
    table = open_source(write(tmp_path), images=str(tmp_path / "faces.zip")).table
    assert table["path"].iloc[0] == f"{tmp_path}/faces.zip/a.jpg"


@pytest.mark.usefixtures("in_process", "small_chunks")
def test_rows_that_the_archive_lacks_are_dropped(make_faces: Any, tmp_path: Path) -> None:
    manifest = make_faces(40)
    files = {path.name: path.read_bytes() for path in manifest.parent.glob("*.jpg")}
    del files["0003.jpg"], files["0030.jpg"]
    archive = write_zip(tmp_path / "faces.zip", files)
    before = sorted(manifest.parent.iterdir())
    options = Options(image_size=10, max_bad=0.1)
    packed = prepare(open_source(str(manifest), images=str(archive)), tmp_path / "p", options)
    assert (tmp_path / "p" / "dropped.csv").read_text().splitlines()[1:] == [
        "0003.jpg,no such file",
        "0030.jpg,no such file",
    ]
    assert sorted(manifest.parent.iterdir()) == before
    for name in ("0003.jpg", "0030.jpg"):
        (manifest.parent / name).unlink()
    loose = prepare(open_source(str(manifest)), tmp_path / "l", options)
    assert (packed.load("train").images == loose.load("train").images).all()
    assert packed.load("train").filename.tolist() == loose.load("train").filename.tolist()


ATTRIBUTES = {
    "Signed": ([1, -1, 1], [False, True, True]),
    "Zero_One": ([0, 1, 1], [True, False, True]),
    "Truth": ([True, False, False], [False, True, False]),
    "All": ([1, 1, 1], [True, True, True]),
    "None": ([-1, -1, -1], [False, False, False]),
    "Float": ([1.0, 0.0, 1.0], [False, True, True]),
}
NO_ATTRIBUTES = {
    "Three": [-1, 0, 1],
    "Age": [20, 30, 40],
    "Gap": [1, None, 0],
    "Name": ["a", "b", "a"],
    "Halves": [0.5, 1, 0.5],
}


@pytest.mark.parametrize("name", ["m.csv", "m.parquet"])
def test_columns_of_two_values_are_attributes(tmp_path: Path, name: str) -> None:
    given = {column: values for column, (values, _) in ATTRIBUTES.items()}
    source = open_source(write(tmp_path, name, **given, **NO_ATTRIBUTES))
    assert source.attributes is not None
    assert source.attributes.to_dict("list") == {
        column: sorted_ for column, (_, sorted_) in ATTRIBUTES.items()
    }
    assert open_source(write(tmp_path, name, **NO_ATTRIBUTES)).attributes is None


def test_a_column_that_is_there_twice_or_has_no_name_is_no_attribute(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("filename,class,gender,x,x,\na.jpg,0,1,1,1,1\nb.jpg,1,-1,0,0,0\n")
    assert open_source(str(path)).attributes is None


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
        {"split": ["train", "Deviant", "test"]},
        "row 2: split is Deviant; it must be one of train, val, test",
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
    with pytest.raises(InputError, match=rf"m\.\w+: no column {missing}; it has "):
        open_source(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Empty CSV file"),
        ("filename,class,gender\n", "no rows"),
        ("filename,class,gender\na.jpg,1,-1\nb.jpg,1\n", "row 2: Expected 3 columns, got 2"),
        ("filename,class,gender,class\na.jpg,1,-1,1\n", "column class twice"),
        ("name;class;gender\na.jpg;1;-1\n", "no column filename"),
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
        (lambda folder: (folder / "here.txt").write_text("x"), "no source of faces; give a table"),
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


CELEBA = {"Blond_Hair": [-1, 1, -1], "Eyeglasses": [-1, -1, 1], "Male": [1, -1, -1]}


@pytest.mark.parametrize("name", ["m.csv", "m.parquet"])
def test_attributes_in_place_of_class_and_gender(tmp_path: Path, name: str) -> None:
    nothing = {"class": [None] * 3, "gender": [None] * 3}
    path = write(tmp_path, name, **nothing, **CELEBA)
    source = open_source(path)
    assert source.table["filename"].tolist() == ["a.jpg", "b.jpg", "c/d.jpg"]
    assert source.table["label"].tolist() == [1, 0, 1]
    assert source.table["gender"].tolist() == [-1, 1, -1]
    assert source.name == f"{name} (Blond_Hair|Eyeglasses by Male)"
    assert source.notes == (f"{path}: class 1: Blond_Hair|Eyeglasses", f"{path}: men: Male")
    glasses = open_source(path, label="Eyeglasses", group="Blond_Hair")
    assert glasses.table["label"].tolist() == [0, 0, 1]
    assert glasses.table["gender"].tolist() == [1, -1, -1]


def test_a_rule_that_is_given_is_used_or_refused(tmp_path: Path) -> None:
    path = write(tmp_path, Smiling=[1, 1, 0])
    assert open_source(path).table["label"].tolist() == [0, 1, 0]
    smiling = open_source(path, label="Smiling")
    assert smiling.table["label"].tolist() == [1, 1, 0]
    assert smiling.name == "m.csv (Smiling)"
    assert smiling.notes == (f"{path}: class 1: Smiling, and not the column class",)
    with pytest.raises(
        InputError, match=r"--label NoSuch: no such attribute in .*add a column cla"
    ):
        open_source(path, label="NoSuch")
    with pytest.raises(
        InputError, match=r"--group NoSuch: no such attribute in .*add a column gen"
    ):
        open_source(path, group="NoSuch")


def test_the_files_by_another_name(tmp_path: Path) -> None:
    path = tmp_path / "list_attr_celeba.csv"  # Kaggle's, on its own
    path.write_text("image_id,Blond_Hair,Eyeglasses,Male\nb.jpg,-1,1,1\na.jpg,-1,-1,-1\n")
    source = open_source(str(path))
    assert source.table["filename"].tolist() == ["a.jpg", "b.jpg"]
    assert source.table["label"].tolist() == [0, 1]
    assert source.notes[0] == f"{path}: files: image_id"
    path.write_text("image_id,path,class,gender\nb,b.jpg,1,1\na,a.jpg,0,-1\n")
    with pytest.raises(InputError, match="image_id and path may each be the files; say which"):
        open_source(str(path))
    path.write_text("image_id,filename,class,gender\nb,b.jpg,1,1\na,a.jpg,0,-1\n")
    assert open_source(str(path)).table["filename"].tolist() == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize("name", ["filename", "image_id"])
def test_categories_are_names_as_well(tmp_path: Path, name: str) -> None:
    path = tmp_path / "m.parquet"
    table = pd.DataFrame(GOOD).astype({"filename": "category"})
    table.rename(columns={"filename": name}).to_parquet(path)
    assert open_source(str(path)).table["filename"].tolist() == ["a.jpg", "b.jpg", "c/d.jpg"]
