import io
import os
import pty
import re
import shlex
import threading
import time
from contextlib import contextmanager

import pytest
from fakes import SWEEP, make_run
from waiting import HANGS, wait_until

from orchestrator.cli import display
from orchestrator.cli.display import Display, Terminal, how_to_resume, watch
from orchestrator.run.progress import EndedTrial, Progress, RunningTrial, begin, read


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "a run", SWEEP[:3], rows=300)


def state_of(run, **other) -> Progress:
    now = time.time()
    return begin(run, "sweep", 12, 10, now).model_copy(update={"ended": (), **other})


def test_plain_lines_one_a_trial(run):
    stream = io.StringIO()
    with Display(run, stream, state_of(run)) as shown:
        shown.update(shown.progress.with_running(RunningTrial(trial_id="t000", epochs=10)))
        for trial in run.ended():
            shown.update(shown.progress.with_ended(EndedTrial.of(trial)))
    lines = stream.getvalue().splitlines()
    assert [re.sub(r" .*", "", line[8:]) for line in lines if " complete" in line] == [
        "t000",
        "t001",
        "t002",
    ]
    assert lines[-1].startswith("[ 3/12] finished")
    assert "\x1b" not in stream.getvalue()


def test_the_file_is_whole_and_fresh(run):
    with Display(run, io.StringIO(), state_of(run)) as shown:
        assert read(run).state == "running"
        shown.update(shown.progress.with_running(RunningTrial(trial_id="t000", epochs=10)))
        wait_until(lambda: read(run).running)
    ended = read(run)
    assert ended.state == "finished"
    assert ended.running == ()


def test_the_file_is_written_again_though_nothing_changes(run, monkeypatch):
    monkeypatch.setattr(display, "TICK", 0.01)
    monkeypatch.setattr(display, "HEARTBEAT", 0.05)
    with Display(run, io.StringIO(), state_of(run)):
        first = read(run).updated
        wait_until(lambda: read(run).updated > first)


@pytest.mark.parametrize(
    ("error", "state"), [(KeyboardInterrupt, "interrupted"), (RuntimeError, "failed")]
)
def test_an_exception_is_the_final_state_and_goes_on(run, error, state):
    with pytest.raises(error), Display(run, io.StringIO(), state_of(run)):
        raise error
    assert read(run).state == state


def test_a_final_state_that_was_set_is_kept(run):
    with Display(run, io.StringIO(), state_of(run)) as shown:
        shown.update(shown.progress.model_copy(update={"state": "interrupted"}))
    assert read(run).state == "interrupted"


def test_a_reader_that_went_away_does_not_end_the_run(run):
    class Broken(io.StringIO):
        def write(self, _text):
            raise BrokenPipeError

    with Display(run, Broken(), state_of(run)) as shown:
        shown.update(shown.progress.with_ended(EndedTrial.of(run.trial("t000"))))
    assert read(run).state == "finished"


def test_on_a_terminal_it_is_drawn_in_place(run):
    with _terminal() as (stream, output):
        with Display(run, stream, state_of(run)) as shown:
            shown.update(shown.progress.with_ended(EndedTrial.of(run.trial("t000"))))
        stream.flush()
        wait_until(lambda: "finished" in output())
    assert "fairfront sweep" in output()
    assert "1/12 trials" in output()
    assert "\x1b[?25h" in output()  # the cursor is back


def test_watch_shows_what_happened_and_ends_with_the_run(run):
    ended = tuple(EndedTrial.of(trial) for trial in run.ended())
    _write(run, state_of(run, ended=ended, state="finished"))
    stream = io.StringIO()
    assert watch(run, stream) == 0
    assert stream.getvalue().count(" complete") == 3


def test_watch_follows_a_run_of_another_process(run):
    stream = io.StringIO()
    thread = threading.Thread(target=watch, args=(run, stream, 0.01))
    thread.start()
    wait_until(lambda: "waiting for the run to start" in stream.getvalue())
    with Display(run, io.StringIO(), state_of(run)) as shown:
        wait_until(lambda: "[ 0/12] running" in stream.getvalue())
        shown.update(shown.progress.with_ended(EndedTrial.of(run.trial("t000"))))
    thread.join(timeout=HANGS)
    assert not thread.is_alive()
    assert "t000 complete" in stream.getvalue()
    assert "finished" in stream.getvalue()


def test_watch_says_when_a_run_died_and_how_to_resume(run):
    _write(run, state_of(run, updated=time.time() - 200))
    stream = io.StringIO()
    assert watch(run, stream) == 1
    told = stream.getvalue().splitlines()[-1]
    assert "no sign of life for 3 min 2" in told
    command = shlex.split(told.split("Resume with: ")[1])
    assert command[:2] == ["fairfront", "sweep"]
    assert command[command.index("--out") + 1] == str(run.path)
    assert command[command.index("--data") + 1] == "data/faces"
    assert command[-1] == "--resume"


def test_watch_takes_a_slow_heartbeat_for_life(run):
    _write(run, state_of(run, updated=time.time() - 30))
    thread = threading.Thread(target=watch, args=(run, io.StringIO(), 0.01))
    thread.start()
    thread.join(timeout=0.3)
    assert thread.is_alive()
    _write(run, state_of(run, state="finished"))
    thread.join(timeout=HANGS)
    assert not thread.is_alive()


def test_watch_of_an_interrupted_run(run):
    _write(run, state_of(run, state="interrupted"))
    stream = io.StringIO()
    assert watch(run, stream) == 1
    assert "the run was interrupted" in stream.getvalue()


def test_how_to_resume_names_the_command_the_data_and_the_run(run):
    said = how_to_resume(run, "train")
    assert said.endswith(
        f"fairfront train --data data/faces --out {shlex.quote(str(run.path))} --resume"
    )


def test_rows_progress_in_lines():
    stream = io.StringIO()
    with Terminal(stream).count_rows("preparing") as update:
        for done in (100, 200, 1000):
            update(done, 1000)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2  # the first and the last; between them one each 30 s
    assert lines[-1].startswith("preparing: 1,000/1,000 images")


def test_rows_progress_on_a_terminal():
    with _terminal() as (stream, output):
        with Terminal(stream).count_rows("preparing") as update:
            update(1000, 1000)
        stream.flush()
        wait_until(lambda: "1000/1000" in output())
    assert "images/s" in output()


def _write(run, progress: Progress) -> None:
    display.write_text(run.path / "progress.json", progress.model_dump_json())


@contextmanager
def _terminal():
    """A pseudo-terminal: the stream to write to, and what was written so far."""
    reader, writer = pty.openpty()
    read_so_far = bytearray()

    def collect() -> None:
        try:
            while data := os.read(reader, 65536):
                read_so_far.extend(data)
        except OSError:  # the other end was closed
            pass

    thread = threading.Thread(target=collect, daemon=True)
    thread.start()
    with os.fdopen(writer, "w", encoding="utf-8") as stream:
        yield stream, lambda: read_so_far.decode("utf-8", "replace")
    thread.join(timeout=HANGS)
    os.close(reader)
