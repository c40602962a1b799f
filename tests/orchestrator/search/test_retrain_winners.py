"""Who is retrained, on which seeds and folds."""

import shutil

from fakes import FakeTrial, confirm_run, make_run
from searching import config

from orchestrator.search.retrain_winners import next_round, words_before
from orchestrator.search.trials import ListedTrials

TRIALS = [
    FakeTrial("t000", 0.9, 0.95, "plain"),
    FakeTrial("t001", 0.7, 0.75, "reference"),
    FakeTrial("t002", 0.96, 0.96),
    FakeTrial("t003", 0.95, 0.96),
    FakeTrial("t004", 0.5, 0.6),
]


def test_the_best_and_the_baselines_are_retrained_on_new_seeds_and_folds(tmp_path):
    run = make_run(tmp_path / "run", TRIALS, rows=400, config=config("seed=7"))
    by_seed = config("seed=7", "sweep.finalists=2", "sweep.confirm=2", "sweep.confirm_folds=null")
    first = next_round(run, by_seed)
    assert {one.trial.path.parent.name for one in first.assignments} == {
        f"t00{n}" for n in range(4)
    }
    assert {(one.config.seed, one.config.data.folds) for one in first.assignments} == {(8, None)}
    assert (first.fold, first.at_most) == (None, 8)
    by_fold = next_round(run, config("seed=7", "sweep.finalists=1", "sweep.confirm_folds=3"))
    assert [one.trial.id for one in by_fold.assignments] == [
        f"{name}-seed1-fold0of3" for name in ("t000", "t001", "t002")
    ]
    assert (by_fold.fold, by_fold.at_most) == (0, 9)
    assert all(one.config.data.folds == 3 for one in by_fold.assignments)
    listed = ListedTrials(by_fold.assignments)
    assert [listed.next() for _ in range(4)] == [*by_fold.assignments, None]
    assert next_round(run, config("sweep.finalists=0")) is None
    assert next_round(run, config("sweep.confirm=0")) is None


def test_another_number_of_folds_is_retrained_anew(tmp_path):
    run = make_run(tmp_path / "run", TRIALS[:3], rows=400)
    confirm_run(run, TRIALS[:3], seeds=1, folds=4, rows=400)
    assert next_round(run, config()) is None
    again = next_round(run, config("sweep.confirm_folds=5"))
    assert {one.trial.id[4:] for one in again.assignments} == {"-seed1-fold0of5"}


def test_a_finalist_that_cannot_win_any_more_is_given_up(tmp_path):
    run = make_run(tmp_path / "run", TRIALS[:4], rows=2000)
    confirm_run(run, TRIALS[:4], seeds=1, folds=2, rows=2000)
    for name in ("t000", "t001", "t002", "t003"):
        shutil.rmtree(run.path / "confirm" / name / f"{name}-seed1-fold1of2")
    left = next_round(run, config("sweep.confirm_folds=2"))
    assert [one.trial.path.parent.name for one in left.assignments] == ["t000", "t002", "t003"]
    assert (left.fold, left.at_most) == (1, 3)


def test_what_levels_down_beats_nobody_in_a_race(tmp_path):
    # t001 leads by far, and will be passed over: whoever it beats would be missed.
    trials = [
        FakeTrial("t000", 0.80, 0.98, "plain"),
        FakeTrial("t001", 0.77, 0.77),
        FakeTrial("t002", 0.82, 0.98),
    ]
    run = make_run(tmp_path / "run", trials, rows=4000)
    confirm_run(run, trials, seeds=1, folds=2, rows=4000)
    for trial in trials:
        shutil.rmtree(run.path / "confirm" / trial.id / f"{trial.id}-seed1-fold1of2")
    left = next_round(run, config("sweep.confirm_folds=2"))
    assert [one.trial.path.parent.name for one in left.assignments] == ["t000", "t001", "t002"]


def test_what_finalists_take_is_said_before_the_search():
    said = words_before(config("sweep.trials=20"))
    assert "the best 8 and the baselines are retrained on 4 folds: at most 44 trainings" in said
    assert words_before(config("sweep.finalists=0")) is None
