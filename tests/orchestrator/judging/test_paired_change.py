import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from orchestrator.judging.fairness import group_metrics
from orchestrator.judging.paired_change import paired_change

N = 40
flags = arrays(np.bool_, N)
WOMEN = np.arange(N) % 2 == 0


@given(flags, flags, st.sampled_from([0.0, 1.0, 2.0]))
def test_changes_are_differences_of_the_groups_metrics(now, then, fair_lambda):
    change = paired_change(now, then, WOMEN, fair_lambda)
    gender = np.where(WOMEN, -1, 1)
    label = np.ones(N, dtype=int)
    after = group_metrics(label, now.astype(int), gender, fair_lambda)
    before = group_metrics(label, then.astype(int), gender, fair_lambda)
    for name in ("acc_women", "acc_men", "gap", "fair"):
        assert getattr(change, name) == pytest.approx(getattr(after, name) - getattr(before, name))
    better = "acc_women" if before.acc_women > before.acc_men else "acc_men"
    fell = getattr(change, f"{better}_ci95")[1] < 0
    assert change.levelled_down == (change.fair > 0 and fell)


@given(flags)
def test_one_that_is_right_on_the_same_rows_may_differ_by_chance_alone(correct):
    change = paired_change(correct, correct, WOMEN)
    assert change.fair == change.acc_women == change.acc_men == change.gap == 0
    for low, high in (change.fair_ci95, change.acc_women_ci95, change.acc_men_ci95):
        assert low < 0 < high
    assert not change.levelled_down


def test_intervals_are_those_of_resampling_the_rows():
    rng = np.random.default_rng(0)
    women = rng.random(900) < 0.6
    then = rng.random(900) < np.where(women, 0.85, 0.95)
    now = np.where(rng.random(900) < 0.9, then, rng.random(900) < 0.9)
    change = paired_change(now, then, women)
    fair = []
    for _ in range(4000):
        parts = [rng.choice(np.flatnonzero(g), np.sum(g)) for g in (women, ~women)]
        now_by, then_by = ([c[rows].mean() for rows in parts] for c in (now, then))
        fair.append(_fair(*now_by) - _fair(*then_by))
    assert change.fair_ci95 == pytest.approx(np.percentile(fair, (2.5, 97.5)), abs=0.006)


def test_one_man_does_not_make_it_levelling_down():
    women, n = np.repeat([True, False], 400), np.tile(np.arange(400), 2)
    then = n < np.where(women, 340, 380)
    one_fewer = n < np.where(women, 360, 379)
    change = paired_change(one_fewer, then, women)
    assert change.fair > 0 > change.acc_men
    assert change.acc_men_ci95[1] > 0
    assert not change.levelled_down


def test_both_worse_and_a_smaller_gap_is_levelling_down():
    women, n = np.repeat([True, False], 100), np.tile(np.arange(100), 2)
    then = n < np.where(women, 80, 96)
    now = n < np.where(women, 79, 82)
    change = paired_change(now, then, women)
    assert change.fair > 0
    assert change.levelled_down
    assert change.acc_women == pytest.approx(-0.01)


def _fair(women: float, men: float) -> float:
    return (women + men) / 2 - 2 * abs(women - men)
