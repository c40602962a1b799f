"""Intervals against scipy's, published examples, and simulated faces."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from orchestrator.judging.fairness import fair_of
from orchestrator.judging.intervals import (
    combined,
    of_change,
    of_fair,
    of_fair_change,
    of_gap,
    wilson,
)

TRIES = 2000
COVERS = pytest.approx(0.95, abs=0.02)  # four standard errors of 2,000 tries


@given(st.integers(1, 5000), st.floats(0, 1))
def test_shares_have_the_score_interval_of_scipy(rows, share):
    correct = round(share * rows)
    theirs = binomtest(correct, rows).proportion_ci(0.95, "wilson")
    ours = wilson(correct, rows)
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs), abs=1e-9)


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    [
        # Newcombe 1998, table II, method 10.
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((10, 10), (0, 10), 0.6075, 1.0000),
    ],
)
def test_differences_have_the_intervals_that_newcombe_published(first, second, low, high):
    ours = combined(wilson(*first), wilson(*second), 1.0, -1.0)
    assert (float(ours.low), float(ours.high)) == pytest.approx((low, high), abs=1e-4)


counts = st.tuples(st.integers(0, 300), st.integers(1, 300)).map(lambda c: (min(c), max(c)))


@given(counts, counts, st.floats(0, 5))
def test_they_hold_the_estimate_and_fold_at_0(women, men, fair_lambda):
    w, m = wilson(*women), wilson(*men)
    gap, fair = of_gap(w, m), of_fair(w, m, fair_lambda)
    assert gap.value == pytest.approx(abs(w.value - m.value))
    assert fair.value == pytest.approx(fair_of(float(w.value), float(m.value), fair_lambda))
    assert 0 <= gap.low <= gap.value + 1e-12
    assert gap.value <= gap.high + 1e-12
    assert fair.low <= fair.value + 1e-12
    assert fair.value <= fair.high + 1e-12
    assert min(0, 0.5 - fair_lambda) <= fair.low
    assert fair.high <= 1
    signed = combined(w, m, 1.0, -1.0)
    assert (gap.low == 0) == (signed.low <= 0 <= signed.high)


def drawn(gap, rows=(1157, 844), seed=0):
    """Accuracies of simulated women and men, on the faces of a validation split."""
    rng = np.random.default_rng(seed)
    truth = 0.9 + gap / 2, 0.9 - gap / 2
    limits = [wilson(rng.binomial(n, p, TRIES), n) for n, p in zip(rows, truth, strict=True)]
    return limits, truth


def share_of(limits, truth):
    return np.mean((limits.low <= truth) & (truth <= limits.high))


@pytest.mark.parametrize("gap", [0, 0.05])
def test_they_cover_the_truth_where_it_is_0_and_where_it_is_not(gap):
    (women, men), truth = drawn(gap)
    assert share_of(women, truth[0]) == COVERS
    assert share_of(of_gap(women, men), gap) == COVERS
    for fair_lambda in (1.0, 2.0):
        assert share_of(of_fair(women, men, fair_lambda), fair_of(*truth, fair_lambda)) == COVERS


@pytest.mark.parametrize("gap", [0.005, 0.02])
def test_a_gap_of_the_size_of_its_error_is_covered_more_often(gap):
    (women, men), truth = drawn(gap)
    assert share_of(of_gap(women, men), gap) > 0.93
    assert share_of(of_fair(women, men, 2.0), fair_of(*truth, 2.0)) > 0.93


def paired(rows, now, then, changed=0.06, seed=0):
    """Counts of rows that two trainings have right: both, one, the other, neither."""
    alone, other = (changed + now - then) / 2, (changed - now + then) / 2
    shares = now - alone, alone, other, 1 - now - other
    return np.random.default_rng(seed).multinomial(rows, shares, size=TRIES)


@pytest.mark.parametrize(("gap", "before"), [(0, 0.02), (0.05, 0), (0.02, 0.05), (0.05, 0.05)])
def test_changes_are_covered_also_to_and_from_a_gap_of_0(gap, before):
    women = paired(1157, 0.905 + gap / 2, 0.9 + before / 2, seed=1)
    men = paired(844, 0.905 - gap / 2, 0.9 - before / 2, seed=2)
    by_women, by_men = of_change(women, men)
    assert share_of(by_women, 0.005 + (gap - before) / 2) == COVERS
    assert share_of(by_men, 0.005 - (gap - before) / 2) == COVERS
    truth = 0.005 - 2 * (gap - before)
    assert share_of(of_fair_change(women, men, 2.0), truth) > 0.93
