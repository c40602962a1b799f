import asyncio
import io
import re
from collections.abc import AsyncIterator, Sequence

import pytest
from aiohttp import ClientError
from ray.job_submission import JobDetails, JobStatus

from cluster import following
from cluster.following import follow_job
from orchestrator.base.errors import InputError

LOG = "first\nsecond\n\nfourth, half of it… and the rest\nfourth\nfifth\n"
GONE = RuntimeError("Request failed with status code 404: job it does not exist")


@pytest.fixture(autouse=True)
def no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits, and nobody is patient."""
    for name in ("RETRY_SECONDS", "END_SECONDS", "PATIENCE_SECONDS"):
        monkeypatch.setattr(following, name, 0.0)


class FakeClient:
    """A client whose connections each give so much of a log, and end, or fail."""

    def __init__(
        self,
        status: str = "SUCCEEDED",
        code: int | None = 0,
        tails: Sequence[tuple[int, Exception | None]] = ((len(LOG), None),),
        running: Sequence[str | Exception] = (),
        lost: Exception | None = None,
    ) -> None:
        self.details = JobDetails(
            type="SUBMISSION",
            status=status,
            entrypoint="",
            driver_exit_code=code,
            message="why it ended",
        )
        self.tails = iter(tails)
        self.running = iter(running)
        self.lost = lost
        self.written = 0

    async def tail_job_logs(self, _job: str) -> AsyncIterator[str]:
        end, error = next(self.tails)
        self.written = max(self.written, end)
        for start in range(0, end, 7):
            yield LOG[start : min(start + 7, end)]
        if error:
            raise error

    def get_job_info(self, _job: str) -> JobDetails:
        state = next(self.running, None)
        if isinstance(state, Exception):
            raise state
        if state:
            return self.details.model_copy(update={"status": JobStatus(state)})
        self.written = len(LOG)
        return self.details

    def get_job_logs(self, _job: str) -> str:
        if self.lost:
            raise self.lost
        return LOG[: self.written]


@pytest.mark.parametrize(
    ("client", "code", "last"),
    [
        (FakeClient("SUCCEEDED", 0), 0, "job it SUCCEEDED with exit code 0"),
        (FakeClient("FAILED", 2), 2, "job it FAILED with exit code 2"),
        (FakeClient("FAILED", -9), 137, "job it FAILED with exit code -9"),
        (FakeClient("FAILED", 127), 127, "the head has no such python; .* FAIRFRONT_PYTHON"),
        (FakeClient("FAILED", None), 1, "job it FAILED: why it ended"),
        (FakeClient("STOPPED", None), 1, "job it STOPPED: why it ended"),
    ],
)
def test_how_following_a_job_ends(client: FakeClient, code: int, last: str):
    out = io.StringIO()
    assert follow_job(client, "it", None, out) == code
    log, rest = out.getvalue()[: len(LOG)], out.getvalue()[len(LOG) :]
    assert log == LOG
    assert re.fullmatch(last, rest.splitlines()[-1])


RESET = ConnectionResetError("reset")


@pytest.mark.parametrize(
    ("tails", "running"),
    [
        ([(10, RESET), (len(LOG), None)], ["RUNNING"]),
        ([(0, ClientError()), (20, RuntimeError("closed")), (len(LOG), None)], ["RUNNING"] * 2),
        ([(30, RESET), (9, RESET), (30, RESET), (len(LOG), None)], ["RUNNING"] * 3),
        ([(10, None), (len(LOG), None)], ["RUNNING"]),  # something between ended it properly
        ([(10, None)], []),  # and the job has ended since
        ([(10, RESET)], []),
    ],
)
def test_a_log_that_drops_goes_on_where_it_was(
    tails: Sequence[tuple[int, Exception | None]], running: Sequence[str]
):
    out = io.StringIO()
    assert follow_job(FakeClient("FAILED", 7, tails, running), "it", None, out) == 7
    assert out.getvalue() == LOG + "job it FAILED with exit code 7\n"


def test_a_cluster_that_is_away_for_a_while_is_asked_again(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(following, "PATIENCE_SECONDS", 60.0)
    away = RuntimeError("Request failed with status code 503: no head")
    tails = [(10, RESET), (0, RESET), (0, RESET), (len(LOG), None)]
    client = FakeClient("SUCCEEDED", 0, tails, [RESET, away, "RUNNING"])
    out = io.StringIO()
    assert follow_job(client, "it", None, out) == 0
    assert out.getvalue() == LOG + "job it SUCCEEDED with exit code 0\n"


def test_a_cluster_that_stays_away_is_given_up():
    client = FakeClient(tails=[(10, RESET)], running=[ConnectionRefusedError("refused")])
    out = io.StringIO()
    assert follow_job(client, "it", "http://head:1", out) == 1
    log, said = out.getvalue()[:10], out.getvalue()[10:]
    assert log == LOG[:10]
    assert said == (
        "\nlost the connection (refused); the job may go on. Log: fairfront logs it --follow "
        "--address http://head:1   Stop: fairfront stop it --address http://head:1\n"
    )


def test_a_job_that_the_cluster_has_forgotten_is_named():
    client = FakeClient(tails=[(10, RESET)], running=[GONE])
    with pytest.raises(InputError, match=r"^it: the cluster does not know this job any more"):
        follow_job(client, "it", None, io.StringIO())


def test_the_end_of_a_log_that_is_lost_is_said():
    client = FakeClient("FAILED", 1, [(10, RESET)], lost=RuntimeError("status code 500\nno node"))
    out = io.StringIO()
    assert follow_job(client, "it", None, out) == 1
    assert out.getvalue() == (
        f"{LOG[:10]}\nthe rest of the log cannot be had (no node)\njob it FAILED with exit code 1\n"
    )


class Silent(FakeClient):
    """Whose connections do not end, but for the last."""

    async def tail_job_logs(self, _job: str) -> AsyncIterator[str]:
        async for text in super().tail_job_logs(_job):
            yield text
        if self.written < len(LOG):
            await asyncio.Event().wait()


def test_it_is_said_once_what_a_job_waits_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(following, "PENDING_SECONDS", 0.05)
    monkeypatch.setattr(following, "SILENCE_SECONDS", 0.05)
    out = io.StringIO()
    tails = [(0, None), (0, None), (len(LOG), None)]
    assert follow_job(Silent("SUCCEEDED", 0, tails, ["PENDING"] * 2), "it", None, out) == 0
    assert out.getvalue() == (
        f"job it has not begun: why it ended\n{LOG}job it SUCCEEDED with exit code 0\n"
    )


def test_a_connection_that_has_fallen_silent_is_made_anew(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(following, "SILENCE_SECONDS", 0.05)
    out = io.StringIO()
    client = Silent("SUCCEEDED", 0, [(10, None), (len(LOG), None)], ["RUNNING"])
    assert follow_job(client, "it", None, out) == 0
    assert out.getvalue() == LOG + "job it SUCCEEDED with exit code 0\n"
