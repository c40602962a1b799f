import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from orchestrator.balance import (
    POLICIES,
    BalanceConfig,
    draw,
    expected_counts,
    sample_weights,
)
from orchestrator.splits import assign_ranks, count_strata

Rows = tuple[NDArray[np.int8], NDArray[np.int8], NDArray[np.int32]]
STRATA = ((-1, 0), (-1, 1), (1, 0), (1, 1))
PUBLISHED = dict(zip(STRATA, (84_986, 28_168, 70_449, 8_973), strict=True))


def rows_of(counts: tuple[int, ...], seed: int) -> Rows:
    """So many rows of each stratum, shuffled, with their ranks."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(sum(counts))
    gender = np.repeat([stratum[0] for stratum in STRATA], counts)[order].astype(np.int8)
    label = np.repeat([stratum[1] for stratum in STRATA], counts)[order].astype(np.int8)
    keys = rng.integers(0, 2**63, len(order)).astype(np.uint64)
    return gender, label, assign_ranks(np.zeros(len(order), np.int8), gender, label, keys)


rows_strategy = st.builds(rows_of, st.tuples(*[st.integers(0, 120)] * 4), st.integers(0, 1000))


@pytest.mark.parametrize("policy", POLICIES)
@given(rows=rows_strategy)
def test_a_draw_gives_exactly_what_was_stated(policy: str, rows: Rows) -> None:
    gender, label, rank = rows
    config = BalanceConfig(policy=policy)
    stated = expected_counts(config, count_strata(gender, label))
    drawn = draw(config, gender, label, rank)
    assert count_strata(gender[drawn], label[drawn]) == stated
    assert drawn.dtype == np.int64
    assert np.all(np.diff(drawn) > 0)  # ascending, nobody twice


@given(rows=rows_strategy)
def test_undersampling_equals_the_genders_and_keeps_their_classes(rows: Rows) -> None:
    gender, label, rank = rows
    counts = count_strata(gender, label)
    drawn = draw(BalanceConfig(policy="undersample"), gender, label, rank)
    women, men = (np.sum(gender == code) for code in (-1, 1))
    assert np.sum(gender[drawn] == -1) == np.sum(gender[drawn] == 1) == min(women, men)
    for code, total in ((-1, women), (1, men)):
        for value in (0, 1):
            wanted = counts[code, value] * min(women, men) / max(1, total)
            found = np.sum((gender[drawn] == code) & (label[drawn] == value))
            assert abs(found - wanted) < 1
    # Who is in is decided by rank: all of a stratum that rank below one drawn are drawn.
    for stratum in STRATA:
        inside = (gender == stratum[0]) & (label == stratum[1])
        ranks = np.sort(rank[np.intersect1d(drawn, np.flatnonzero(inside))])
        assert list(ranks) == list(range(len(ranks)))


def test_undersampling_the_published_counts() -> None:
    stated = expected_counts(BalanceConfig(policy="undersample"), PUBLISHED)
    assert stated[-1, 0] + stated[-1, 1] == 79_422
    assert {s: stated[s] for s in ((1, 0), (1, 1))} == {(1, 0): 70_449, (1, 1): 8_973}
    assert stated[-1, 1] == round(28_168 / 113_154 * 79_422)


@given(rows=rows_strategy)
def test_no_policy_draws_everyone_with_weight_one(rows: Rows) -> None:
    gender, label, rank = rows
    config = BalanceConfig()
    assert list(draw(config, gender, label, rank)) == list(range(len(rank)))
    weights = sample_weights(config, gender, label)
    assert weights.dtype == np.float32
    assert np.all(weights == 1)


@given(rows=rows_strategy)
def test_the_weights_of_the_genders_are_taken_as_given(rows: Rows) -> None:
    gender, label, _ = rows
    config = BalanceConfig(policy="undersample", weight_women=1.0, weight_men=0.1)
    weights = sample_weights(config, gender, label)
    assert np.array_equal(weights, np.where(gender == -1, 1, 0.1).astype(np.float32))


@given(rows=rows_strategy, tau=st.floats(0, 2))
def test_policy_weights_is_a_power_of_the_count_with_mean_one(rows: Rows, tau: float) -> None:
    gender, label, _ = rows
    weights = sample_weights(BalanceConfig(policy="weights", tau=tau), gender, label)
    assert len(weights) == 0 or weights.mean(dtype=np.float64) == pytest.approx(1, rel=1e-6)
    of_stratum = {s: weights[(gender == s[0]) & (label == s[1])] for s in STRATA}
    counts = count_strata(gender, label)
    present = [s for s in STRATA if counts[s]]
    for a in present:
        assert np.ptp(of_stratum[a]) == 0
        for b in present:
            ratio = (counts[a] / counts[b]) ** -tau
            assert of_stratum[a][0] / of_stratum[b][0] == pytest.approx(ratio, rel=1e-5)


def test_tau_one_gives_every_stratum_the_same_say() -> None:
    gender, label, _ = rows_of((60, 20, 50, 5), 0)
    weights = sample_weights(BalanceConfig(policy="weights", tau=1.0), gender, label)
    says = [weights[(gender == g) & (label == c)].sum() for g, c in STRATA]
    assert says == pytest.approx([135 / 4] * 4, rel=1e-5)


def test_the_policys_and_the_genders_weights_multiply() -> None:
    gender, label, _ = rows_of((6, 2, 5, 1), 0)
    plain = sample_weights(BalanceConfig(policy="weights"), gender, label)
    both = sample_weights(BalanceConfig(policy="weights", weight_men=0.5), gender, label)
    assert both == pytest.approx(plain * np.where(gender == 1, 0.5, 1))
