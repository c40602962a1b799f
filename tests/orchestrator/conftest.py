"""Small folders of faces."""

import subprocess
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image

from orchestrator.base.files import Anywhere, parse_uri

MakeFaces = Callable[..., Path]


def jpeg(seed: int, size: tuple[int, int] = (12, 15)) -> bytes:
    coarse = np.random.default_rng(seed).integers(0, 256, (3, 3, 3), dtype=np.uint8)
    data = BytesIO()
    Image.fromarray(coarse).resize(size).save(data, "JPEG")
    return data.getvalue()


@pytest.fixture(params=["local", "remote"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Anywhere]:
    """An empty folder on a disk, and one in fsspec's memory."""
    if request.param == "local":
        yield tmp_path
        return
    memory = fsspec.filesystem("memory")
    memory.mkdirs("/folder")
    yield parse_uri("memory://folder")
    memory.rm("/folder", recursive=True)


@pytest.fixture
def make_faces(tmp_path: Path) -> MakeFaces:
    """Write n small JPEGs and their manifest; keywords replace whole columns."""

    def make(n: int = 40, name: str = "faces", **columns: Any) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        rows = np.arange(n)
        table = {
            "filename": [f"{row:04}.jpg" for row in rows],
            "class": rows // 2 % 2,
            "gender": np.where(rows % 2, 1, -1),
            "identity": rows // 3,
        }
        for row, filename in enumerate(table["filename"]):
            (folder / filename).write_bytes(jpeg(row))
        pd.DataFrame({**table, **columns}).to_csv(folder / "manifest.csv", index=False)
        return folder / "manifest.csv"

    return make


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of 8 rows, so that a small source has several."""
    for module in ("work_folder", "rows"):
        monkeypatch.setattr(
            f"orchestrator.data.prepare.{module}.chunk_rows", lambda _rows, _size: 8
        )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 300 kB, which a network fills, or three chunks of 8 faces of 64 pixels."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"needs a file system of its own, and may not mount one ({error})")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def no_picture(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports of a test's own runs whose ``pareto.png``, half of what they take, is not drawn."""
    if "tmp_path" in request.fixturenames:
        monkeypatch.setattr("orchestrator.report.report.front_png", lambda _plot: b"not drawn")


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks done one after the other in this process, the last one first, instead of by Ray."""
    from orchestrator.data.prepare import prepare
    from orchestrator.data.prepare import ray_pool as pool

    def map_chunks(task: pool.Task, job: Any, table: pd.DataFrame) -> Iterator[Any]:
        for chunk in sorted(table["chunk"].unique(), reverse=True):
            rows = table[table["chunk"] == chunk]
            yield task(job, int(chunk), pa.Table.from_pandas(rows, preserve_index=False))

    monkeypatch.setattr(prepare, "map_chunks", map_chunks)
