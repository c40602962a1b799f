import errno
import json
import os
import pickle
import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from orchestrator.base.errors import InputError
from orchestrator.data.prepare.prepare import Options, prepare
from orchestrator.data.sources.registry import open_source
from orchestrator.data.store.arrays import pixels
from orchestrator.data.store.store import Store
from orchestrator.data.store.streaming import StreamedImages, read_here, stream


def column(images: NDArray[np.uint8]) -> pa.Array:
    raw = [image.tobytes() for image in images]
    return pa.array(raw, pa.binary(images[0].nbytes if len(images) else 12))


def noise(n: int, side: int = 2) -> NDArray[np.uint8]:
    images = np.random.default_rng(n).integers(0, 3, (n, side, side, 3), dtype=np.uint8)
    images[:, -1] = 0  # bytes that numpy's own S type would strip
    return images


@given(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))
def test_pixels_of_slices(n: int, start: int, length: int) -> None:
    images = noise(n)
    assert np.array_equal(pixels(column(images)), images)
    part = column(images).slice(min(start, n), length)
    assert np.array_equal(pixels(part), images[start : start + length])
    again = part.slice(min(1, len(part)))
    assert np.array_equal(pixels(again), images[start : start + length][1:])


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=4))
def test_pixels_of_chunks(pieces: list[tuple[int, int]]) -> None:
    parts = [noise(n)[start:] for n, start in pieces]
    arrays = [column(noise(n)).slice(min(start, n)) for n, start in pieces]
    chunked = pa.chunked_array(arrays, pa.binary(12))
    assert np.array_equal(pixels(chunked), np.concatenate([np.empty((0, 2, 2, 3)), *parts]))


def test_pixels_of_one_chunk_are_a_view() -> None:
    array = column(noise(4))
    address = array.buffers()[1].address + 12
    for view in (pixels(array.slice(1)), pixels(pa.chunked_array([array.slice(1)]))):
        assert view.__array_interface__["data"][0] == address
        assert not view.flags.writeable


def test_what_is_no_column_of_square_images() -> None:
    with pytest.raises(ValueError, match="not the size of a square RGB image"):
        pixels(pa.array([b"123456"], pa.binary(6)))
    with pytest.raises(ValueError, match="1 of 2 images are null"):
        pixels(pa.array([b"123", None], pa.binary(3)))


@pytest.fixture
def store(make_faces: Any, tmp_path: Path, request: pytest.FixtureRequest) -> Store:
    request.getfixturevalue("small_chunks")
    request.getfixturevalue("in_process")
    source = open_source(str(make_faces(40)))
    return prepare(source, tmp_path / "data", Options(image_size=6))


def test_opening_reads_what_was_prepared(store: Store) -> None:
    again = Store.open(str(store.path))
    assert again == store
    first, second = store.load("val"), again.load("val")
    for name in ("images", "label", "gender", "rank", "filename", "identity"):
        assert np.array_equal(getattr(first, name), getattr(second, name))
    assert first.images.dtype == np.uint8
    assert first.images.flags.writeable
    assert (first.label.dtype, first.gender.dtype, first.rank.dtype) == (np.int8, np.int8, np.int32)
    assert first.identity.dtype == np.int32
    assert len(first) == 8


def test_names_are_read_where_they_lie_by_whoever_a_split_is_shared_with(store: Store) -> None:
    """As from Ray's object store: what is pickled apart is not copied."""
    arrays, apart = store.load("train"), list[pickle.PickleBuffer]()
    packed = pickle.dumps(arrays, protocol=5, buffer_callback=apart.append)
    assert arrays.filename[0].as_py().encode() not in packed
    again = pickle.loads(packed, buffers=apart)
    assert again.filename.equals(arrays.filename)
    for here, there in zip(arrays.filename.buffers(), again.filename.buffers(), strict=True):
        assert (here and here.address) == (there and there.address)


def test_pixels_lie_in_a_shard_uncompressed_and_without_statistics(store: Store) -> None:
    footer = pq.read_metadata(store.path / store.meta.shards["train"][0].file)
    image = footer.row_group(0).column(0)
    assert image.path_in_schema == "image"
    assert image.compression == "UNCOMPRESSED"
    assert not image.has_dictionary_page
    assert image.statistics is None


@pytest.mark.usefixtures("in_process")
def test_identities_may_be_unknown(make_faces: Any, tmp_path: Path) -> None:
    source = open_source(str(make_faces(40, identity=[""] * 40)))
    store = prepare(source, tmp_path / "data", Options(image_size=6))
    assert set(store.load("train").identity) == {-1}


def test_where_there_is_no_data(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no prepared data here \(no meta\.json\); make it with"):
        Store.open(tmp_path / "data")
    (tmp_path / "data.partial").mkdir()
    with pytest.raises(InputError, match=r"data\.partial is an unfinished one: run the same"):
        Store.open(tmp_path / "data")


def shard_of(store: Store) -> Path:
    return Path(store.path) / store.meta.shards["train"][2].file


def remove(store: Store) -> None:
    shard_of(store).unlink()


def shorten(store: Store) -> None:
    whole = shard_of(store).read_bytes()
    shard_of(store).write_bytes(whole[:-50])


def break_footer(store: Store) -> None:
    whole = bytearray(shard_of(store).read_bytes())
    whole[-300:-8] = bytes(292)
    shard_of(store).write_bytes(whole)


def swap(store: Store) -> None:
    """Put a shard of equal size from another data set in its place."""
    table = pq.read_table(shard_of(store))
    other = table.replace_schema_metadata({"fairfront.fingerprint": "0" * 64})
    pq.write_table(other, shard_of(store))
    edit_meta(
        store, lambda meta: meta["shards"]["train"][2].update(bytes=shard_of(store).stat().st_size)
    )


def edit_meta(store: Store, edit: Callable[[dict[str, Any]], None]) -> None:
    path = Path(store.path) / "meta.json"
    meta = json.loads(path.read_text())
    edit(meta)
    path.write_text(json.dumps(meta))


def readers(store: Store) -> list[Callable[[str], object]]:
    """Open the data set, and return all that reads a split of it."""
    opened = Store.open(store.path)
    streamed = [(shard.file, shard.rows) for shard in opened.meta.shards["train"]]
    images = StreamedImages.of(opened, streamed, read_here)
    return [
        opened.load,
        partial(stream, opened),
        lambda _: images.read(np.arange(len(images.rows))),
    ]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove, "this part of the data is missing; prepare the data again"),
        (shorten, r"damaged: \d+ bytes instead of \d+; prepare the data again"),
    ],
)
def test_a_shard_that_is_missing_or_too_short_is_named_at_once(
    store: Store, damage: Callable[[Store], None], message: str
) -> None:
    damage(store)
    with pytest.raises(InputError, match=message) as caught:
        Store.open(store.path)
    assert str(caught.value).startswith(f"{shard_of(store)}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (break_footer, "damaged .*; prepare the data again"),
        (swap, "belongs to another data set; prepare the data again"),
    ],
)
def test_a_shard_of_the_right_size_that_is_another_is_named_when_it_is_read(
    store: Store, damage: Callable[[Store], None], message: str
) -> None:
    damage(store)
    for read in readers(store):
        with pytest.raises(InputError, match=message) as caught:
            read("train")
        assert str(caught.value).startswith(f"{shard_of(store)}: ")
        assert "\n" not in str(caught.value)


def test_a_shard_with_more_rows_than_it_should_have_is_named(store: Store) -> None:
    def move_a_row(meta: dict[str, Any]) -> None:
        meta["shards"]["train"][2]["rows"] -= 1
        meta["shards"]["train"][3]["rows"] += 1

    edit_meta(store, move_a_row)
    for read in readers(store)[:2]:
        with pytest.raises(InputError, match=r"part-00002\.parquet: belongs to another data set"):
            read("train")


def test_opening_reads_no_shard(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over a network each would be a wait, and a large data set has thousands."""

    def refuse(*_: object, **__: object) -> object:
        raise AssertionError("a shard is read")

    monkeypatch.setattr(pq, "ParquetFile", refuse)
    assert Store.open(store.path) == store


def test_a_flipped_bit_among_the_pixels_is_found_when_they_are_read(store: Store) -> None:
    image = store.load("train").images[-1].tobytes()
    path = Path(store.path) / store.meta.shards["train"][-1].file
    whole = bytearray(path.read_bytes())
    whole[whole.index(image) + 5] ^= 1
    path.write_bytes(whole)
    opened = Store.open(store.path)
    with pytest.raises(InputError, match=r"part-00004\.parquet: damaged .*CRC") as caught:
        opened.load("train")
    assert "\n" not in str(caught.value)


def test_counts_that_are_not_the_rows(store: Store) -> None:
    edit_meta(store, lambda meta: meta["counts"]["val"].update(women={"0": 0, "1": 4}))
    with pytest.raises(InputError, match=r"val holds .* where meta\.json counts .*'0': 0, '1': 4"):
        Store.open(store.path).load("val")
    edit_meta(store, lambda meta: meta["counts"]["val"]["women"].update({"0": 99}))
    with pytest.raises(InputError, match=r"meta\.json: val counts 107 rows where its shards"):
        Store.open(store.path)


def rewrite_ranks(store: Store, ranks: Callable[[NDArray[np.int32]], NDArray[np.int32]]) -> None:
    shards = json.loads((Path(store.path) / "meta.json").read_text())["shards"]
    for shard in shards["val"]:
        path = Path(store.path) / shard["file"]
        table = pq.read_table(path)
        field = table.schema.get_field_index("rank")
        new = pa.array(ranks(table["rank"].to_numpy()), pa.int32())
        pq.write_table(table.set_column(field, table.schema.field(field), new), path)
        shard["bytes"] = path.stat().st_size
    edit_meta(store, lambda meta: meta.update(shards=shards))


@pytest.mark.parametrize(
    "ranks", [lambda rank: rank * 0, lambda rank: rank + 1, lambda rank: -rank - 1]
)
def test_ranks_that_are_no_permutation(
    store: Store, ranks: Callable[[NDArray[np.int32]], NDArray[np.int32]]
) -> None:
    rewrite_ranks(store, lambda rank: rank)
    assert len(Store.open(store.path).load("val")) == 8
    rewrite_ranks(store, ranks)
    opened = Store.open(store.path)
    for read in (opened.load, partial(stream, opened)):
        with pytest.raises(InputError, match=r"val: the ranks of .* are not 0, 1, 2, …; prepare"):
            read("val")


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("name", ["dropped.csv", "attributes.parquet"])
def test_a_file_beside_the_shards_that_is_missing(
    make_faces: Any, tmp_path: Path, name: str
) -> None:
    source = open_source(str(make_faces(40, smiling=[0, 1] * 20)))
    store = prepare(source, tmp_path / "data", Options(image_size=6))
    assert store.meta.attributes == ["smiling"]
    (tmp_path / "data" / name).unlink()
    with pytest.raises(InputError, match=rf"{name}: this part of the data is missing; prepare"):
        Store.open(store.path)


def test_a_disk_that_fails_is_not_taken_for_damage(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> object:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(pq, "ParquetFile", fail)
    with pytest.raises(InputError, match=r"part-\d+\.parquet: Input/output error$"):
        store.load("val")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda meta: meta.update(format_version=1),
            "data of format version 1, this fairfront reads 2",
        ),
        (lambda meta: meta.pop("format_version"), "data of format version None"),
        (lambda meta: meta.pop("counts"), r"meta\.json: counts: Field required; prepare"),
        (
            lambda meta: meta.update(rows="many"),
            r"meta\.json: rows: Input should be a valid integer",
        ),
    ],
)
def test_a_meta_that_is_not_ours(
    store: Store, edit: Callable[[dict[str, Any]], None], message: str
) -> None:
    edit_meta(store, edit)
    with pytest.raises(InputError, match=message):
        Store.open(store.path)


def test_a_meta_that_is_no_json(store: Store) -> None:
    (Path(store.path) / "meta.json").write_text("{")
    with pytest.raises(InputError, match=re.escape("meta.json: not valid JSON")):
        Store.open(store.path)


def test_a_store_may_be_moved(store: Store, tmp_path: Path) -> None:
    shutil.move(store.path, tmp_path / "a=b")  # no partition of anything
    moved = Store.open(tmp_path / "a=b")
    assert len(moved.load("train")) == 24
