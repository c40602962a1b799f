"""What is labelled: every form of images, in its order, or one line."""

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from layouts import write_parquet, write_zip
from PIL import Image
from preparing import synthetic

from orchestrator.base.errors import InputError
from orchestrator.data.reading.image_bytes import read_many
from orchestrator.data.to_label import ToLabel, open_to_label, read_faces

NAMES = ["b.png", "a.png", "c/a.png"]
"""Not in the order of the alphabet, as tables are."""


def png(row: int) -> bytes:
    content = BytesIO()
    Image.new("RGB", (2, 2), (row, 0, 0)).save(content, "PNG")
    return content.getvalue()


IMAGES = {name: png(row) for row, name in enumerate(NAMES)}
OTHERS = {"age": ["007", "", "30"], "label": ["1", "-1", "1"]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write the images, and what systems leave beside them."""
    for name, data in {**IMAGES, "Thumbs.db": b"x", "._a.png": b"x", "notes.txt": b"x"}.items():
        file = tmp_path / "faces" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return tmp_path / "faces"


def check(found: ToLabel, names: list[str] = NAMES) -> None:
    assert found.images["filename"].tolist() == names
    assert list(read_many(found.images["path"].tolist())) == [IMAGES[name] for name in names]


def refusal(*words: Any, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        open_to_label(*map(str, words), **options)
    return str(caught.value)


def test_a_folder_a_zip_and_one_image(folder: Path, tmp_path: Path) -> None:
    check(open_to_label(str(folder)), sorted(NAMES))
    (folder / "table.parquet").write_bytes(b"a table, and no images")
    check(open_to_label(str(folder)), sorted(NAMES))
    packed = {f"faces/{name}": data for name, data in IMAGES.items()}
    write_zip(tmp_path / "faces.ZIP", {**packed, "__MACOSX/._a.png": b"x", "faces/list.txt": b"x"})
    check(open_to_label(str(tmp_path / "faces.ZIP")), sorted(NAMES))
    check(open_to_label(str(folder / "a.png")), ["a.png"])


def write_table(path: Path, columns: dict[str, Any]) -> None:
    table = pd.DataFrame(columns)
    if path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in table.to_dict("records")))
    elif path.suffix == ".parquet":
        pq.write_table(pa.table(columns), path)
    elif path.suffix == ".feather":
        pyarrow.feather.write_feather(pa.table(columns), path)
    else:
        separator = {".csv": ",", ".tsv": "\t", ".CSV": ";"}[path.suffix]
        table.to_csv(path, sep=separator, index=False, encoding="utf-16")


@pytest.mark.parametrize("suffix", ["csv", "CSV", "tsv", "jsonl", "parquet", "feather"])
def test_a_table_in_its_order_with_its_columns(folder: Path, suffix: str) -> None:
    path = folder / f"table.{suffix}"
    write_table(path, {"Image_ID": NAMES, **OTHERS})
    check(open_to_label(str(path)))
    assert open_to_label(str(path)).kept is None
    found = open_to_label(str(path), keep=True)
    check(found)
    kept = {"age": OTHERS["age"], "given_label": OTHERS["label"]}
    assert found.kept is not None
    assert found.kept.to_dict("list") == kept
    assert f"{path}: its column label is kept as given_label" in found.notes


def test_a_table_of_another_machine_may_name_an_image_twice(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    names = ["c\\a.png", "b.png", "c\\a.png"]
    path.write_text("\n".join(["photo,path", *(f"D:\\old\\{name},x" for name in names)]))
    found = open_to_label(str(path), str(folder), ["filename=photo"])
    paths = [str(folder / name) for name in ("c/a.png", "b.png", "c/a.png")]
    assert found.images["path"].tolist() == paths


def test_images_in_the_cells(tmp_path: Path) -> None:
    path = tmp_path / "faces.parquet"
    write_parquet(path, list(IMAGES.values()), NAMES, age=[1, None, 3], other=[b"x"] * 3)
    check(open_to_label(str(path)))
    kept = open_to_label(str(path), keep=True).kept
    assert kept is not None
    assert kept.to_dict("list") == {"age": [1, None, 3]}  # and no 1.0
    assert refusal(path, tmp_path).startswith("--images: ")


@pytest.mark.parametrize("embedded", [True, False])
def test_what_save_to_disk_leaves(folder: Path, tmp_path: Path, *, embedded: bool) -> None:
    cells = [{"bytes": IMAGES[name] if embedded else None, "path": name} for name in NAMES]
    type_ = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    table = pa.table({"image": pa.array(cells, type_), "age": [1, 2, 3]})
    saved = tmp_path / "saved"
    saved.mkdir()
    with pa.ipc.new_stream(saved / "data.arrow", table.schema) as stream:
        stream.write_table(table)
    (saved / "state.json").write_text('{"_data_files": [{"filename": "data.arrow"}]}')
    found = open_to_label(str(saved), None if embedded else str(folder), keep=True)
    check(found)
    assert found.kept is not None
    assert found.kept["age"].tolist() == [1, 2, 3]


def test_an_imagefolder_of_splits(folder: Path) -> None:
    for split in ("test", "train"):
        (folder / split).mkdir()
        (folder / split / "x.png").write_bytes(IMAGES["b.png"])
        (folder / split / "metadata.csv").write_text("file_name,age\nx.png,3\n")
    found = open_to_label(str(folder), keep=True)
    assert found.images["filename"].tolist() == ["test/x.png", "train/x.png"]
    assert found.kept is not None
    assert found.kept.to_dict("list") == {"age": ["3", "3"], "split": ["test", "train"]}


def test_a_prepared_data_set(tmp_path: Path) -> None:
    data = synthetic(tmp_path / "data", 300)
    found = open_to_label(str(data), keep=True)
    store = found.store
    assert store is not None
    assert found.kept is not None
    assert found.kept.columns.tolist() == ["class", "gender", "identity", "split"]
    arrays = [store.load(split) for split in ("train", "val", "test")]
    images = np.concatenate([array.images for array in arrays])
    np.testing.assert_array_equal(read_faces(store, found.images["path"].tolist()), images)
    backwards = found.images["path"].tolist()[::-7]
    np.testing.assert_array_equal(read_faces(store, backwards), images[::-7])
    some = open_to_label(str(data), split="val").images
    assert some["filename"].tolist() == arrays[1].filename.tolist()


def test_refusals(folder: Path, tmp_path: Path) -> None:
    table = folder / "t.csv"
    table.write_text("filename,class\nx.png,1\n")
    assert f"none of the 1 images is there: x.png would be {folder / 'x.png'}; give" in refusal(
        table
    )
    assert "--images: " in refusal(folder, tmp_path)
    assert "a folder or archive of images; leave --split out" in refusal(folder, split="val")
    assert "--keep-columns: " in refusal(folder / "a.png", keep=True)
    assert "--column class=x: " in refusal(table, columns=["class=x"])
    assert "no such column" in refusal(table, columns=["filename=x"])
    assert "no such file or folder; give a folder or" in refusal(tmp_path / "none")
    assert "no image, and no table or folder" in refusal(folder / "notes.txt")
    assert "no such file or folder" in refusal("synthetic:10")
    (tmp_path / "empty").mkdir()
    assert "no images in it" in refusal(tmp_path / "empty")
    table.write_text("filename\n")
    assert f"{table}: no rows" in refusal(table)


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet", "feather", "zip"])
@pytest.mark.parametrize("content", [png(0), b"PK\x03\x04\xff\xfe", b"PAR1\xff", b"\xff\xfea"])
def test_what_is_not_what_its_name_says(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(content)
    said = refusal(path)
    assert said.startswith(str(path))
    assert "codec" not in said
