"""A lease on an object store: one holder at a time, also of those who died or woke up late."""

import itertools
import threading

import pytest
from waiting import HANGS, wait_until

from orchestrator.base import lease
from orchestrator.base.errors import InputError
from orchestrator.base.files import parse_uri, read_text
from orchestrator.base.lease import SECONDS, Lease, LeaseLostError

pytestmark = pytest.mark.usefixtures("s3")

_folders = itertools.count()


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def folder():
    return parse_uri(f"s3://faces/lease-{next(_folders)}/.lease")


def a_lease(folder, clock, **more):
    return Lease(folder, "s3://faces/run", now=clock, **more)


def test_a_second_session_is_told_who_holds_it_and_until_when(folder, clock):
    with a_lease(folder, clock):
        clock.now += 10
        with pytest.raises(InputError) as refused:
            a_lease(folder, clock).take()
    words = str(refused.value)
    assert words.startswith("s3://faces/run: another fairfront is at work on this run (")
    assert "since 2027-01-15 08:00:00 UTC" in words
    assert "its lease expires at 2027-01-15 08:02:00 UTC, and the same command works then" in words
    with a_lease(folder, clock):  # given up at once
        pass


def test_a_dead_holders_lease_expires_and_a_living_ones_is_renewed(folder, clock):
    dead = a_lease(folder, clock)
    dead.take()
    clock.now += SECONDS - 1
    dead.renew()
    clock.now += SECONDS - 1
    with pytest.raises(InputError, match="its lease expires at"):
        a_lease(folder, clock).take()
    clock.now += 1
    with a_lease(folder, clock):
        assert [path.name for path in folder.iterdir()] == ["000002.json"]


def test_one_who_wakes_up_late_finds_another_there_and_stops(folder, clock, monkeypatch):
    monkeypatch.setattr(lease, "BEAT", 0.01)
    told = threading.Event()
    late = a_lease(folder, clock, lost=told.set)
    late.take()
    clock.now += SECONDS
    with a_lease(folder, clock):
        late._thread.start()  # awake
        assert told.wait(HANGS)
        with pytest.raises(LeaseLostError, match="another fairfront has taken this run over"):
            late.__exit__(None)
        assert [path.name for path in folder.iterdir()] == ["000002.json"]


def test_the_next_number_is_one_sessions_alone(folder, clock):
    """All see a dead holder and ask at once."""
    a_lease(folder, clock).take()
    clock.now += SECONDS
    ready, taken = threading.Barrier(4), []

    def ask() -> None:
        one = a_lease(folder, clock)
        ready.wait(HANGS)
        try:
            one.take()
        except InputError:
            return
        taken.append(one)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 1


def test_one_who_renews_as_it_is_taken_over_keeps_it(folder, clock, monkeypatch):
    first, second = a_lease(folder, clock), a_lease(folder, clock)
    first.take()
    clock.now += SECONDS
    refuse_live = second._refuse_live

    def look(holder) -> None:
        refuse_live(holder)
        monkeypatch.setattr(second, "_refuse_live", refuse_live)
        first.renew()  # after it was seen to have expired

    monkeypatch.setattr(second, "_refuse_live", look)
    with pytest.raises(InputError, match="at work on this run"):
        second.take()
    first.renew()
    assert first.taken_over is None


def test_it_is_renewed_while_it_is_held(folder, clock, monkeypatch):
    monkeypatch.setattr(lease, "BEAT", 0.01)
    with a_lease(folder, clock):
        before = read_text(folder / "000001.json")
        clock.now += 5
        wait_until(lambda: read_text(folder / "000001.json") != before)


def test_a_store_that_gives_it_to_two_is_refused(folder, clock, monkeypatch):
    fs, pipe = folder.fs, folder.fs.pipe_file
    monkeypatch.setattr(fs, "pipe_file", lambda path, data, **_: pipe(path, data))
    with pytest.raises(InputError, match="does not keep two from making the same file"):
        a_lease(folder, clock).take()
    assert not (folder / "000001.json").exists()
