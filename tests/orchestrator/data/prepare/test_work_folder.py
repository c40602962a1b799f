"""What is left of an interrupted `prepare`, and what the next one makes of it."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import pandas as pd
import pytest
from layouts import write_parquet, write_zip
from preparing import SMALL, break_images, interrupt_after, prepared, recording, tree

from orchestrator.base.errors import InputError, ReadingError
from orchestrator.base.files import parse_uri
from orchestrator.data.prepare import prepare as module
from orchestrator.data.prepare import work_folder as unfinished
from orchestrator.data.prepare.prepare import prepare, work_folder
from orchestrator.data.sources.registry import open_source
from orchestrator.data.sources.source import Source

pytestmark = pytest.mark.usefixtures("in_process", "small_chunks")
DROPS = replace(SMALL, max_bad=0.1)


def interrupt(*_: Any, **_options: Any) -> None:
    raise KeyboardInterrupt


class TestDroppedRows:
    def test_they_are_tried_again(self, make_faces: Any, tmp_path: Path) -> None:
        manifest = make_faces(60)
        prepared(manifest, tmp_path / "whole", DROPS)
        images = {path: path.read_bytes() for path in manifest.parent.glob("*.jpg")}
        break_images(manifest.parent)
        with pytest.raises(KeyboardInterrupt):
            prepared(manifest, tmp_path / "data", DROPS, on_progress=interrupt_after(48))
        (manifest.parent / "0030.jpg").rmdir()
        for path, content in images.items():
            path.write_bytes(content)
        prepared(manifest, tmp_path / "data", DROPS)
        assert tree(tmp_path / "data") == tree(tmp_path / "whole")

    @pytest.mark.parametrize("last", ["_write_dropped", "describe_store"])
    def test_ranks_that_were_closed_up_for_them_open_again(
        self, make_faces: Any, tmp_path: Path, last: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        manifest = make_faces(60)
        prepared(manifest, tmp_path / "whole", DROPS)
        image = manifest.parent / "0003.jpg"
        content = image.read_bytes()
        image.unlink()
        with monkeypatch.context() as patch:
            patch.setattr(module, last, interrupt)
            with pytest.raises(KeyboardInterrupt):
                prepared(manifest, tmp_path / "data", DROPS)
        image.write_bytes(content)
        written: list[int] = []
        monkeypatch.setattr(module, "write_chunk", recording(written))
        prepared(manifest, tmp_path / "data", DROPS)
        assert written == [0]
        assert tree(tmp_path / "data") == tree(tmp_path / "whole")


class TestPublishing:
    """`prepare` is killed as it publishes; here an interrupt has to do."""

    @pytest.mark.parametrize(
        ("place_of", "name"),
        [
            (module, "clear_state"),
            (unfinished, "remove_tree"),
            (unfinished.shutil, "rmtree"),
            (Path, "unlink"),
            (Path, "replace"),
        ],
    )
    def test_nothing_is_decoded_again(
        self,
        make_faces: Any,
        tmp_path: Path,
        place_of: Any,
        name: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        manifest, out = make_faces(40), tmp_path / "data"
        whole = tree(prepared(manifest, tmp_path / "whole").path)
        clear_state, replace_ = module.clear_state, Path.replace

        def clear(data: Path) -> None:
            with monkeypatch.context() as patch:
                patch.setattr(place_of, name, interrupt)
                clear_state(data)

        def rename(path: Path, target: Path) -> Path:
            return interrupt() or path if target == out else replace_(path, target)

        with monkeypatch.context() as patch:
            if name == "replace":
                patch.setattr(Path, "replace", rename)
            else:
                patch.setattr(module, "clear_state", interrupt if place_of is module else clear)
            with pytest.raises(KeyboardInterrupt):
                prepared(manifest, out)
        written: list[int] = []
        monkeypatch.setattr(module, "write_chunk", recording(written))
        assert prepared(manifest, out).meta.rows == 40
        assert not written
        assert tree(out) == whole
        assert not work_folder(out).exists()

    def test_another_data_set_is_refused_and_the_whole_one_kept(
        self, make_faces: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        manifest, out = make_faces(40), tmp_path / "data"
        with monkeypatch.context() as patch:
            patch.setattr(module, "clear_state", interrupt)
            with pytest.raises(KeyboardInterrupt):
                prepared(manifest, out)
        before = tree(out)
        with pytest.raises(InputError, match="data: a data set exists already"):
            prepared(manifest, out, replace(SMALL, seed=1))
        assert tree(out) == before
        assert not work_folder(out).exists()

    def test_on_an_object_store(
        self, make_faces: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        manifest = make_faces(40)
        whole = tree(prepared(manifest, tmp_path / "whole").path)
        memory = fsspec.filesystem("memory")
        try:
            with monkeypatch.context() as patch:
                patch.setattr(module, "clear_state", interrupt)
                with pytest.raises(KeyboardInterrupt):
                    prepared(manifest, "memory://published/data")
            with pytest.raises(InputError, match="exists already"):
                prepared(manifest, "memory://published/data", replace(SMALL, seed=1))
            prepared(manifest, "memory://published/data")
            files = memory.find("/published/data")
            assert {path.removeprefix("/published/data/") for path in files} == set(whole)
        finally:
            memory.rm("/published", recursive=True)

    def test_what_killed_writers_left_is_not_published(
        self, make_faces: Any, tmp_path: Path
    ) -> None:
        manifest, out = make_faces(40), tmp_path / "data"
        whole = tree(prepared(manifest, tmp_path / "whole").path)
        with pytest.raises(KeyboardInterrupt):
            prepared(manifest, out, on_progress=interrupt_after(16))
        for name in ("train/.part-00002.parquet.0a1b2c3d.partial", ".meta.json.0a1b2c3d.partial"):
            (work_folder(out) / name).write_bytes(b"cut short")
        removed = work_folder(out) / ".state.0a1b2c3d.removed"
        removed.mkdir()
        (removed / "00000.json").write_text("{}")
        prepared(manifest, out)
        assert tree(out) == whole
        assert not [path for path in out.rglob("*") if path.is_dir() and not any(path.iterdir())]


def lay_out_zip(manifest: Path, folder: Path) -> tuple[Source, Path]:
    archive = folder / "images.zip"
    write_zip(archive, {path.name: path.read_bytes() for path in manifest.parent.glob("*.jpg")})
    return open_source(str(manifest), images=str(archive)), archive


def lay_out_parquet(manifest: Path, folder: Path) -> tuple[Source, Path]:
    table = pd.read_csv(manifest)
    images = [(manifest.parent / name).read_bytes() for name in table["filename"]]
    columns = {name: table[name].to_numpy() for name in ("class", "gender")}
    names = table["filename"].tolist()
    write_parquet(folder / "faces.parquet", images, names, **columns)
    return open_source(str(folder / "faces.parquet")), folder / "faces.parquet"


@pytest.mark.parametrize("lay_out", [lay_out_zip, lay_out_parquet])
def test_an_archive_that_was_replaced_is_read_from_the_beginning(
    make_faces: Any, tmp_path: Path, lay_out: Callable[[Path, Path], tuple[Source, Path]]
) -> None:
    manifest, out = make_faces(40), tmp_path / "data"
    source, _ = lay_out(manifest, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        prepare(source, out, SMALL, interrupt_after(16))
    for path in manifest.parent.glob("*.jpg"):  # other faces under the same names
        path.write_bytes((manifest.parent / "0000.jpg").read_bytes())
    source, file = lay_out(manifest, tmp_path)
    prepare(source, out, SMALL)
    prepare(source, tmp_path / "whole", SMALL)
    assert tree(out) == tree(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        prepare(source, tmp_path / "again", SMALL, interrupt_after(16))
    file.rename(tmp_path / "away")
    with pytest.raises(InputError, match=rf"{file}: no such file; mend that and run the same"):
        prepare(source, tmp_path / "again", SMALL)
    (tmp_path / "away").rename(file)
    written: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "write_chunk", recording(written))
        prepare(source, tmp_path / "again", SMALL)
    assert len(written) == 3
    assert tree(tmp_path / "again") == tree(tmp_path / "whole")


def test_a_place_that_fails_keeps_what_is_done(
    make_faces: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, out = make_faces(40), tmp_path / "data"
    whole = tree(prepared(manifest, tmp_path / "whole").path)

    def read_many(paths: list[str]) -> Any:
        if any(path.endswith("0020.jpg") for path in paths):
            raise ReadingError(f"{paths[0]}: Input/output error")
        return (Path(path).read_bytes() for path in paths)

    with monkeypatch.context() as patch:
        patch.setattr("orchestrator.data.reading.prefetch.read_many", read_many)
        line = (
            r"0016\.jpg: Input/output error; mend that and run the same command again: it goes on"
        )
        with pytest.raises(InputError, match=line):
            prepared(manifest, out)
    written: list[int] = []
    monkeypatch.setattr(module, "write_chunk", recording(written))
    prepared(manifest, out)
    assert sorted(written) == [0, 1, 2]
    assert tree(out) == whole


class TestClaiming:
    def test_a_folder_that_is_not_ours_is_left_alone(self, make_faces: Any, tmp_path: Path) -> None:
        manifest, mine = make_faces(40), tmp_path / "data.partial"
        (mine / "train").mkdir(parents=True)
        (mine / "train" / "mine.txt").write_text("mine")
        bad = make_faces(40, name="bad", filename=[f"gone{row}.jpg" for row in range(40)])
        for source in (manifest, bad):
            with pytest.raises(
                InputError, match=r"data\.partial: holds what is no unfinished"
            ) as e:
                prepared(source, tmp_path / "data")
            assert "\n" not in str(e.value)
            assert tree(mine) == {"train/mine.txt": b"mine"}

    @pytest.mark.parametrize("left", [[], [".unfinished.json.0a1b2c3d.partial"]])
    def test_one_that_holds_nothing_yet_is_ours(
        self, make_faces: Any, tmp_path: Path, left: list[str]
    ) -> None:
        (tmp_path / "data.partial").mkdir()
        for name in left:
            (tmp_path / "data.partial" / name).write_text("{")
        store = prepared(make_faces(40), tmp_path / "data")
        assert not set(left) & set(tree(store.path))

    def test_it_is_known_for_ours_before_anything_else_is_in_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Path, "mkdir", interrupt)
        with pytest.raises(KeyboardInterrupt):
            unfinished.resume_or_clear(tmp_path, {})
        assert list(tree(tmp_path)) == ["unfinished.json"]

    def test_a_second_call_is_refused_and_takes_nothing_away(
        self, make_faces: Any, tmp_path: Path
    ) -> None:
        manifest, out = make_faces(40), tmp_path / "data"
        refused = []

        def meanwhile(done: int, _total: int) -> None:
            if done == 8:
                with pytest.raises(InputError, match=r"data\.partial: another prepare is at work"):
                    prepared(manifest, out)
                refused.append(done)

        assert prepared(manifest, out, on_progress=meanwhile).meta.rows == 40
        assert refused

    def test_the_claim_of_a_killed_process_is_gone(self, tmp_path: Path) -> None:
        code = (
            "import os, sys; from orchestrator.base.files import parse_uri; "
            "from orchestrator.data.prepare.work_folder import locked_work_folder; "
            "claim = locked_work_folder(parse_uri(sys.argv[1])); claim.__enter__(); "
            "os.kill(os.getpid(), 9)"
        )
        command = [sys.executable, "-c", code, str(tmp_path / "work")]
        assert subprocess.run(command, check=False).returncode == -9
        with unfinished.locked_work_folder(parse_uri(tmp_path / "work")):
            assert [*tree(tmp_path)] == ["work/.lock"]

    def test_an_unfinished_one_under_the_name_of_a_whole_one_is_refused(
        self, make_faces: Any, tmp_path: Path
    ) -> None:
        manifest, out = make_faces(40), tmp_path / "data"
        with pytest.raises(KeyboardInterrupt):
            prepared(manifest, out, on_progress=interrupt_after(16))
        work_folder(out).rename(out)
        with pytest.raises(InputError, match="exists already"):
            prepared(manifest, out)
