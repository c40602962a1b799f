"""Successive halving: against pymoo, optuna and Ray's ASHA, and from files against live."""

import itertools
import math
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pytest
from fakes import FakeTrial, make_run
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.study._multi_objective import _fast_non_domination_rank
from pymoo.indicators.hv import HV
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting
from ray.tune.schedulers import ASHAScheduler
from toys import toy_data

from orchestrator.config.layers import resolve
from orchestrator.run.directory import Run
from orchestrator.search.halving import (
    Halving,
    Rungs,
    exclusive_areas,
    front_numbers,
    restore,
)
from orchestrator.training.trial import Assignment, run_trial

PARETO = {"mean_accuracy": "maximize", "gap": "minimize"}
FAIR = {"fair": "maximize"}
# Few values give ties in one objective or both; the floats give points in general position.
coordinate = st.one_of(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), st.floats(0, 1))
points = st.lists(st.tuples(coordinate, coordinate), min_size=1, max_size=30)
etas = st.sampled_from([1.5, 2, 3, 4])


def at_first_rung(some, eta=3.0):
    """A rung with a trial a point: (mean accuracy, gap)."""
    halving = Halving(PARETO, Rungs(10, eta=eta))
    for number, (accuracy, gap) in enumerate(some):
        halving.record(f"t{number:03}", 1, {"mean_accuracy": accuracy, "gap": gap})
    return halving


def judged(halving, trial_id, config=None, epoch=1, kept_epoch=None, **kept):
    kept = {"epoch": epoch if kept_epoch is None else kept_epoch, **kept}
    return halving.judge(trial_id, config or resolve(), epoch, kept)


@settings(deadline=None)
@given(points, st.sampled_from([1, 2, 3]))
def test_fronts_agree_with_pymoo_and_optuna(some, objectives):
    losses = np.array([(a, b, a * b)[:objectives] for a, b in some])
    numbers = front_numbers(losses)
    fronts = NonDominatedSorting().do(losses)
    assert [sorted(front) for front in fronts] == [
        np.flatnonzero(numbers == number).tolist() for number in range(len(fronts))
    ]
    np.testing.assert_array_equal(numbers, _fast_non_domination_rank(losses))


@settings(deadline=None)
@given(points)
def test_exclusive_areas_agree_with_pymoo(some):
    losses = np.array(some)
    front, worst = losses[front_numbers(losses) == 0], losses.max(axis=0)
    distinct = np.unique(front, axis=0)
    area = HV(ref_point=worst)
    for point, ours in zip(front, exclusive_areas(front, worst), strict=True):
        others = distinct[(distinct != point).any(axis=1)]
        without = area(others) if len(others) else 0.0
        assert ours == pytest.approx(area(distinct) - without, abs=1e-12)


@settings(deadline=None)
@given(points, etas)
def test_a_trial_on_its_rungs_front_goes_on(some, eta):
    halving = at_first_rung(some, eta)
    front = front_numbers(np.array([(-accuracy, gap) for accuracy, gap in some])) == 0
    for number, (accuracy, gap) in enumerate(some):
        reason = judged(halving, f"t{number:03}", mean_accuracy=accuracy, gap=gap)
        assert not (front[number] and reason)


@settings(deadline=None)
@given(points, etas)
def test_no_trial_goes_on_where_one_that_dominates_it_is_stopped(some, eta):
    halving = at_first_rung(some, eta)
    stops = [
        judged(halving, f"t{number:03}", mean_accuracy=accuracy, gap=gap) is not None
        for number, (accuracy, gap) in enumerate(some)
    ]
    for (better, stopped), (worse, stopped_too) in itertools.permutations(
        zip(some, stops, strict=True), 2
    ):
        if stopped and better != worse and better[0] >= worse[0] and better[1] <= worse[1]:
            assert stopped_too


@settings(deadline=None)
@given(points, st.randoms(use_true_random=False))
def test_the_order_in_which_trials_come_does_not_matter(some, random):
    halving, shuffled = at_first_rung(some), Halving(PARETO, Rungs(10))
    order = list(range(len(some)))
    random.shuffle(order)
    for number in order:
        kept = dict(zip(PARETO, some[number], strict=True))
        shuffled.record(f"t{number:03}", 1, kept)
    for number in order:
        assert shuffled.standing(f"t{number:03}", 1) == halving.standing(f"t{number:03}", 1)


@settings(deadline=None)
@given(points, st.integers(0, 29))
def test_a_trial_that_is_redone_changes_nothing(some, number):
    halving = at_first_rung(some)
    before = halving.recorded()
    accuracy, gap = some[number % len(some)]
    again = [judged(halving, f"t{number % len(some):03}", mean_accuracy=accuracy, gap=gap)
             for _ in range(2)]  # fmt: skip
    assert again[0] == again[1]
    assert halving.recorded() == before


@settings(deadline=None)
@given(st.lists(st.integers(0, 10_000), max_size=30, unique=True), st.sampled_from([2, 3, 4]))
def test_with_one_objective_it_decides_as_asha(values, eta):
    """As Ray's, which compares with a percentile of the earlier trials.

    Where the percentile lies between two of them it is interpolated, and Ray's verdict on a trial
    between those two depends on how near it is to either; ours only on how many are better.
    """
    halving = Halving(FAIR, Rungs(10, eta=eta, fewest=1))
    asha = ASHAScheduler("epoch", "fair", "max", max_t=10, reduction_factor=eta)
    for number, value in enumerate(values):
        trial = SimpleNamespace(trial_id=str(number))
        asha.on_trial_add(None, trial)
        theirs = asha.on_trial_result(None, trial, {"epoch": 1, "fair": value})
        ours = judged(halving, trial.trial_id, fair=value)
        better = sum(other > value for other in values[:number])
        between, whole = math.modf((number - 1) / eta)
        if number and between and better == whole + 1:
            continue
        assert (ours is not None) == (theirs == "STOP")


def test_one_objective_by_hand():
    halving = Halving(FAIR, Rungs(10, eta=3, fewest=1))
    reasons = [judged(halving, str(n), fair=fair) for n, fair in enumerate([5, 4, 6, 5, 5.5, 1])]
    assert [reason is None for reason in reasons] == [True, False, True, True, True, False]
    assert reasons[5] == "stopped at epoch 1: 5 of 6 trials are better there by fair"


def test_a_rung_decides_once_it_has_some_of_the_searchs_own():
    halving = Halving(FAIR, Rungs(10, eta=3))
    for recipe in ("plain", "reference"):
        assert judged(halving, recipe, resolve(recipe), fair=9) is None
    reasons = [judged(halving, str(n), fair=fair) for n, fair in enumerate([5, 4, 3])]
    assert reasons[:2] == [None, None]  # the second is the fourth of four
    assert reasons[2] == "stopped at epoch 1: 4 of 5 trials are better there by fair"


def test_several_objectives_by_hand():
    halving = at_first_rung([(0.9, 0.1), (0.8, 0.05), (0.85, 0.2), (0.7, 0.3)], eta=2)
    reasons = [
        judged(halving, f"t{n:03}", mean_accuracy=accuracy, gap=gap)
        for n, (accuracy, gap) in enumerate([(0.9, 0.1), (0.8, 0.05), (0.85, 0.2), (0.7, 0.3)])
    ]
    assert reasons[:2] == [None, None]
    assert reasons[2] == (
        "stopped at epoch 1: 2 of 4 trials are better there by non-dominated rank"
    )
    assert reasons[3].startswith("stopped at epoch 1: 3 of 4")


def test_rungs():
    assert Rungs(10).epochs == (1, 3, 9)
    assert Rungs(9).epochs == (1, 3)
    assert Rungs(10, eta=2).epochs == (1, 2, 4, 8)
    assert Rungs(20, grace=2, eta=4).epochs == (2, 8)
    assert Rungs(8, eta=1.5).epochs == (1, 2, 3, 5, 7)
    assert Rungs(1).epochs == ()
    for wrong in ({"grace": 0}, {"eta": 1}):
        with pytest.raises(ValueError, match="Rungs begin"):
            Rungs(10, **wrong)


def worst(config, epoch, kept_epoch=None):
    """What is said of a trial that is worse than nine others."""
    halving = Halving(FAIR, Rungs(20, eta=3))
    for number in range(9):
        halving.record(f"t{number:03}", epoch, {"fair": 0.9})
    return judged(halving, "t009", config, epoch, kept_epoch, fair=0.1)


def test_who_is_never_stopped():
    assert worst(resolve(), 3)
    assert worst(resolve(), 2) is None  # no rung
    for recipe in ("plain", "reference"):
        assert worst(resolve(recipe), 3) is None
    assert worst(resolve(settings=["train.epochs=3"]), 3) is None
    assert worst(resolve(settings=["train.epochs=2", "last_layer.held_out=0.2"]), 3) is None
    patient = resolve(settings=["train.patience=2"])
    assert worst(patient, 3, kept_epoch=1) is None  # it ends by itself
    assert worst(patient, 3, kept_epoch=2)


@pytest.mark.parametrize("objective", [FAIR, PARETO], ids=["fair", "pareto"])
def test_rungs_from_files_are_those_of_the_live_trials(tmp_path, objective):
    (tmp_path / "trials").mkdir()
    run, data = Run(tmp_path), toy_data()
    live, resumed = (Halving(objective, Rungs(5, eta=2)) for _ in range(2))
    keeps = ("best", "last")
    for number, (monitor, keep) in enumerate(itertools.product(("val_loss", "fair"), keeps)):
        words = [f"train.monitor={monitor}", f"train.keep={keep}", "train.epochs=4"]
        words += ["train.lr=0.003", f"seed={number}", "train.batch_size=16", "train.patience=2"]
        words += ["last_layer.held_out=0.3"] if number == 1 else []
        config = resolve(settings=words)
        trial = run.trial(f"t{number:03}")

        def report(metrics, kept, trial=trial, config=config):
            mean = (kept.acc_women + kept.acc_men) / 2
            live.judge(trial.id, config, metrics.epoch, {**asdict(kept), "mean_accuracy": mean})

        run_trial(Assignment(trial, config, {}), data, report)
    restore(run, resumed)
    assert resumed.recorded() == live.recorded()
    assert set(live.recorded()) == {1, 2, 4}
    assert len(live.recorded()[2]) == 4


def test_trials_that_were_stopped_or_failed_or_are_not_done_count(tmp_path):
    trials = [
        FakeTrial("t000", epochs=10),
        FakeTrial("t001", state="pruned", reason="stopped", epochs=3),
        FakeTrial("t002", state="failed"),
        FakeTrial("t003", epochs=10),
    ]
    run = make_run(tmp_path / "run", trials, rows=100)
    (run.trial("t003").path / "result.json").unlink()  # as a kill leaves it
    halving = Halving(PARETO, Rungs(10))
    restore(run, halving)
    assert {epoch: set(trials) for epoch, trials in halving.recorded().items()} == {
        1: {"t000", "t001"},
        3: {"t000", "t001"},
        9: {"t000"},
    }
    halving.recall(run.trial("t003"), resolve())
    halving.recall(run.trial("t004"), resolve())  # has no files yet
    assert set(halving.recorded()[9]) == {"t000", "t003"}


def test_the_mean_length_of_a_trial_that_may_be_stopped():
    assert Rungs(27, grace=1, eta=3).mean_epochs == pytest.approx(1 + 2 / 3 + 6 / 9 + 18 / 27)
    assert Rungs(1).mean_epochs == 1
    assert Rungs(10, grace=20).mean_epochs == 10
