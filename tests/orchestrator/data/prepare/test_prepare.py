import csv
import json
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image
from preparing import SMALL, break_images, interrupt_after, prepared, prepared_here, recording, tree

from orchestrator.base.errors import InputError
from orchestrator.data.prepare import chunks, ray_pool
from orchestrator.data.prepare import prepare as module
from orchestrator.data.prepare.prepare import Options, prepare, work_folder
from orchestrator.data.prepare.rows import fingerprint
from orchestrator.data.reading.decode import decode
from orchestrator.data.sources.registry import open_source
from orchestrator.data.sources.source import Source
from orchestrator.data.splits import SPLITS, assign_splits, stratum_of
from orchestrator.data.store.arrays import Arrays
from orchestrator.data.store.store import Store


def assert_ranks_are_permutations(arrays: Arrays) -> None:
    stratum = stratum_of(arrays.gender, arrays.label)
    for value in range(4):
        ranks = np.sort(arrays.rank[stratum == value])
        assert list(ranks) == list(range(len(ranks)))


@pytest.mark.usefixtures("in_process", "small_chunks")
class TestInProcess:
    def test_the_store_holds_the_source(self, make_faces: Any, tmp_path: Path) -> None:
        manifest = make_faces(50)
        source = open_source(str(manifest))
        store = prepare(source, tmp_path / "data", SMALL)
        splits = assign_splits(source.table, SMALL.fractions, "row", 0)
        for code, split in enumerate(SPLITS):
            arrays, rows = store.load(split), source.table[splits == code]
            assert arrays.filename.to_pylist() == rows["filename"].tolist()
            for name in ("label", "gender", "identity"):
                assert list(getattr(arrays, name)) == rows[name].tolist()
            for image, path in zip(arrays.images, rows["path"], strict=True):
                assert np.array_equal(image, decode(Path(path).read_bytes(), 10))
            assert_ranks_are_permutations(arrays)
        assert store.meta.rows == 50
        assert store.meta.dropped == 0
        assert store.meta.source == "manifest.csv"
        assert (tmp_path / "data" / "dropped.csv").read_text() == "filename,reason\n"

    def test_meta_says_what_was_done(self, make_faces: Any, tmp_path: Path) -> None:
        options = Options(image_size=7, fractions=(0.5, 0.25, 0.25), seed=9, split_by="identity")
        prepared(make_faces(60), tmp_path / "data", options)
        meta = json.loads((tmp_path / "data" / "meta.json").read_text())
        assert meta["format_version"] == 2
        assert (meta["image_size"], meta["seed"], meta["split_by"]) == (7, 9, "identity")
        assert meta["fractions"] == [0.5, 0.25, 0.25]
        assert meta["resampling"] == "bilinear, antialiased"
        assert meta["decoder"].startswith("simplejpeg ")
        total = sum(
            n for split in meta["counts"].values() for g in split.values() for n in g.values()
        )
        assert total == meta["rows"] == 60

    def test_progress_reaches_the_end(self, make_faces: Any, tmp_path: Path) -> None:
        seen: list[tuple[int, int]] = []
        prepared(make_faces(20), tmp_path / "data", on_progress=lambda *rows: seen.append(rows))
        assert seen == [(0, 20), (4, 20), (12, 20), (20, 20)]

    def test_the_same_seed_gives_the_same_bytes(self, make_faces: Any, tmp_path: Path) -> None:
        manifest = make_faces(40)
        for name in ("one", "two"):
            prepared(manifest, tmp_path / name)
        assert tree(tmp_path / "one") == tree(tmp_path / "two")
        prepared(manifest, tmp_path / "three", replace(SMALL, seed=1))
        one, three = (Store.open(tmp_path / name) for name in ("one", "three"))
        assert one.load("test").filename != three.load("test").filename
        assert one.meta.fingerprint != three.meta.fingerprint

    def test_a_limit(self, make_faces: Any, tmp_path: Path) -> None:
        store = prepared(make_faces(60), tmp_path / "data", replace(SMALL, limit=40))
        assert store.meta.rows == sum(len(store.load(split)) for split in SPLITS) == 40

    def test_bad_images_are_dropped_and_listed(self, make_faces: Any, tmp_path: Path) -> None:
        manifest = make_faces(60)
        reasons = break_images(manifest.parent)
        store = prepared(manifest, tmp_path / "data", replace(SMALL, max_bad=0.1))
        with (tmp_path / "data" / "dropped.csv").open() as file:
            listed = {row["filename"]: row["reason"] for row in csv.DictReader(file)}
        assert list(listed) == sorted(reasons)
        assert all(reason in listed[name] for name, reason in reasons.items())
        assert (store.meta.rows, store.meta.dropped) == (55, 5)
        kept = [name for split in SPLITS for name in store.load(split).filename.to_pylist()]
        assert sorted(kept) == sorted(
            set(open_source(str(manifest)).table["filename"]) - set(reasons)
        )
        for split in SPLITS:
            assert_ranks_are_permutations(store.load(split))

    def test_odd_images_are_decoded(self, make_faces: Any, tmp_path: Path) -> None:
        manifest = make_faces(40)
        red = Image.new("RGB", (30, 30), (200, 30, 40))
        for row, image in enumerate(
            (red.convert("L"), red.convert("CMYK"), red.convert("RGBA"), red.quantize(2))
        ):
            format_ = "JPEG" if image.mode in ("L", "CMYK") else "PNG"
            data = BytesIO()
            image.save(data, format_)
            (manifest.parent / f"{row:04}.jpg").write_bytes(data.getvalue())
        store = prepared(manifest, tmp_path / "data")
        assert store.meta.dropped == 0
        shown = {
            name: image.mean(axis=(0, 1))
            for split in SPLITS
            for name, image in zip(
                store.load(split).filename.to_pylist(), store.load(split).images, strict=True
            )
        }
        assert np.ptp(shown["0000.jpg"]) == 0
        for name in ("0001.jpg", "0002.jpg", "0003.jpg"):
            assert shown[name] == pytest.approx([200, 30, 40], abs=4)

    def test_too_many_bad_images_leave_nothing(self, make_faces: Any, tmp_path: Path) -> None:
        manifest = make_faces(60)
        break_images(manifest.parent)
        before = sorted(tmp_path.iterdir())
        with pytest.raises(InputError) as caught:
            prepared(manifest, tmp_path / "data", replace(SMALL, max_bad=0.05))
        message = str(caught.value)
        assert re.match(r"--max-bad 0\.05: of 60 images at least 5 cannot be read: 00", message)
        assert "(no" in message
        assert message.endswith(", …; mend them, or raise --max-bad")
        assert sorted(tmp_path.iterdir()) == before

    @pytest.mark.parametrize("max_bad", [0.05, 1.0])
    def test_no_readable_image_leaves_nothing(
        self, make_faces: Any, tmp_path: Path, max_bad: float
    ) -> None:
        manifest = make_faces(60)
        for path in manifest.parent.glob("*.jpg"):
            path.write_bytes(b"no image")
        before = sorted(tmp_path.iterdir())
        with pytest.raises(
            InputError, match=r"of 60 images at least \d+ cannot be read: 00"
        ) as all_:
            prepared(manifest, tmp_path / "data", replace(SMALL, max_bad=max_bad))
        assert "\n" not in str(all_.value)
        assert str(all_.value).endswith("; mend them") == (max_bad == 1)
        assert sorted(tmp_path.iterdir()) == before

    def test_a_row_whose_image_is_not_in_the_folder_is_named(
        self, make_faces: Any, tmp_path: Path
    ) -> None:
        manifest = make_faces(60)
        (manifest.parent / "0007.jpg").unlink()
        with pytest.raises(InputError, match=r": 0007\.jpg \(no such file\); give --images the"):
            prepared(manifest, tmp_path / "data")
        assert not work_folder(tmp_path / "data").exists()

    def test_images_that_lie_elsewhere(self, make_faces: Any, tmp_path: Path) -> None:
        source = open_source(str(make_faces(40)), images=str(tmp_path / "nowhere"))
        with pytest.raises(
            InputError, match=r"\(no such file\), …; give --images the folder they lie"
        ):
            prepare(source, tmp_path / "data", SMALL)

    def test_a_split_that_loses_a_gender_to_bad_images(
        self, make_faces: Any, tmp_path: Path
    ) -> None:
        manifest = make_faces(40, split=["train"] * 36 + ["val", "val", "test", "test"])
        (manifest.parent / "0037.jpg").unlink()
        with pytest.raises(InputError, match="without what was dropped: the val split has no men"):
            prepared(manifest, tmp_path / "data", replace(SMALL, split_by="official", max_bad=0.1))
        assert not work_folder(tmp_path / "data").exists()

    def test_data_that_exists_is_not_touched(self, make_faces: Any, tmp_path: Path) -> None:
        manifest = make_faces(40)
        prepared(manifest, tmp_path / "data")
        before = tree(tmp_path / "data")
        with pytest.raises(
            InputError, match=r"data: a data set exists already; choose another --out"
        ):
            prepared(manifest, tmp_path / "data")
        assert tree(tmp_path / "data") == before
        (tmp_path / "file").write_text("x")
        with pytest.raises(InputError, match="exists already"):
            prepared(manifest, tmp_path / "file")

    def test_an_empty_folder_is_free(self, make_faces: Any, tmp_path: Path) -> None:
        (tmp_path / "data").mkdir()
        assert prepared(make_faces(40), tmp_path / "data").meta.rows == 40

    def test_a_place_that_cannot_be_written_is_named(self, make_faces: Any, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        with pytest.raises(InputError, match=r"data\.partial: Not a directory; mend that"):
            prepared(make_faces(40), tmp_path / "file" / "data")

    def test_an_empty_split_is_refused_before_anything_is_written(
        self, make_faces: Any, tmp_path: Path
    ) -> None:
        manifest = make_faces(40, split=["train"] * 40)
        with pytest.raises(InputError, match="--split-by official: the val split is empty"):
            prepared(manifest, tmp_path / "data", replace(SMALL, split_by="official"))
        assert not work_folder(tmp_path / "data").exists()

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (Options(image_size=0), "--image-size 0: it must be from 1 to 1024"),
            (Options(fractions=(0.6, 0.2, 0.3)), "--split 0.6,0.2,0.3: give three shares"),
            (Options(fractions=(1.2, -0.1, -0.1)), "--split 1.2,-0.1,-0.1: give three shares"),
            (Options(seed=-1), "--seed -1: it must be from 0"),
            (Options(limit=0), "--limit 0: it must be at least 1"),
            (Options(max_bad=2.0), "--max-bad 2.0: it must be a share"),
        ],
    )
    def test_options_that_make_no_sense(
        self, make_faces: Any, tmp_path: Path, options: Options, message: str
    ) -> None:
        with pytest.raises(InputError, match=message):
            prepared(make_faces(40), tmp_path / "data", options)

    @pytest.mark.parametrize("rows", [0, 8, 40])
    def test_an_interrupted_prepare_goes_on_where_it_was(
        self, make_faces: Any, tmp_path: Path, rows: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        manifest = make_faces(40)
        prepared(manifest, tmp_path / "whole")
        with pytest.raises(KeyboardInterrupt):
            prepared(manifest, tmp_path / "data", on_progress=interrupt_after(rows))
        assert not (tmp_path / "data").exists()
        written: list[int] = []
        monkeypatch.setattr(module, "write_chunk", recording(written))
        prepared(manifest, tmp_path / "data")
        assert len(written) == (40 - rows) // 8
        assert tree(tmp_path / "data") == tree(tmp_path / "whole")
        assert not work_folder(tmp_path / "data").exists()

    def test_a_shard_cut_short_is_written_again(self, make_faces: Any, tmp_path: Path) -> None:
        manifest = make_faces(40)
        prepared(manifest, tmp_path / "whole")
        with pytest.raises(KeyboardInterrupt):
            prepared(manifest, tmp_path / "data", on_progress=interrupt_after(24))
        shard = work_folder(tmp_path / "data") / "train" / "part-00004.parquet"
        shard.write_bytes(shard.read_bytes()[:100])
        (work_folder(tmp_path / "data") / "state" / "00003.json").write_text("{")
        prepared(manifest, tmp_path / "data")
        assert tree(tmp_path / "data") == tree(tmp_path / "whole")

    def test_what_was_done_for_another_data_set_is_not_taken_over(
        self, make_faces: Any, tmp_path: Path
    ) -> None:
        manifest, longer = make_faces(40), make_faces(48, name="longer")
        (longer.parent / "0000.jpg").write_bytes((longer.parent / "0047.jpg").read_bytes())
        prepared(manifest, tmp_path / "whole")
        moved = open_source(str(manifest), images=str(longer.parent))
        for other in (
            lambda stop: prepared(longer, tmp_path / "data", on_progress=stop),
            lambda stop: prepare(moved, tmp_path / "data", SMALL, on_progress=stop),
            lambda stop: prepared(
                manifest, tmp_path / "data", replace(SMALL, seed=1), on_progress=stop
            ),
        ):
            with pytest.raises(KeyboardInterrupt):
                other(interrupt_after(40))
            prepared(manifest, tmp_path / "data")
            assert tree(tmp_path / "data") == tree(tmp_path / "whole")
            (tmp_path / "data").rename(tmp_path / f"old{len(list(tmp_path.iterdir()))}")

    def test_interrupted_while_the_ranks_are_closed_up(
        self, make_faces: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        manifest = make_faces(60)
        break_images(manifest.parent)
        options = replace(SMALL, max_bad=0.1)
        prepared(manifest, tmp_path / "whole", options)
        reranked = 0

        def stop_at_the_third(*job: Any) -> chunks.ChunkStatus:
            nonlocal reranked
            reranked += 1
            if reranked == 3:
                raise KeyboardInterrupt
            return chunks.rerank_chunk(*job)

        with monkeypatch.context() as patch:
            patch.setattr(module, "rerank_chunk", stop_at_the_third)
            with pytest.raises(KeyboardInterrupt):
                prepared(manifest, tmp_path / "data", options)
        written: list[int] = []
        monkeypatch.setattr(module, "write_chunk", recording(written))
        prepared(manifest, tmp_path / "data", options)
        assert sorted(written) == [0, 1, 3]  # those with dropped rows, which are tried again
        assert tree(tmp_path / "data") == tree(tmp_path / "whole")

    def test_an_object_store_needs_no_renaming(
        self, make_faces: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        manifest = make_faces(40)
        prepared(manifest, tmp_path / "local")
        memory = fsspec.filesystem("memory")
        try:
            with pytest.raises(KeyboardInterrupt):
                prepared(manifest, "memory://prepared/data", on_progress=interrupt_after(16))
            with pytest.raises(InputError, match="no prepared data here"):
                Store.open("memory://prepared/data")
            written: list[int] = []
            monkeypatch.setattr(module, "write_chunk", recording(written))
            store = prepared(manifest, "memory://prepared/data")
            assert len(written) == 3
            files = {
                path.removeprefix("/prepared/data/"): memory.cat(path)
                for path in memory.find("/prepared/data")
            }
            assert files == tree(tmp_path / "local")
            assert np.array_equal(
                store.load("val").images, Store.open(tmp_path / "local").load("val").images
            )
            with pytest.raises(InputError, match="exists already"):
                prepared(manifest, "memory://prepared/data")
        finally:
            memory.rm("/prepared", recursive=True)

    def test_synthetic_faces_are_drawn_as_they_are_prepared(self, tmp_path: Path) -> None:
        source = open_source("synthetic:40", seed=2)
        store = prepare(source, tmp_path / "data", SMALL)
        faces = tmp_path / "data" / "faces"
        assert len(list((faces / "images").iterdir())) == 40
        manifest = pd.read_csv(faces / "manifest.csv")
        assert manifest["filename"].tolist() == source.table["filename"].tolist()
        assert (faces / "truth.csv").exists()
        again = prepared(faces / "manifest.csv", tmp_path / "again")
        for split in SPLITS:
            assert np.array_equal(store.load(split).images, again.load(split).images)


def known(manifest: Path, **attributes: Any) -> Source:
    """The source of a manifest, with these attributes and no others."""
    source = open_source(str(manifest))
    rows = np.arange(len(source.table))
    columns = attributes or {"hat": rows % 3 == 0, "beard": rows % 5 < 2}
    return replace(source, attributes=pd.DataFrame(columns))


@pytest.mark.usefixtures("in_process", "small_chunks")
class TestAttributes:
    def test_they_are_those_of_the_kept_rows(self, make_faces: Any, tmp_path: Path) -> None:
        manifest = make_faces(80)
        reasons = break_images(manifest.parent)
        source = known(manifest)
        store = prepare(source, tmp_path / "data", replace(SMALL, limit=70, max_bad=0.1))
        attributes = store.attributes()
        assert attributes is not None
        assert store.meta.attributes == list(attributes.columns) == ["hat", "beard"]
        assert attributes.to_numpy().dtype == np.bool_
        names = [name for split in SPLITS for name in store.load(split).filename.to_pylist()]
        assert attributes.index.tolist() == names
        assert 64 < len(names) < 70
        assert not set(names) & set(reasons)
        by_name = source.attributes.set_axis(source.table["filename"])
        assert np.array_equal(attributes.to_numpy(), by_name.loc[names].to_numpy())

    def test_a_source_without_them_leaves_no_file(self, make_faces: Any, tmp_path: Path) -> None:
        source = replace(open_source(str(make_faces(40))), attributes=None)
        store = prepare(source, tmp_path / "data", SMALL)
        assert store.attributes() is None
        assert store.meta.attributes == []
        assert "attributes.parquet" not in tree(tmp_path / "data")

    def test_they_decide_the_data_set(self, make_faces: Any) -> None:
        source = known(make_faces(40))
        flipped = source.attributes.copy()
        flipped.iloc[7, 1] ^= True
        others = [
            source,
            replace(source, attributes=flipped),
            replace(source, attributes=source.attributes.rename(columns={"hat": "cap"})),
            replace(source, attributes=source.attributes[["hat"]]),
            replace(source, attributes=None),
        ]
        assert len({fingerprint(other, SMALL) for other in others}) == len(others)
        again = replace(source, attributes=source.attributes.copy())
        assert fingerprint(again, SMALL) == fingerprint(source, SMALL)

    def test_an_interrupted_prepare_writes_them_again(
        self, make_faces: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = known(make_faces(40))
        prepare(source, tmp_path / "whole", SMALL)

        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(module, "describe_store", interrupt)
            with pytest.raises(KeyboardInterrupt):
                prepare(source, tmp_path / "data", SMALL)
        written = work_folder(tmp_path / "data") / "attributes.parquet"
        written.write_bytes(written.read_bytes()[:50])
        prepare(source, tmp_path / "data", SMALL)
        assert tree(tmp_path / "data") == tree(tmp_path / "whole")

    def test_those_of_another_data_set_are_not_left(
        self, make_faces: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = known(make_faces(40))
        without = replace(source, attributes=None)
        prepare(without, tmp_path / "whole", SMALL)

        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(module, "describe_store", interrupt)
            with pytest.raises(KeyboardInterrupt):
                prepare(source, tmp_path / "data", SMALL)
        prepare(without, tmp_path / "data", SMALL)
        assert tree(tmp_path / "data") == tree(tmp_path / "whole")

    def test_on_an_object_store(self, make_faces: Any, tmp_path: Path) -> None:
        source = known(make_faces(40))
        local = prepare(source, tmp_path / "local", SMALL).attributes()
        try:
            remote = prepare(source, "memory://attributes/data", SMALL).attributes()
        finally:
            fsspec.filesystem("memory").rm("/attributes", recursive=True)
        assert local is not None
        assert local.equals(remote)

    @pytest.mark.parametrize(
        ("damage", "message"),
        [
            (lambda _: None, "this part of the data is missing; prepare the data again"),
            (lambda whole: whole[:-100], r"damaged \(.*\); prepare the data again"),
            (lambda _: b"", r"damaged \(.*\); prepare the data again"),
        ],
    )
    def test_a_damaged_file_is_named(
        self,
        make_faces: Any,
        tmp_path: Path,
        damage: Callable[[bytes], bytes | None],
        message: str,
    ) -> None:
        store = prepare(known(make_faces(40)), tmp_path / "data", SMALL)
        path = tmp_path / "data" / "attributes.parquet"
        whole = damage(path.read_bytes())
        path.unlink()
        if whole is not None:
            path.write_bytes(whole)
        with pytest.raises(InputError, match=message) as caught:
            store.attributes()
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)

    def test_a_flipped_bit_is_found(self, make_faces: Any, tmp_path: Path) -> None:
        store = prepare(known(make_faces(40)), tmp_path / "data", SMALL)
        path = tmp_path / "data" / "attributes.parquet"
        whole = bytearray(path.read_bytes())
        column = pq.read_metadata(path).row_group(0).column(1)
        end = column.data_page_offset + column.total_compressed_size
        whole[end - 2] ^= 1
        path.write_bytes(whole)
        with pytest.raises(InputError, match=r"attributes\.parquet: damaged .*CRC"):
            store.attributes()

    def test_a_file_of_another_data_set_is_named(self, make_faces: Any, tmp_path: Path) -> None:
        manifest = make_faces(40)
        ours = prepare(known(manifest), tmp_path / "data", SMALL)
        path = tmp_path / "data" / "attributes.parquet"
        table = pq.read_table(path)
        prepare(known(manifest), tmp_path / "other", replace(SMALL, seed=1))
        for foreign in (
            pq.read_table(tmp_path / "other" / "attributes.parquet"),
            table.slice(1),
            table.drop_columns("hat"),
            table.rename_columns(["filename", "cap", "beard"]),
        ):
            pq.write_table(foreign, path)
            with pytest.raises(InputError, match=r"attributes\.parquet: belongs to another data"):
                ours.attributes()


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster", "small_chunks")
class TestOnRay:
    def test_ray_makes_the_same_bytes_as_one_process(self, make_faces: Any, tmp_path: Path) -> None:
        manifest = make_faces(60)
        break_images(manifest.parent)
        options = replace(SMALL, max_bad=0.1, split_by="identity")
        prepared(manifest, tmp_path / "ray", options)
        prepared_here(open_source(str(manifest)), tmp_path / "alone", options)
        assert tree(tmp_path / "ray") == tree(tmp_path / "alone")

    def test_an_interrupt_is_raised_when_the_tasks_have_stopped(
        self, make_faces: Any, tmp_path: Path
    ) -> None:
        manifest, handler = make_faces(80), signal.getsignal(signal.SIGINT)

        def press_ctrl_c(done: int, _total: int) -> None:
            if done == 8:
                signal.raise_signal(signal.SIGINT)

        with pytest.raises(KeyboardInterrupt):
            prepared(manifest, tmp_path / "data", on_progress=press_ctrl_c)
        assert signal.getsignal(signal.SIGINT) is handler
        assert any((work_folder(tmp_path / "data") / "state").iterdir())
        for out in ("data", "whole"):
            prepared_here(open_source(str(manifest)), tmp_path / out)
        assert tree(tmp_path / "data") == tree(tmp_path / "whole")

    def test_too_many_bad_images_leave_nothing(self, make_faces: Any, tmp_path: Path) -> None:
        manifest = make_faces(80)
        for path in manifest.parent.glob("*.jpg"):
            path.write_bytes(b"")
        before = sorted(tmp_path.iterdir())
        with pytest.raises(InputError, match=r"of 80 images at least \d+ cannot be read"):
            prepared(manifest, tmp_path / "data")
        assert sorted(tmp_path.iterdir()) == before

    def test_a_disk_that_cannot_be_written_is_named_and_what_is_done_is_kept(
        self, make_faces: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def run_here(task: Any, job: Any, rows: Any, pieces: pd.DataFrame) -> Iterator[Any]:
            worker = ray_pool._Worker(task, job, [rows])
            for piece in pieces.to_dict("records"):
                outcome = worker({name: [value] for name, value in piece.items()})
                yield {name: value for name, (value,) in outcome.items()}

        monkeypatch.setattr(ray_pool, "_run", run_here)
        manifest, out = make_faces(40), tmp_path / "data"
        with pytest.raises(KeyboardInterrupt):
            prepared(manifest, out, on_progress=interrupt_after(0))
        in_the_way = work_folder(out) / "train" / "part-00002.parquet"
        in_the_way.mkdir()
        with pytest.raises(InputError, match=r"data\.partial: Is a directory; mend that and run"):
            prepared(manifest, out)
        assert len(list((work_folder(out) / "state").glob("*.json"))) == 2
        in_the_way.rmdir()
        assert prepared_here(open_source(str(manifest)), out).meta.rows == 40

    def test_a_disk_that_runs_full_is_named_and_what_is_done_is_kept(
        self, make_faces: Any, tmp_path: Path, small_disk: Path
    ) -> None:
        source, options = known(make_faces(40)), Options(image_size=64)
        prepared_here(source, tmp_path / "whole", options)
        out = small_disk / "data"
        full = re.escape(f"{out}.partial: No space left on device; mend that and run the same")
        with pytest.raises(InputError, match=full) as caught:
            prepare(source, out, options)
        assert "\n" not in str(caught.value)
        assert not out.exists()
        with pytest.raises(InputError, match=r"data\.partial is an unfinished one"):
            Store.open(out)
        assert any((work_folder(out) / "state").glob("*.json"))
        subprocess.run(["mount", "-o", "remount,size=4m", small_disk], check=True)
        prepared_here(source, out, options)
        assert tree(out) == tree(tmp_path / "whole")
        assert list(small_disk.iterdir()) == [out]


@pytest.mark.ray
@pytest.mark.realdata
@pytest.mark.usefixtures("ray_cluster")
def test_real_faces(celeba10k: Path, tmp_path: Path) -> None:
    source = open_source(str(celeba10k))
    store = prepare(source, tmp_path / "data", Options(image_size=16, split_by="identity"))
    assert store.meta.dropped == 0
    arrays = {split: store.load(split) for split in SPLITS}
    people = [set(part.identity) for part in arrays.values()]
    assert sum(map(len, people)) == len(set.union(*people)) == 5429
    for (split, part), share in zip(arrays.items(), (0.6, 0.2, 0.2), strict=True):
        assert_ranks_are_permutations(part)
        counted = np.bincount(stratum_of(part.gender, part.label))
        exact = share * np.array([4284, 1499, 3619, 598])
        assert np.all(np.abs(counted - exact) <= 1), split
    with pytest.raises(InputError, match="--split-by official: the val split is empty"):
        prepare(source, tmp_path / "official", Options(split_by="official"))


def test_the_work_lies_beside_the_data(tmp_path: Path) -> None:
    assert work_folder(tmp_path / "a.b") == tmp_path / "a.b.partial"
