from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from orchestrator.data.prepare import chunks
from orchestrator.data.prepare.chunks import (
    PIECE_ROWS,
    ChunkStatus,
    CrashedError,
    Job,
    StoppedError,
    chunk_rows,
    counting_tries,
    finished_chunk,
    rerank_chunk,
    stop,
    write_chunk,
)
from orchestrator.data.store.meta import Shard


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (1, 64), (400, 64), (4_000, 250), (10_000, 625), (40_000, 2048), (192_576, 2048),
        (819_199, 2048), (819_200, 4096), (2_000_000, 6144), (10_000_000, 8738), (10**9, 8738),
    ],
)  # fmt: skip
def test_chunks_are_many_enough_and_not_too_large(rows: int, expected: int) -> None:
    assert chunk_rows(rows, 80) == expected


@pytest.mark.parametrize("image_size", [1, 80, 128, 224, 512, 1024])
def test_a_chunk_of_large_images_takes_no_more_memory(image_size: int) -> None:
    for of_all, most in ((200_000, 2**26), (819_199, 2**26), (10**9, 160 * 2**20)):
        rows = chunk_rows(of_all, image_size)
        assert rows > 20
        assert rows * image_size**2 * 3 <= most


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
    stop(job)
    for task in (write_chunk, rerank_chunk):
        with pytest.raises(StoppedError):
            task(job, 0, rows_of(job, [0]))
    assert not any((Path(job.work) / "state").glob("*.json"))
    assert write_chunk(replace(job, token="another"), 0, rows_of(job, [0])).rows == 1


def test_a_task_stops_between_two_pieces(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []

    def stop_at_once(_image: object, _data: object) -> str:
        stop(job)
        decoded.append(1)
        return "no image"

    monkeypatch.setattr(chunks, "decode_into", stop_at_once)
    with pytest.raises(StoppedError):
        write_chunk(job, 0, rows_of(job, [0] * 1000))
    assert len(decoded) <= PIECE_ROWS


def test_only_processes_that_die_at_work_are_counted(job: Job) -> None:
    rows = rows_of(job, [0, 0, 2])
    for _ in range(5):
        with counting_tries(job, 7, rows):
            pass
        with pytest.raises(OSError, match="full"), counting_tries(job, 7, rows):
            raise OSError("full")
    assert not any((Path(job.work) / "state").iterdir())
    died = [counting_tries(job, 7, rows) for _ in range(3)]
    for process in died:
        process.__enter__()  # and never any end
    named = rf"3 processes died .* from {job.work}/0\.jpg to {job.work}/2\.jpg, perhaps because"
    with pytest.raises(CrashedError, match=named), counting_tries(job, 7, rows):
        pass
    with counting_tries(job, 8, rows), counting_tries(replace(job, token="another"), 7, rows):
        pass


def test_a_chunk_that_is_done_is_done_again_when_its_dropped_rows_can_be_read(job: Job) -> None:
    folder, rows = Path(job.work), rows_of(job, [0, 0, 2])
    for row in (0, 2):
        (folder / f"{row}.jpg").write_bytes(b"P6 1 1 255\n" + bytes([row, 2, 3]))
    status = write_chunk(job, 0, rows)
    assert status.dropped == [("1.jpg", "no such file")]
    (folder / "0.jpg").write_bytes(b"")  # what was read is not read again
    assert write_chunk(job, 0, rows) == status
    (folder / "1.jpg").write_bytes(b"")
    assert dict(write_chunk(job, 0, rows).dropped) == dict.fromkeys(
        ("0.jpg", "1.jpg"), "an empty file"
    )


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
