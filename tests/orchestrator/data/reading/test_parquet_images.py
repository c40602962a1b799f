import errno
import io
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from layouts import write_parquet

from orchestrator.base.files import Anywhere, parse_uri
from orchestrator.data.reading import parquet_images as cells
from orchestrator.data.reading.parquet_images import holds_bytes, read_cells


def read(path: Anywhere, *rows: int) -> list[bytes | Exception]:
    return list(read_cells([cells.uri(row, path) for row in rows]))


@given(
    st.data(),
    st.lists(st.none() | st.binary(max_size=20), min_size=1, max_size=100),
    st.integers(1, 50),
    st.booleans(),
)
def test_any_rows_are_read_in_any_order(
    data: st.DataObject, images: list[bytes | None], row_group: int, named: bool
) -> None:
    names = [f"{k}.jpg" for k in range(len(images))] if named else None
    path = write_parquet(parse_uri("memory://cells/a.parquet"), images, names, row_group)
    rows = data.draw(st.lists(st.integers(0, len(images) - 1), max_size=40))
    try:
        for row, found in zip(rows, read(path, *rows), strict=True):
            if images[row] is None:
                assert str(found) == "no image in this row"
            else:
                assert found == images[row]
    finally:
        fsspec.filesystem("memory").rm("/cells", recursive=True)


def test_a_step_back_in_a_row_group(tmp_path: Path) -> None:
    images = [b"image %d" % row for row in range(100)]
    path = write_parquet(tmp_path / "a.parquet", images, row_group=100)
    assert read(path, 90, 3, 4, 99) == [images[row] for row in (90, 3, 4, 99)]


def test_a_file_system_that_fails_is_not_taken_for_a_damaged_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [bytes([row]) * 3000 for row in range(12)]
    path = write_parquet(tmp_path / "a.parquet", images, row_group=4)
    start = pq.ParquetFile(path).metadata.row_group(1).column(0).dictionary_page_offset

    broken = [True]

    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() == start and broken:
                broken.pop()
                raise OSError(errno.EIO, "Input/output error")
            return super().read(size)

    monkeypatch.setattr(cells, "source_of", lambda _path: Failing(path.read_bytes()))
    assert read(path, *range(4)) == images[:4]
    with pytest.raises(OSError, match="Input/output error"):
        read(path, 4)
    assert read(path, *range(12)) == images  # it is back


def test_a_cell_that_is_no_struct_has_no_image(tmp_path: Path) -> None:
    type_ = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    images = pa.array([None, {"bytes": None, "path": "a"}, {"bytes": b"x", "path": None}], type_)
    pq.write_table(pa.table({"image": images}), tmp_path / "a.parquet")
    *missing, there = read(tmp_path / "a.parquet", 0, 1, 2)
    assert [str(error) for error in missing] == ["no image in this row"] * 2
    assert there == b"x"


def test_files_follow_one_another(folder: Anywhere) -> None:
    one = write_parquet(folder / "one.parquet", [b"1", b"2"])
    two = write_parquet(folder / "two.parquet", [b"3"])
    places = [(0, one), (1, one), (0, two), (1, one)]
    assert list(read_cells([cells.uri(*place_) for place_ in places])) == [b"1", b"2", b"3", b"2"]


def test_a_file_that_is_written_again_is_read_again(folder: Anywhere) -> None:
    path = write_parquet(folder / "a.parquet", [b"old"])
    assert read(path, 0) == [b"old"]
    write_parquet(path, [b"another", b"new"])
    assert read(path, 0, 1) == [b"another", b"new"]


def test_a_row_group_is_not_held_in_memory(tmp_path: Path) -> None:
    images = [row.to_bytes(2000, "big") for row in range(20_000)]
    path = write_parquet(tmp_path / "a.parquet", images, row_group=20_000)
    before, held = pa.total_allocated_bytes(), []
    for row, image in enumerate(read_cells([cells.uri(row, path) for row in range(20_000)])):
        assert image == images[row]
        held.append(pa.total_allocated_bytes() - before)
    assert max(held) < path.stat().st_size / 3


def test_a_damaged_row_group_spares_the_others(tmp_path: Path) -> None:
    images = [bytes([k]) * 3000 for k in range(12)]
    path = write_parquet(tmp_path / "a.parquet", images, row_group=4)
    content = bytearray(path.read_bytes())
    start = pq.ParquetFile(path).metadata.row_group(1).column(0).data_page_offset
    content[start : start + 30] = b"\xff" * 30
    path.write_bytes(content)
    found = read(path, *range(12))
    assert found[:4] + found[8:] == images[:4] + images[8:]
    assert {str(error) for error in found[4:8]} == {"damaged in the Parquet file"}
    assert read(path, 0) == [images[0]]


def test_what_is_no_file_of_images(tmp_path: Path) -> None:
    (tmp_path / "text.parquet").write_text("no Parquet")
    pq.write_table(pa.table({"image": ["a", "b"]}), tmp_path / "names.parquet")
    write_parquet(tmp_path / "short.parquet", [b"1"])
    reasons = [
        [str(error) for error in read(tmp_path / f"{name}.parquet", 1)]
        for name in ("text", "names", "short")
    ]
    assert reasons == [
        ["damaged in the Parquet file"],
        ["no images in the Parquet file"],
        ["damaged in the Parquet file"],
    ]


BYTES = pa.struct({"bytes": pa.binary(), "path": pa.string()})


@pytest.mark.parametrize(
    ("type_", "found"),
    [
        (pa.binary(), True),
        (pa.large_binary(), True),
        (BYTES, True),
        (pa.struct({"bytes": pa.large_binary()}), True),
        (pa.struct({"bytes": pa.string()}), False),
        (pa.struct({"path": pa.string()}), False),
        (pa.list_(pa.uint8()), False),
        (pa.binary(300), False),  # a prepared data set: pixels, not files
        (pa.string(), False),
    ],
)
def test_columns_of_images(type_: pa.DataType, found: bool) -> None:
    assert holds_bytes(pa.schema({"x": pa.int8(), "image": type_})) == found
    assert holds_bytes(pa.schema({"photo": type_}), "photo") == found
    assert not holds_bytes(pa.schema({"photo": type_}))
