from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from layouts import write_parquet

from orchestrator.base.errors import InputError
from orchestrator.base.files import Anywhere
from orchestrator.data.prepare.prepare import Options, prepare
from orchestrator.data.reading.image_bytes import read_many
from orchestrator.data.sources.registry import open_source
from orchestrator.data.sources.source import Source

N = 6
MANIFEST: dict[str, Any] = {"class": [1, 0, 0, 1, 0, 1], "gender": [-1, 1, -1, 1, -1, 1]}
CELEBA: dict[str, Any] = {
    "celeb_id": [7, 7, 8, 9, 9, 10],
    "Bald": [False] * N,
    "Blond_Hair": [True, False, False, False, True, False],
    "Eyeglasses": [False, False, True, False, True, False],
    "Male": [False, True, False, True, False, True],
}


def images(start: int = 0, n: int = N) -> list[bytes]:
    return [b"image %d" % k for k in range(start, start + n)]


def names(start: int = 0, n: int = N) -> list[str]:
    return [f"{k:06}.jpg" for k in range(start, start + n)]


def write(path: Anywhere, start: int = 0, **columns: Any) -> str:
    return str(write_parquet(path, images(start), names(start), **(columns or CELEBA)))


def contents(source: Source) -> list[bytes | Exception]:
    return list(read_many(source.table["path"].tolist()))


def test_a_folder_of_shards_as_hugging_face_has_celeba(folder: Anywhere) -> None:
    """Its rows stay in the order of the files, so that neighbours are read together."""
    for start, name in enumerate(("validation-00000-of-00001", "train-00000-of-00002")):
        write(folder / "celeba" / "data" / f"{name}.parquet", 10 - 10 * start)
    write(folder / "celeba" / "data" / "train-00001-of-00002.parquet", 20)
    write(folder / "celeba" / ".cache" / "train-00009-of-00009.parquet", 30)
    source = open_source(str(folder / "celeba"))
    table = source.table
    assert table["filename"].tolist() == names(0) + names(20) + names(10)
    assert contents(source) == images(0) + images(20) + images(10)
    assert table["label"].tolist() == [1, 0, 1, 0, 1, 0] * 3
    assert table["gender"].tolist() == [-1, 1, -1, 1, -1, 1] * 3
    assert table["identity"].tolist() == CELEBA["celeb_id"] * 3
    assert table["split"].tolist() == ["train"] * 2 * N + ["val"] * N
    assert source.name == "celeba (Blond_Hair|Eyeglasses by Male)"
    assert source.attributes is not None
    assert source.attributes.columns.tolist() == ["Bald", "Blond_Hair", "Eyeglasses", "Male"]
    assert source.attributes["Eyeglasses"].tolist() == CELEBA["Eyeglasses"] * 3
    assert {str(type_) for type_ in source.attributes.dtypes} == {"bool"}


def test_one_file_with_the_columns_of_a_manifest(tmp_path: Path) -> None:
    more = {"identity": [1, 1, 2, 3, 4, None], "split": ["train", "valid", "test", None, "val", ""]}
    path = write(tmp_path / "test.parquet", **MANIFEST, **more, Smiling=[1, -1, 1, 1, -1, -1])
    source = open_source(path)
    table = source.table
    assert table["label"].tolist() == MANIFEST["class"]
    assert table["gender"].tolist() == MANIFEST["gender"]
    assert table["identity"].fillna(-1).tolist() == [1, 1, 2, 3, 4, -1]
    assert table["split"].fillna("").tolist() == ["train", "val", "test", "", "val", ""]
    assert source.name == "test.parquet"
    assert source.attributes is not None
    assert source.attributes.to_dict("list") == {"Smiling": [True, False, True, True, False, False]}
    assert source.notes == ()
    smiling = open_source(path, label="Smiling")
    assert smiling.table["label"].tolist() == [1, 0, 1, 1, 0, 0]
    assert smiling.notes == (f"{path}: class 1: Smiling, and not the column class",)
    for options in ({"label": "No_Such"}, {"group": "No_Such"}):
        with pytest.raises(InputError, match=f"--{next(iter(options))} No_Such: no such attribute"):
            open_source(path, **options)


def test_a_column_gender_and_a_rule_for_the_class(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", **{**CELEBA, "gender": MANIFEST["gender"]})
    source = open_source(path, label="Bald ^ Eyeglasses")
    assert source.table["label"].tolist() == [0, 0, 1, 0, 1, 0]
    assert source.table["gender"].tolist() == MANIFEST["gender"]
    assert source.name == "a.parquet (Bald ^ Eyeglasses)"


@pytest.mark.parametrize("values", [(0, 1), (-1, 1), (False, True), (0.0, 1.0)])
def test_attributes_are_any_two_values(tmp_path: Path, values: tuple[Any, Any]) -> None:
    columns = {name: [values[i] for i in map(int, CELEBA[name])] for name in ("Bald", "Male")}
    source = open_source(write(tmp_path / "a.parquet", **columns), label="Male")
    assert source.table["label"].tolist() == [0, 1, 0, 1, 0, 1]


@pytest.mark.parametrize(
    ("file", "split"),
    [
        ("train-00000-of-00010.parquet", "train"),
        ("data/validation-00000.parquet", "val"),
        ("valid.parquet", "val"),
        ("default/test/0000.parquet", "test"),
        ("Train_2.parquet", "train"),
        ("training.parquet", None),
        ("part-train.parquet", None),
    ],
)
def test_the_file_tells_the_split(tmp_path: Path, file: str, split: str | None) -> None:
    write(tmp_path / "faces" / file)
    table = open_source(str(tmp_path / "faces")).table
    assert [value if isinstance(value, str) else None for value in table["split"]] == [split] * N


def test_the_folder_above_does_not_tell_the_split(tmp_path: Path) -> None:
    write(tmp_path / "train" / "0000.parquet")
    assert open_source(str(tmp_path / "train")).table["split"].isna().all()


def test_faces_whose_images_have_no_names_of_their_own(tmp_path: Path) -> None:
    """Then they are called by their file and row."""
    folder = tmp_path / "faces"
    for start, split in enumerate(("train", "test")):
        write_parquet(
            folder / "data" / f"{split}.parquet", images(start), ["same.jpg"] * N, **CELEBA
        )
    table = open_source(str(folder)).table
    assert table["filename"].tolist() == [
        f"data/{split}/{row}" for split in ("test", "train") for row in range(N)
    ]
    write_parquet(tmp_path / "binary.parquet", images(), **CELEBA)
    source = open_source(str(tmp_path / "binary.parquet"))
    assert source.table["filename"].tolist() == [f"binary/{row}" for row in range(N)]
    assert contents(source) == images()


def test_a_column_filename_comes_first(tmp_path: Path) -> None:
    odd = ["b ü.jpg", "a/ .jpg", "c", "d", "e", "f"]
    path = write(tmp_path / "a.parquet", filename=odd, **MANIFEST)
    assert open_source(path).table["filename"].tolist() == odd
    path = write(tmp_path / "a.parquet", filename=[*odd[:-1], None], **MANIFEST)
    assert open_source(path).table["filename"].tolist() == names()


def test_the_images_are_not_read_when_the_source_is_opened(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", images(), names(), **CELEBA)
    content, damaged = path.read_bytes(), bytearray(path.read_bytes())
    group = pq.ParquetFile(path).metadata.row_group(0)
    assert group.column(0).path_in_schema == "image.bytes"
    at = group.column(0).data_page_offset
    damaged[at : at + 20] = b"\xff" * 20
    path.write_bytes(damaged)
    source = open_source(str(path))
    assert str(contents(source)[0]) == "damaged in the Parquet file"
    path.write_bytes(content)
    assert contents(source) == images()


@pytest.mark.parametrize("extra", [{}, {"Young": [0, 1, 2, 0, 1, 2], "note": list("abcdef")}])
def test_what_tells_the_class_is_missing(tmp_path: Path, extra: dict[str, Any]) -> None:
    path = write(tmp_path / "a.parquet", celeb_id=[1] * N, **extra)
    columns = ", ".join(["image", "celeb_id", *extra])
    with pytest.raises(InputError) as caught:
        open_source(path)
    assert str(caught.value) == (
        f"{path}: no columns class and gender; it has {columns}; say which they are, as "
        "--column class='COLUMN==VALUE' gender='COLUMN==VALUE'"
    )


def test_what_tells_the_gender_is_missing(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", **{**CELEBA, "Male": [0, 1, 2, 0, 1, 2]})
    message = r"--group Male: .*; near: Bald; it has the columns image, .*or add a column gender$"
    with pytest.raises(InputError, match=message):
        open_source(path)


BAD_SHARDS: dict[str, tuple[dict[str, Any], str]] = {
    "other columns": (
        {**{k: v for k, v in CELEBA.items() if k != "Bald"}, "Hat": [0] * N},
        r"b\.parquet: its columns are not those of .*a\.parquet: only one of them has Bald, Hat;",
    ),
    "other types": (
        {**CELEBA, "celeb_id": ["7", "7", "8", "9", "9", "10"]},
        r"faces: a column is not of one type in all files \(.*; prepare files of one kind",
    ),
    "a bad value": (
        {**CELEBA, "celeb_id": [7, 7, 8, -9, 9, 10]},
        r"b\.parquet: row 4: celeb_id is -9; it must be a whole number",
    ),
}


@pytest.mark.parametrize("case", BAD_SHARDS)
def test_a_file_unlike_the_others_is_named(tmp_path: Path, case: str) -> None:
    columns, message = BAD_SHARDS[case]
    write(tmp_path / "faces" / "a.parquet")
    write(tmp_path / "faces" / "b.parquet", 10, **columns)
    with pytest.raises(InputError, match=message) as caught:
        open_source(str(tmp_path / "faces"))
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    whole = Path(write(tmp_path / "faces" / "a.parquet")).read_bytes()
    for content in (b"", b"text", whole[:-20], b"PAR1" + bytes(100) + whole[-4:]):
        (tmp_path / "faces" / "b.parquet").write_bytes(content)
        with pytest.raises(InputError, match=r"b\.parquet: not a Parquet file, or a damaged") as e:
            open_source(str(tmp_path / "faces"))
        assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    "image",
    [
        pa.array([1] * N),
        pa.array([[1, 2]] * N),
        pa.array([bytes(12)] * N, pa.binary(12)),  # pixels, as of a prepared data set
        pa.array([{"name": "a.jpg"}] * N),
    ],
)
def test_a_column_image_without_bytes(tmp_path: Path, image: pa.Array) -> None:
    (tmp_path / "faces").mkdir()
    path = tmp_path / "faces" / "a.parquet"
    pq.write_table(pa.table({"image": image, **MANIFEST}), path)
    with pytest.raises(InputError, match=r"a\.parquet: no column image with the bytes of image f"):
        open_source(str(tmp_path / "faces"))
    with pytest.raises(InputError, match=r"a\.parquet: no column filename; it has image, cl"):
        open_source(str(path))


def test_a_column_image_of_names_is_that_of_the_files(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    names = [f"{row}.jpg" for row in range(N)]
    pq.write_table(pa.table({"image": pa.array(names), **MANIFEST}), path)
    source = open_source(str(path))
    assert source.table["filename"].tolist() == names
    assert source.notes == (f"{path}: files: image",)


def test_images_given_twice(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet")
    with pytest.raises(
        InputError, match=r"--images x: .*a\.parquet holds its images itself; leave"
    ):
        open_source(path, images="x")
    with pytest.raises(InputError, match=r"--images x: synthetic:20 is drawn; leave --images out"):
        open_source("synthetic:20", images="x")


def test_a_folder_named_as_a_file(tmp_path: Path) -> None:
    """So Spark writes them."""
    write(tmp_path / "faces.parquet" / "part-00000.parquet")
    assert len(open_source(str(tmp_path / "faces.parquet")).table) == N


def test_folders_named_as_files_tell_the_splits(folder: Anywhere) -> None:
    for split in ("train", "validation", "test"):
        write(folder / "faces" / f"{split}.parquet" / "part-00000.parquet")
        (folder / "faces" / f"{split}.parquet" / "_SUCCESS").write_bytes(b"")
    table = open_source(str(folder / "faces")).table
    assert len(table) == 3 * N
    assert table["split"].tolist() == ["test"] * N + ["train"] * N + ["val"] * N


@pytest.mark.usefixtures("in_process", "small_chunks")
def test_a_data_set_is_that_of_the_same_files(make_faces: Any, tmp_path: Path) -> None:
    """Splits and ranks do not depend on the order of the rows; a cell without image is dropped."""
    options = Options(image_size=10, max_bad=0.1)
    manifest = make_faces(40)
    loose = open_source(str(manifest))
    rows = loose.table.iloc[np.random.default_rng(0).permutation(40)]
    data: list[bytes | None] = [Path(path).read_bytes() for path in rows["path"]]
    data[17] = None
    columns = {"class": rows["label"].to_numpy(), "gender": rows["gender"].to_numpy()}
    path = write_parquet(tmp_path / "a.parquet", data, rows["filename"].tolist(), **columns)
    (manifest.parent / rows["filename"].iloc[17]).unlink()
    one = prepare(loose, tmp_path / "one", options)
    two = prepare(open_source(str(path)), tmp_path / "two", options)
    dropped = pd.read_csv(tmp_path / "two" / "dropped.csv")
    assert dropped.to_numpy().tolist() == [[rows["filename"].iloc[17], "no image in this row"]]
    for split in ("train", "val", "test"):
        first, second = one.load(split), two.load(split)
        order = np.argsort(second.filename.to_pylist())
        assert first.filename.tolist() == second.filename.take(order).tolist()
        assert first.rank.tolist() == second.rank[order].tolist()
        assert np.array_equal(first.images, second.images[order])
