"""Folders in which other data sets of faces are handed on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from conftest import jpeg
from layouts import write_zip

from orchestrator.base.errors import InputError
from orchestrator.base.files import Anywhere
from orchestrator.data.reading.image_bytes import read_many
from orchestrator.data.sources.registry import open_source
from orchestrator.data.sources.source import Source

N = 4
NAMES = [f"{row}.jpg" for row in range(N)]
CLASS, GENDER = [0, 1, 1, 0], [1, -1, 1, -1]
WORDS = ["Male", "Female", "Male", "Female"]


def refusal(spec: object, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        open_source(str(spec), **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def put(folder: Anywhere, files: list[str]) -> Anywhere:
    """Write files that hold their own names."""
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(file.encode())
    return folder


def check(source: Source, files: list[str], label: list[int], gender: list[int]) -> None:
    """Compare a source with files, in order, that hold their own names."""
    order = sorted(
        range(len(files)), key=lambda row: source.table["filename"].tolist().index(files[row])
    )
    read = [data.decode() for data in read_many(source.table["path"].tolist())]  # type: ignore[union-attr]
    assert read == [files[row] for row in order]
    assert source.table["label"].tolist() == [label[row] for row in order]
    assert source.table["gender"].tolist() == [gender[row] for row in order]


# Hugging Face


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl", "metadata.parquet"])
def test_an_imagefolder(tmp_path: Path, name: str) -> None:
    put(tmp_path, NAMES)
    table = pd.DataFrame({"file_name": NAMES, "class": CLASS, "gender": WORDS})
    path = tmp_path / name
    if name.endswith("csv"):
        table.to_csv(path, index=False)
    elif name.endswith("jsonl"):
        table.to_json(path, orient="records", lines=True)
    else:
        table.to_parquet(path)
    source = open_source(str(tmp_path))
    check(source, NAMES, CLASS, GENDER)
    assert source.notes == (f"{tmp_path}: an imagefolder, with {name}", f"{path}: files: file_name")
    assert source.name == tmp_path.name


def test_an_imagefolder_of_splits(folder: Anywhere) -> None:
    files = [f"{split}/{name}" for split in ("train", "validation", "test") for name in NAMES]
    put(folder, files)
    for split in ("train", "validation", "test"):
        text = pd.DataFrame({"file_name": NAMES, "class": CLASS, "gender": WORDS}).to_csv(
            index=False
        )
        (folder / split / "metadata.csv").write_text(text)
    source = open_source(str(folder))
    check(source, files, CLASS * 3, GENDER * 3)
    assert source.table["split"].tolist() == ["test"] * N + ["train"] * N + ["val"] * N


def image_struct(names: list[str]) -> pa.Array:
    return pa.array([{"bytes": name.encode(), "path": name} for name in names])


def save_to_disk(folder: Path, table: pa.Table, shards: int = 2) -> None:
    """Write what `datasets.Dataset.save_to_disk` does."""
    folder.mkdir(parents=True)
    files = [f"data-{shard:05}-of-{shards:05}.arrow" for shard in range(shards)]
    size = -(-len(table) // shards)
    for shard, file in enumerate(files):
        with pa.ipc.new_stream(folder / file, table.schema) as stream:
            stream.write_table(table.slice(shard * size, size), max_chunksize=1)
    state = {"_data_files": [{"filename": file} for file in files], "_split": None}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text("{}")


def test_what_save_to_disk_leaves(tmp_path: Path) -> None:
    columns = {"image": image_struct(NAMES), "class": CLASS, "gender": WORDS}
    save_to_disk(tmp_path / "one", pa.table(columns))
    source = open_source(str(tmp_path / "one"))
    check(source, NAMES, CLASS, GENDER)
    back = source.table["path"].tolist()[::-1]
    assert list(read_many(back)) == [name.encode() for name in NAMES[::-1]]
    for split in ("train", "test"):
        names = [f"{split}{name}" for name in NAMES]
        save_to_disk(tmp_path / "two" / split, pa.table({**columns, "image": image_struct(names)}))
    (tmp_path / "two" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    source = open_source(str(tmp_path / "two"))
    assert source.table["split"].tolist() == ["train"] * N + ["test"] * N
    check(
        source,
        [f"{split}{name}" for split in ("train", "test") for name in NAMES],
        CLASS * 2,
        GENDER * 2,
    )


@pytest.mark.parametrize("embedded", ["image", "file_name"])
def test_what_save_to_disk_leaves_of_names(tmp_path: Path, embedded: str) -> None:
    for split in ("train", "test"):
        names = [f"{split}{name}" for name in NAMES]
        cells: Any = names
        if embedded == "image":  # as of old versions, which left the images where they were
            type_ = pa.struct({"bytes": pa.binary(), "path": pa.string()})
            cells = pa.array([{"bytes": None, "path": f"/home/me/{name}"} for name in names], type_)
        columns = {embedded: cells, "class": CLASS, "gender": WORDS}
        save_to_disk(tmp_path / "saved" / split, pa.table(columns))
    (tmp_path / "saved" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    files = [f"{split}{name}" for split in ("train", "test") for name in NAMES]
    for name in files:
        (tmp_path / "faces").mkdir(exist_ok=True)
        (tmp_path / "faces" / name).write_bytes(name.encode())
    source = open_source(str(tmp_path / "saved"), images=str(tmp_path / "faces"))
    table = source.table.sort_values("filename")
    assert [Path(path).name for path in table["path"]] == sorted(files)
    assert table["split"].tolist() == ["test"] * N + ["train"] * N


@pytest.mark.parametrize("content", ["{}", "[]", '{"_data_files": 3}', "x"])
def test_a_damaged_state(tmp_path: Path, content: str) -> None:
    (tmp_path / "state.json").write_text(content)
    assert "state.json: no" in refusal(tmp_path)


def test_images_under_any_name(tmp_path: Path) -> None:
    images = [jpeg(row) for row in range(N)]
    struct = pa.array(
        [{"bytes": data, "path": name} for data, name in zip(images, NAMES, strict=True)]
    )
    columns = {"hash": [b"12"] * N, "class": CLASS, "gender": WORDS}
    for column, kind in ((struct, "parquet"), (pa.array(images), "parquet"), (struct, "feather")):
        path = tmp_path / f"faces.{kind}"
        table = pa.table({"the.face@1": column, **columns})
        (pq.write_table if kind == "parquet" else pa.feather.write_feather)(table, path)
        source = open_source(str(path))
        assert list(read_many(source.table["path"].tolist())) == images
        assert source.table["label"].tolist() == CLASS
        assert source.notes == (f"{path}: images: the.face@1",)
        named = NAMES if column is struct else [f"faces/{row}" for row in range(N)]
        assert source.table["filename"].tolist() == named


def test_two_columns_of_images(tmp_path: Path) -> None:
    images = [jpeg(row) for row in range(N)]
    path = tmp_path / "faces.parquet"
    other = images[::-1]
    pq.write_table(pa.table({"a": images, "b": other, "class": CLASS, "gender": WORDS}), path)
    assert refusal(path) == f"{path}: a and b each hold images; say which, as --column image=a"
    source = open_source(str(path), columns=["image=b"])
    assert list(read_many(source.table["path"].tolist())) == other
    assert "no column c with the bytes of image files" in refusal(path, columns=["image=c"])


def test_a_folder_of_arrow_files(tmp_path: Path) -> None:
    table = pa.table({"image": image_struct(NAMES), "class": CLASS, "gender": WORDS})
    (tmp_path / "train").mkdir()
    pyarrow.feather.write_feather(table, tmp_path / "train" / "0.arrow")
    source = open_source(str(tmp_path))
    check(source, NAMES, CLASS, GENDER)
    assert set(source.table["split"]) == {"train"}


def test_words_are_one_person_in_all_files(tmp_path: Path) -> None:
    images = [jpeg(row) for row in range(N)]
    for name, people in (("a", ["Ann", "Bob", "7", None]), ("b", ["7", "8", "8", "9"])):
        table = pa.table({"image": images, "class": CLASS, "gender": WORDS, "identity": people})
        (tmp_path / "deep" / name).mkdir(parents=True)
        pq.write_table(table, tmp_path / "deep" / name / "0.PARQUET")
    people = open_source(str(tmp_path)).table["identity"]
    assert people.fillna(-1).tolist() == [3, 4, 0, -1, 0, 1, 1, 2]


# FairFace, UTKFace, LFW


def test_fairface(tmp_path: Path) -> None:
    files = [f"train/{name}" for name in NAMES]
    put(tmp_path, files)
    path = tmp_path / "fairface_label_train.csv"
    pd.DataFrame(
        {
            "file": files,
            "age": ["50-59", "30-39", "3-9", "more than 70"],
            "gender": WORDS,
            "race": ["East Asian", "White", "Black", "Indian"],
            "service_test": [True, False, True, False],
        }
    ).to_csv(path, index=False)
    source = open_source(str(path), columns=["class=age==30-39|age==3-9"])
    check(source, files, CLASS, GENDER)
    assert source.notes == (f"{path}: files: file", f"{path}: class 1: age==30-39|age==3-9")
    said = f"{path}: no column class; it has file, age, gender, race, service_test; say which it is"
    assert refusal(path) == f"{said}, as --column class='COLUMN==VALUE'"


@pytest.mark.parametrize("embedded", [True, False])
def test_fairface_as_hugging_face_has_it(tmp_path: Path, embedded: bool) -> None:
    """Its genders are numbers, 0 for men, whose names are in the file."""
    classes = {
        "gender": ["Male", "Female"],
        "age": ["0-2", "3-9", "10-19"],
        "tested": ["no", "yes"],
    }
    features = {name: {"names": names, "_type": "ClassLabel"} for name, names in classes.items()}
    columns = {"gender": [0, 1, 0, 1], "age": [0, 1, 1, 2], "tested": [0, 0, 0, 1]}
    images = {"image": image_struct(NAMES) if embedded else pa.array(NAMES)}
    table = pa.table({**images, **columns}).replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    )
    path = put(tmp_path, NAMES) / "train.parquet"
    pq.write_table(table, path)
    source = open_source(str(path), columns=["class=age==3-9"])
    check(source, NAMES, CLASS, GENDER)
    notes = " ".join(source.notes)
    assert "gender: 0 is Male, 1 is Female" in notes
    assert "age: 0 is 0-2, 1 is 3-9, 2 is 10-19" in notes
    assert source.attributes is not None
    assert source.attributes.columns.tolist() == ["tested"]


UTKFACE = [
    "20_0_1_20170109142408075.jpg.chip.jpg",
    "61_1_3_20170109150557335.jpg",
    "40_0_0_20170109150557336.jpg.chip.jpg",
    "39_1_4_20170109150557337.JPG",
]
LACKING = ["39_1_20170116174525125.jpg.chip.jpg", "x.jpg"]
JUNK = ["Thumbs.db", "._20_0_1_20170109142408075.jpg", ".DS_Store"]


@pytest.mark.parametrize("packed", [False, True])
def test_utkface(tmp_path: Path, packed: bool) -> None:
    files = [*UTKFACE, *LACKING, *JUNK]
    path = tmp_path / "UTKFace"
    if packed:
        path = tmp_path / "UTKFace.zip"
        write_zip(path, {f"UTKFace/{file}": file.encode() for file in files})
    else:
        put(path, files)
    source = open_source(str(path), columns=["class=age>=40"])
    check(source, UTKFACE, CLASS, GENDER)
    assert source.notes[:2] == (
        f"{path}: UTKFace, with age, gender (0 is male, 1 female) and race by the files' names",
        f"{path}: 2 files lack a part of their name, and are left out: {', '.join(LACKING)}",
    )
    assert open_source(str(path), columns=["class=race==3|race==0"]).table["label"].sum() == 2
    assert refusal(path).startswith(f"{path}: no column class; it has filename, age,")
    assert "--images x: " in refusal(path, images="x")


LFW = """# LFW Attributes v1.2
#\tperson\timagenum\tMale\tBlond Hair\tEyeglasses
Aaron Eckhart\t1\t1.5\t-1.8\t-0.1
Abdel  Aziz\t2\t-2\t0.5\t-1
Zoë Ball\t1\t0.25\t-1\t3e-2
Zoë Ball\t12\t-1\t-1\t-1
"""
LFW_FILES = [
    "Aaron_Eckhart/Aaron_Eckhart_0001.jpg",
    "Abdel__Aziz/Abdel__Aziz_0002.jpg",
    "Zoë_Ball/Zoë_Ball_0001.jpg",
    "Zoë_Ball/Zoë_Ball_0012.jpg",
]


@pytest.mark.parametrize("folder", ["lfw", "lfw-deepfunneled/lfw-deepfunneled"])
def test_lfw(tmp_path: Path, folder: str) -> None:
    put(tmp_path / folder, LFW_FILES)
    (tmp_path / "lfw_attributes.txt").write_text(LFW, "utf-8")
    for spec in (tmp_path, tmp_path / "lfw_attributes.txt"):
        source = open_source(str(spec))
        check(source, LFW_FILES, CLASS, GENDER)
        assert source.table["identity"].tolist() == [0, 1, 2, 2]
        assert source.attributes is not None
        assert source.attributes.columns.tolist() == ["Male", "Blond_Hair", "Eyeglasses"]
    elsewhere = open_source(str(tmp_path), images=str(tmp_path / folder), label="Eyeglasses")
    assert elsewhere.table["label"].tolist() == [0, 0, 1, 0]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("#\tperson", "#\tname", "no line '# person imagenum …'"),
        ("\t-0.1", "", "line 3: expected a person, a number and 3 scores; get LFW's list again"),
        ("3e-2", "nan", "line 5: expected"),
        ("\t12\t", "\tx\t", "line 6: expected"),
    ],
)
def test_a_damaged_list_of_lfw(tmp_path: Path, old: str, new: str, said: str) -> None:
    (tmp_path / "lfw_attributes.txt").write_text(LFW.replace(old, new), "utf-8")
    assert said in refusal(tmp_path)


# Folders that say so

LAYOUTS: dict[str, tuple[str, list[str], list[str]]] = {
    "numbers and words": (
        "class/gender",
        ["0/male/a.jpg", "1/female/b.jpg", "1/male/c.png", "0/female/d.jpg"],
        [],
    ),
    "other words": (
        "split/hair/*/sex",
        [
            "train/dark/x/m/a.jpg",
            "test/blond/x/w/a.jpg",
            "val/blond/y/m/a.jpg",
            "train/dark/y/w/b.JPG",
        ],
        ["class=hair==blond", "gender=sex==m"],
    ),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("case", LAYOUTS)
def test_folders_by_class(tmp_path: Path, case: str, packed: bool) -> None:
    layout, files, columns = LAYOUTS[case]
    path: Anywhere = tmp_path / "faces"
    junk = ["Thumbs.db", "__MACOSX/._a.jpg"]
    if packed:
        everything = {file: file.encode() for file in [*files, *junk]}
        path = write_zip(tmp_path / "faces.zip", everything)
    else:
        put(path, [*files, *junk])
    source = open_source(str(path), layout=layout, columns=columns)
    check(source, files, CLASS, GENDER)
    assert source.notes[0] == f"{path}: 4 images by {layout}"
    assert source.table["split"].notna().any() == ("split" in layout)


@pytest.mark.parametrize(
    ("layout", "said"),
    [
        ("class", "0/female/d.jpg is in 2 folders of {}, not in 1; give a name for each folder"),
        ("class/*", "{}: no column gender; it has filename, class;"),
        ("class//gender", "--layout class//gender: give a name for each folder, as class/gender"),
        ("class/class", "--layout class/class: give a name for each folder"),
        ("gender/class", "row 1: class is female; it must be 0 or 1"),
        ("gender/*", "gender is 0 or 1, and nothing says which of them is a man"),
    ],
)
def test_a_layout_that_does_not_fit(tmp_path: Path, layout: str, said: str) -> None:
    put(tmp_path, LAYOUTS["numbers and words"][1])
    assert said.format(tmp_path) in refusal(tmp_path, layout=layout)


def test_a_layout_of_what_is_no_folder_of_images(tmp_path: Path) -> None:
    make: Callable[[], object] = (tmp_path / "m.csv").touch
    make()
    assert refusal(tmp_path / "m.csv", layout="class/gender").endswith(
        "m.csv is no folder of images; leave it out"
    )
    assert "no images in it" in refusal(tmp_path, layout="class/gender")
    assert "--layout class/gender for folders that say so" in refusal(tmp_path)


def test_a_folder_or_a_zip_that_is_no_source_says_what_is_near(tmp_path: Path) -> None:
    folder = put(tmp_path / "archive" / "img_align_celeba", ["000001.jpg"])
    lists = {"list_attr_celeba.csv": b"x", "faces/1.jpg": b"x"}
    write_zip(tmp_path / "archive.zip", lists)
    assert "holds list_attr_celeba.csv beside the images; unpack it" in refusal(
        tmp_path / "archive.zip"
    )
    (tmp_path / "archive" / "list_attr_celeba.csv").write_text("x")
    for spec in (tmp_path, folder):
        assert f"{spec}: no source of faces by itself; give {tmp_path / 'archive'}, or" in refusal(
            spec
        )
    other = put(tmp_path / "other", ["1.jpg"])
    for name in ("train.csv", "val.csv"):
        (other / name).write_text("x")
    said = f"give {other / 'train.csv'}, or another of the 2 tables there, or --layout class/gender"
    assert said in refusal(other)
