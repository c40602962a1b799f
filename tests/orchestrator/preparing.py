"""Making data sets, whole and interrupted."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from orchestrator.data.prepare import chunks
from orchestrator.data.prepare import prepare as preparation
from orchestrator.data.prepare.prepare import Options, prepare
from orchestrator.data.sources.registry import open_source
from orchestrator.data.sources.source import Source
from orchestrator.data.store.store import Store

SMALL = Options(image_size=10)


def tree(folder: Path) -> dict[str, bytes]:
    """Every file in a folder, by its relative path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def prepared(manifest: Path, out: str | Path, options: Options = SMALL, **more: Any) -> Store:
    return prepare(open_source(str(manifest)), out, options, **more)


def interrupt_after(rows: int) -> Callable[[int, int], None]:
    def on_progress(done: int, _total: int) -> None:
        if done >= rows:
            raise KeyboardInterrupt

    return on_progress


def break_images(folder: Path) -> dict[str, str]:
    """Make five of the images unreadable; return why, by name."""
    (folder / "0003.jpg").unlink()
    (folder / "0005.jpg").write_bytes(b"")
    (folder / "0011.jpg").write_bytes(b"no image")
    whole = (folder / "0012.jpg").read_bytes()
    (folder / "0012.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "0030.jpg").unlink()
    (folder / "0030.jpg").mkdir()
    return {
        "0003.jpg": "no such file",
        "0005.jpg": "an empty file",
        "0011.jpg": "not an image",
        "0012.jpg": "runcated",
        "0030.jpg": "Is a directory",
    }


def recording(written: list[int]) -> Callable[..., chunks.ChunkStatus]:
    def write_chunk(job: chunks.Job, chunk: int, rows: Any) -> chunks.ChunkStatus:
        written.append(chunk)
        return chunks.write_chunk(job, chunk, rows)

    return write_chunk


def prepared_here(source: Source, out: Path, options: Options = SMALL) -> Store:
    """Make a data set in this process instead of by Ray."""

    def map_chunks(task: Any, job: Any, table: pd.DataFrame) -> Iterator[Any]:
        for chunk in table["chunk"].unique():
            rows = table[table["chunk"] == chunk]
            yield task(job, int(chunk), pa.Table.from_pandas(rows, preserve_index=False))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preparation, "map_chunks", map_chunks)
        return prepare(source, out, options)


def synthetic(out: Path, faces: int = 120) -> Path:
    """Make a data set of synthetic faces of 24x24, in this process instead of by Ray."""
    prepared_here(open_source(f"synthetic:{faces}"), out, Options(image_size=24))
    return out
