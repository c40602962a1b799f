"""Chunks on Ray: what fails there, and what is said of it."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
import ray
from preparing import prepared, tree
from ray.exceptions import RayTaskError, WorkerCrashedError

from orchestrator.base.errors import InputError, ReadingError
from orchestrator.data.prepare import chunks
from orchestrator.data.prepare import prepare as module
from orchestrator.data.prepare import ray_pool as pool
from orchestrator.data.prepare.chunks import ChunkStatus, Job, StoppedError
from orchestrator.data.prepare.prepare import work_folder
from orchestrator.data.prepare.work_folder import KeptError

GO_ON = "; mend that and run the same command again: it goes on from here"


def dying(chunk_of_death: int, marker: Path, times: int) -> pool.Task:
    """`write_chunk` in a process that dies of one chunk, so many times."""

    def write_chunk(job: Job, chunk: int, rows: pa.Table) -> ChunkStatus:
        if chunk == chunk_of_death and marker.stat().st_size < times:
            with marker.open("ab") as file:
                file.write(b".")
            os.kill(os.getpid(), signal.SIGKILL)
        return chunks.write_chunk(job, chunk, rows)

    return write_chunk


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster", "small_chunks")
class TestProcessesThatDie:
    def test_once(
        self,
        make_faces: Any,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        request: pytest.FixtureRequest,
    ) -> None:
        manifest, marker = make_faces(40), tmp_path / "deaths"
        marker.touch()
        monkeypatch.setattr(module, "write_chunk", dying(2, marker, times=1))
        prepared(manifest, tmp_path / "data")
        assert marker.read_bytes() == b"."
        request.getfixturevalue("in_process")
        prepared(manifest, tmp_path / "whole")
        assert tree(tmp_path / "data") == tree(tmp_path / "whole")

    def test_always(
        self,
        make_faces: Any,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        request: pytest.FixtureRequest,
    ) -> None:
        manifest, marker, out = make_faces(40), tmp_path / "deaths", tmp_path / "data"
        marker.touch()
        with monkeypatch.context() as patch:
            patch.setattr(module, "write_chunk", dying(2, marker, times=1000))
            with pytest.raises(InputError) as caught:
                prepared(manifest, out)
        faces = manifest.parent
        assert str(caught.value).startswith(
            f"3 processes died at work on the images from {faces}/0016.jpg to {faces}/0023.jpg, "
        )
        assert str(caught.value).endswith(GO_ON)
        assert marker.read_bytes() == b"..."
        done = len(list((work_folder(out) / "state").glob("*.json")))
        assert done > 0
        written: list[tuple[int, int]] = []
        request.getfixturevalue("in_process")
        prepared(manifest, out, on_progress=lambda *rows: written.append(rows))
        assert written[0] == (8 * done, 40)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    (tmp_path / "state").mkdir()
    return Job(tmp_path, image_size=4, fingerprint="f" * 64)


def table_of(numbers: list[int]) -> pd.DataFrame:
    return pd.DataFrame(dict.fromkeys(pool.COLUMNS, numbers))


def outcome(chunk: int) -> dict[str, str]:
    status = ChunkStatus(chunk=chunk, rows=1, shards={}, dropped=[])
    return {"status": status.model_dump_json(), "error": ""}


STOPPED = {"status": "", "error": ""}


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
class TestOutcomes:
    @pytest.mark.parametrize(
        ("failure", "expected"),
        [
            (StoppedError(), ""),
            (ReadingError("s3://faces/1.jpg: timed out"), "s3://faces/1.jpg: timed out"),
            (OSError(28, "No space left on device"), "{work}: No space left on device"),
        ],
    )
    def test_a_worker_tells_what_went_wrong(
        self, job: Job, failure: Exception, expected: str
    ) -> None:
        def task(*_: Any) -> ChunkStatus:
            raise failure

        rows = ray.put(pa.Table.from_pandas(table_of([0, 1, 2])))
        worker = pool._Worker(task, job, [rows])
        piece = {"chunk": [1], "start": [1], "length": [1]}
        assert worker(piece) == {"status": [""], "error": [expected.format(work=job.work)]}
        assert not any((Path(job.work) / "state").iterdir())

    def test_a_chunk_that_was_stopped_by_others_is_not_taken_for_done(
        self, job: Job, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pool, "_run", lambda *_: iter([outcome(2), STOPPED, outcome(0)]))
        with pytest.raises(KeptError, match="1 of 3 chunks were left undone; mend"):
            list(pool.map_chunks(chunks.write_chunk, job, table_of([0, 1, 2])))
        monkeypatch.setattr(pool, "_run", lambda *_: iter([outcome(2), outcome(1), outcome(0)]))
        done = pool.map_chunks(chunks.write_chunk, job, table_of([0, 1, 2]))
        assert [status.chunk for status in done] == [2, 1, 0]

    def test_another_call_in_the_same_folder_stops_nothing(
        self, job: Job, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        jobs: list[Job] = []

        def run(_task: Any, job: Job, *_: Any) -> Any:
            jobs.append(job)
            return iter([outcome(0)])

        monkeypatch.setattr(pool, "_run", run)
        for _ in range(2):
            list(pool.map_chunks(chunks.write_chunk, job, table_of([0])))
        assert len({job.token for job in jobs}) == 2
        for ended in jobs:
            with pytest.raises(StoppedError):
                chunks._heed_stop(ended)
        chunks._heed_stop(job)

    def test_a_failure_of_ray_is_one_line_and_one_of_ours_is_not_hidden(
        self, job: Job, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def failing(error: Exception) -> Callable[..., Any]:
            def run(*_: Any) -> Any:
                yield outcome(0)
                raise error

            return run

        monkeypatch.setattr(pool, "_run", failing(WorkerCrashedError()))
        with pytest.raises(
            KeptError, match=r"^Ray lost a process, .*\(.*unexpectedly.*\); mend"
        ) as caught:
            list(pool.map_chunks(chunks.write_chunk, job, table_of([0, 1])))
        assert "\n" not in str(caught.value)
        bug = RayTaskError("write_chunk", "traceback", ZeroDivisionError())
        monkeypatch.setattr(pool, "_run", failing(bug))
        with pytest.raises(RayTaskError):
            list(pool.map_chunks(chunks.write_chunk, job, table_of([0, 1])))

    def test_a_cluster_that_has_no_cpu_yet_is_waited_for(
        self, job: Job, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ray, "cluster_resources", lambda: {"memory": 1.0})

        def task(_job: Job, chunk: int, rows: pa.Table) -> ChunkStatus:
            return ChunkStatus(chunk=chunk, rows=len(rows), shards={}, dropped=[])

        done = list(pool.map_chunks(task, job, table_of([0, 1, 1])))
        assert sorted((status.chunk, status.rows) for status in done) == [(0, 1), (1, 2)]
