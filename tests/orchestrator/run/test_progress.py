import io
import json
import math

import pytest
from fakes import SWEEP, make_run
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from orchestrator.base.errors import InputError
from orchestrator.base.words import duration, first_line
from orchestrator.cli.progress_text import line, render, status_line
from orchestrator.run.progress import (
    STALE,
    EndedTrial,
    Progress,
    RunningTrial,
    Score,
    begin,
    merged,
    own_file,
    read,
)

STARTED = 1_000.0


def score(fair: float, gap: float = 0.03) -> Score:
    return Score(fair=fair, acc_women=0.90, acc_men=0.90 + gap, gap=gap)


def ended(trial_id: str, fair: float = 0.85, recipe: str = "default", **other) -> EndedTrial:
    values = {"state": "complete", "epochs": 10, "seconds": 92.4, "score": score(fair)} | other
    return EndedTrial(trial_id=trial_id, recipe=recipe, **values)


def progress(*trials: EndedTrial, total: int = 12, **other) -> Progress:
    values = {"started": STARTED, "updated": STARTED, "epochs": 10} | other
    return Progress(command="sweep", trials_total=total, ended=trials, **values)


def text(renderable: object, width: int = 80) -> str:
    file = io.StringIO()
    Console(file=file, width=width, markup=False, highlight=False).print(renderable)
    return file.getvalue()


def test_best_is_the_highest_fair_metric_then_smaller_gap_then_id():
    trials = [
        ended("t003", 0.9, score=score(0.9, gap=0.02)),
        ended("t001", 0.9, score=score(0.9, gap=0.04)),
        ended("t002", 0.9, score=score(0.9, gap=0.02)),
        ended("t000", 0.99, state="pruned"),
    ]
    assert progress(*trials).best.trial_id == "t002"
    assert progress(trials[3]).best is None


def test_baselines_are_found_by_recipe():
    state = progress(ended("t001", recipe="reference"), ended("t000", recipe="plain"))
    assert state.baseline("plain").trial_id == "t000"
    assert state.baseline("reference").trial_id == "t001"
    failed = ended("t000", recipe="plain", state="failed", score=None)
    assert progress(failed).baseline("plain") is None


def test_a_running_trial_is_replaced_by_its_newer_state_and_leaves_when_it_ends():
    state = progress().with_running(RunningTrial(trial_id="t001", epochs=10))
    state = state.with_running(RunningTrial(trial_id="t000", epochs=10, images_per_second=300))
    newer = RunningTrial(trial_id="t001", epoch=3, epochs=10, images_per_second=350)
    state = state.with_running(newer)
    assert [trial.trial_id for trial in state.running] == ["t000", "t001"]
    assert state.running[1] == newer
    assert state.images_per_second == 650
    state = state.with_ended(ended("t001"))
    assert [trial.trial_id for trial in state.running] == ["t000"]
    assert [trial.trial_id for trial in state.ended] == ["t001"]


def test_time_left_is_estimated_from_epochs():
    half = progress(*(ended(f"t00{n}") for n in range(5)), total=10)
    assert half.share_done() == pytest.approx(0.5)
    assert half.seconds_left(STARTED + 100) == pytest.approx(100)
    assert progress().seconds_left(STARTED + 100) is None


def test_time_left_is_no_more_than_the_hours_allow():
    begun = progress(*(ended(f"t00{n}") for n in range(5)), total=10)
    limited = begun.model_copy(update={"seconds_before": 30.0, "seconds_limit": 150.0})
    assert limited.seconds_left(STARTED + 100) == pytest.approx(150 - 130)
    assert limited.seconds_left(STARTED + 200) == 0
    roomy = begun.model_copy(update={"seconds_limit": 1e4})
    assert roomy.seconds_left(STARTED + 100) == pytest.approx(100)
    waiting = progress().model_copy(update={"seconds_limit": 150.0})
    assert waiting.seconds_left(STARTED + 100) == 50


def test_time_left_is_no_more_than_the_epochs_allow():
    begun = progress(*(ended(f"t00{n}") for n in range(5)), total=1000)
    limited = begun.model_copy(update={"epochs_limit": 100})
    assert limited.share_done() == pytest.approx(0.5)
    assert limited.seconds_left(STARTED + 100) == pytest.approx(100)
    spent = begun.model_copy(update={"epochs_limit": 50})
    assert spent.seconds_left(STARTED + 100) == 0
    running = spent.with_running(RunningTrial(trial_id="t009", epoch=4, epochs=10))
    assert running.seconds_left(STARTED + 100) > 5  # it goes on to its end


def test_time_left_expects_trials_that_stop_early_to_go_on_doing_so():
    early = progress(*(ended(f"t00{n}", epochs=2) for n in range(5)), total=10)
    full_length = 5 * 10 / (5 * 2) * 100
    assert early.seconds_left(STARTED + 100) < full_length / 2


def test_time_left_counts_on_what_halving_stops_and_is_not_guessed_before_it_is_seen():
    """A sweep of 40 trials of at most 27 epochs, an epoch a second; most stop at epoch 1 or 3."""
    lengths = [27, 27, *([1, 3, 1, 1, 9, 1, 3, 1, 1, 27] * 4)][:40]
    state = progress(total=40, epochs=27, halved_epochs=1 + 2 / 3 + 6 / 9 + 18 / 27)
    for number, length in enumerate(lengths):
        recipe = {0: "plain", 1: "reference"}.get(number, "default")
        state = state.with_ended(ended(f"t{number:03}", recipe=recipe, epochs=length))
        spent = sum(lengths[: number + 1])
        left = state.seconds_left(STARTED + spent)
        if number < 5:
            assert left is None
        elif number < 30:
            assert 1 / 3 < left / (sum(lengths) - spent) < 3


@given(
    st.lists(st.integers(0, 10), max_size=8),
    st.lists(st.integers(0, 10), max_size=3),
    st.integers(1, 12),
)
def test_share_done_is_a_share_and_1_only_when_all_ended(epochs, running, total):
    state = progress(*(ended(f"e{n}", epochs=e) for n, e in enumerate(epochs)), total=total)
    for n, epoch in enumerate(running):
        state = state.with_running(RunningTrial(trial_id=f"r{n}", epoch=epoch, epochs=10))
    share = state.share_done()
    assert 0 <= share <= 1
    assert (share == 1) == (len(epochs) >= total)
    left = state.seconds_left(STARTED + 60)
    assert left is None or (left >= 0 and math.isfinite(left))


def test_json_round_trip():
    state = progress(ended("t000", state="failed", score=None, reason="no disk"))
    state = state.with_running(RunningTrial(trial_id="t001", epochs=10, score=score(0.8)))
    assert Progress.model_validate_json(state.model_dump_json()) == state
    assert json.loads(state.model_dump_json())["state"] == "running"


def test_ended_trials_are_read_from_their_files(tmp_path):
    run = make_run(tmp_path / "run", SWEEP[:4], rows=300)
    trials = [EndedTrial.of(trial) for trial in run.ended()]
    assert [trial.state for trial in trials] == ["complete", "complete", "complete", "failed"]
    kept = run.trial("t001").metrics.iloc[-1]
    assert trials[1].score.fair == kept["fair"]
    assert trials[1].score.acc_women == kept["acc_women"]
    assert trials[3].score is None
    assert trials[3].reason.startswith("CUDA")


def test_a_resumed_run_begins_with_what_it_has(tmp_path):
    run = make_run(tmp_path / "run", SWEEP[:2], rows=300)
    assert read(run) is None
    first = begin(run, "sweep", 12, 10, now=100.0)
    assert first.seconds_before == 0
    assert len(first.ended) == 2
    stopped = first.model_copy(update={"updated": 160.0, "state": "interrupted"})
    (run.path / "progress.json").write_text(stopped.model_dump_json())
    again = begin(run, "sweep", 12, 10, now=500.0)
    assert again.state == "running"
    assert again.seconds(now=510.0) == 70


def test_the_time_left_counts_what_this_session_does(tmp_path):
    """Not what was done before it, and none of the time that a search took before confirming."""
    run = make_run(tmp_path / "run", SWEEP[:2], rows=300)
    searched = begin(run, "sweep", 2, 10, now=0.0).model_copy(update={"updated": 9999.0})
    (run.path / "progress.json").write_text(searched.model_dump_json())
    for total, trials in ((10, []), (12, None)):
        state = begin(run, "confirm", total, 10, now=500.0, trials=trials)
        assert state.seconds_left(now=510.0) is None
        before = state.share_done()
        state = state.with_ended(ended("t009"))
        expected = 10 * (1 - state.share_done()) / (state.share_done() - before)
        assert state.seconds_left(now=510.0) == pytest.approx(expected)
        assert state.seconds_left(now=510.0) < 200


def test_what_a_confirmation_took_is_no_part_of_the_searchs_time(tmp_path):
    run = make_run(tmp_path / "run")

    def session(command: str, seconds: float, now: float) -> Progress:
        begun = begin(run, command, 20, 10, now, seconds_limit=400.0)
        ended = begun.model_copy(update={"updated": now + seconds, "state": "finished"})
        (run.path / "progress.json").write_text(ended.model_dump_json())
        return begun

    session("sweep", 100, 1_000.0)
    session("confirm", 500, 1_100.0)
    session("confirm", 50, 2_000.0)  # which was interrupted, and gone on with
    again = session("sweep", 30, 3_000.0)
    assert again.seconds(3_000.0) == 650
    assert again.search_seconds(3_000.0) == 100
    assert again.seconds_left(3_000.0) == 300
    assert session("sweep", 0, 4_000.0).search_seconds(4_000.0) == 130


def test_a_progress_file_that_makes_no_sense_is_one_line(tmp_path):
    run = make_run(tmp_path / "run", [])
    (run.path / "progress.json").write_text('{"state": "asleep"}')
    with pytest.raises(InputError, match=r"progress\.json: not a progress") as error:
        read(run)
    assert "\n" not in str(error.value)


def test_line_says_all_about_a_trial():
    state = progress(
        ended("t000", 0.85, "plain"),
        ended("t001", 0.9, score=Score(fair=0.8912, acc_women=0.921, acc_men=0.948, gap=0.027)),
        ended("t002", state="failed", score=None, reason="boom\nTraceback"),
    )
    assert line(state, 0).startswith("[ 1/12] t000 complete (plain)  fair 0.8500 (women 0.900")
    assert line(state, 1) == (
        "[ 2/12] t001 complete  fair 0.8912 (women 0.921 men 0.948 gap 0.027)"
        "  10 epochs 92 s  best t001"
    )
    assert line(state, 0).endswith("best t000")  # as things stood then
    assert line(state, 2) == "[ 3/12] t002 failed: boom"


def test_status_line_tells_what_runs_and_how_long():
    state = progress(ended("t000")).with_running(
        RunningTrial(trial_id="t001", epoch=3, epochs=10, images_per_second=1240)
    )
    told = status_line(state, STARTED + 100)
    assert told.startswith("[ 1/12] running t001 epoch 3/10  1,240 images/s  1 min 40 s elapsed")
    assert "left" in told
    done = state.model_copy(update={"state": "finished", "running": (), "updated": STARTED + 9})
    assert status_line(done, STARTED + 100) == "[ 1/12] finished  9 s"


@pytest.mark.parametrize("width", [80, 120])
def test_render_fits_the_terminal_and_shows_both_genders(width):
    state = progress(
        ended("t000", recipe="plain"),
        ended("t001", recipe="reference"),
        ended("t002", 0.91, score=Score(fair=0.91, acc_women=0.921, acc_men=0.9, gap=0.021)),
        ended("t003", state="failed", score=None),
    )
    state = state.with_running(RunningTrial(trial_id="t004", epoch=2, epochs=10))
    shown = text(render(state, STARTED + 60), width)
    lines = shown.splitlines()
    assert len(lines) == 7
    assert "4/12 trials, 1 failed" in lines[0]
    best = next(row for row in lines if row.startswith("best"))
    assert best.split()[2:] == ["0.9100", "0.921", "+0.021", "0.900", "-0.030", "0.021", "10"]
    assert any(row.startswith("running") and "2/10" in row for row in lines)


def test_render_before_anything_happened():
    assert "0/12 trials" in text(render(progress(), STARTED + 3))


def test_markup_in_reasons_and_names_is_text():
    state = progress(ended("t[red]0", recipe="plain"))
    assert "t[red]0" in text(render(state, STARTED))


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0, "0 s"), (41.2, "42 s"), (60, "1 min 00 s"), (250, "4 min 10 s"), (3900, "1 h 05 min")],
)
def test_duration(seconds, told):
    assert duration(seconds) == told


def test_first_line_is_short():
    assert first_line("\n  boom  \nmore") == "boom"
    assert first_line(None) == "no reason given"
    assert len(first_line("x" * 500)) == 160


def session(at: float, *trials: EndedTrial, running: str = "", **other) -> Progress:
    going = tuple(RunningTrial(trial_id=name, epochs=10) for name in running.split())
    return progress(*trials, total=200, updated=STARTED + at, running=going, **other)


def test_a_joint_sweep_runs_as_long_as_one_session_does():
    one = session(50, ended("t000"), ended("t001"), state="finished")
    other = session(40, ended("t000"), ended("t002"), ended("t003"), running="t004 t005")
    both = merged([one, other])
    assert both == merged([other, one])
    assert (both.state, both.updated) == ("running", STARTED + 40)
    assert [trial.trial_id for trial in both.ended] == ["t000", "t002", "t003", "t001"]
    assert [trial.trial_id for trial in both.running] == ["t004", "t005"]
    third = session(45, ended("t004"), running="t006")
    assert [trial.trial_id for trial in merged([one, other, third]).running] == ["t005", "t006"]


def test_a_session_that_was_killed_holds_no_trial_any_more():
    killed = session(10, ended("t000"), running="t001")
    last = session(11 + STALE, ended("t001"), state="finished")
    both = merged([killed, last])
    assert both.state == "finished"
    assert {trial.trial_id for trial in both.ended} == {"t000", "t001"}
    assert both.running == ()
    assert merged([killed]) == killed


def test_a_confirmation_is_shown_without_the_search_before_it():
    search = session(90, ended("t000"), state="finished")
    confirm = session(60, ended("t000-seed1")).model_copy(update={"command": "confirm"})
    assert [trial.trial_id for trial in merged([search, confirm]).ended] == ["t000-seed1"]


def test_only_sessions_of_a_joint_sweep_have_files_of_their_own(tmp_path):
    run = make_run(tmp_path / "run", [])
    assert own_file(run) == own_file(run) == run.path / "progress.json"
    (run.path / "study.json").write_text("{}")
    files = [own_file(run) for _ in range(2)]
    assert read(run) is None
    files[0].parent.mkdir()
    for file, one in zip(files, (ended("t000"), ended("t001")), strict=True):
        file.write_text(session(1, one).model_dump_json())
    assert len(read(run).ended) == 2
