from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from orchestrator.chunks import (
    ChunkStatus,
    Job,
    StoppedError,
    chunk_rows,
    finished_chunk,
    rerank_chunk,
    resume_or_clear,
    stop,
    write_chunk,
)
from orchestrator.store import Shard


@pytest.mark.parametrize(
    ("rows", "expected"),
    [(1, 64), (400, 64), (4_000, 250), (10_000, 625), (40_000, 2048), (192_576, 2048)],
)
def test_chunks_are_many_enough_and_not_too_large(rows: int, expected: int) -> None:
    assert chunk_rows(rows) == expected


@pytest.fixture
def job(tmp_path: Path) -> Job:
    for name in ("train", "val", "test", "state"):
        (tmp_path / name).mkdir()
    return Job(tmp_path, image_size=4, fingerprint="f" * 64)


def rows_of(job: Job, splits: list[int]) -> pa.Table:
    n = len(splits)
    return pa.table(
        {
            "filename": [f"{row}.jpg" for row in range(n)],
            "path": [f"{job.work}/{row}.jpg" for row in range(n)],
            "label": pa.array([0] * n, pa.int8()),
            "gender": pa.array([1] * n, pa.int8()),
            "identity": pa.nulls(n, pa.int32()),
            "rank": pa.array(np.arange(n, dtype=np.int32)),
            "split": pa.array(splits, pa.int8()),
        }
    )


def test_a_chunk_without_one_image_that_can_be_read(job: Job) -> None:
    status = write_chunk(job, 0, rows_of(job, [0, 0, 2]))
    assert status.shards == {}
    assert status.dropped == [(f"{row}.jpg", "no such file") for row in range(3)]
    assert finished_chunk(job.work, 0) == status


def test_a_chunk_is_done_when_its_state_and_all_its_shards_are_there(job: Job) -> None:
    assert finished_chunk(job.work, 0) is None
    for row in range(4):
        header = b"P6 1 1 255\n"
        (Path(job.work) / f"{row}.jpg").write_bytes(header + bytes([row, 2, 3]))
    status = write_chunk(job, 0, rows_of(job, [0, 0, 2, 0]))
    assert {name: shard.rows for name, shard in status.shards.items()} == {"train": 3, "test": 1}
    assert finished_chunk(job.work, 0) == status
    (Path(job.work) / status.shards["test"].file).unlink()
    assert finished_chunk(job.work, 0) is None


def test_a_task_stops_when_it_is_told_to(job: Job) -> None:
    stop(job.work)
    for task in (write_chunk, rerank_chunk):
        with pytest.raises(StoppedError):
            task(job, 0, rows_of(job, [0]))
    assert not any((Path(job.work) / "state").iterdir())
    resume_or_clear(job, ["0.jpg"])  # another session begins
    assert write_chunk(job, 0, rows_of(job, [0])).rows == 1


def test_a_chunk_that_is_not_done_cannot_be_reranked(job: Job) -> None:
    with pytest.raises(RuntimeError, match=r"chunk 3 of .* is not done"):
        rerank_chunk(job, 3, rows_of(job, [0]))


def test_a_status_survives_being_written() -> None:
    status = ChunkStatus(
        chunk=3,
        rows=2,
        shards={"val": Shard(file="val/part-00003.parquet", rows=1, bytes=9)},
        dropped=[("ü, \n.jpg", "why")],
    )
    assert ChunkStatus.model_validate_json(status.model_dump_json()) == status
