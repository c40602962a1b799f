from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from orchestrator.config.settings import BalanceConfig
from orchestrator.data.balance import POLICIES, draw_rows, expected_counts, sample_weights
from orchestrator.data.splits import assign_ranks, count_strata

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


configs = st.builds(
    BalanceConfig,
    policy=st.sampled_from(sorted(POLICIES)),
    over=st.sampled_from(["gender", "gender_class"]),
    redraw=st.booleans(),
)


def groups_of(config: BalanceConfig, rows: Rows) -> list[NDArray[np.bool_]]:
    """Who is in each group of a policy that has anybody."""
    gender, label, _ = rows
    if config.over == "gender":
        masks = [gender == code for code in (-1, 1)]
    else:
        masks = [(gender == g) & (label == c) for g, c in STRATA]
    return [mask for mask in masks if mask.any()]


@given(config=configs, rows=rows_strategy, epoch=st.integers(0, 50))
def test_a_draw_gives_exactly_what_was_stated(
    config: BalanceConfig, rows: Rows, epoch: int
) -> None:
    gender, label, rank = rows
    stated = expected_counts(config, count_strata(gender, label))
    drawn = draw_rows(config, gender, label, rank, epoch=epoch)
    assert count_strata(gender[drawn], label[drawn]) == stated
    assert drawn.dtype == np.int64
    assert np.all(np.diff(drawn) >= 0)
    # Nobody comes twice before all of a stratum have come once.
    times = np.bincount(drawn, minlength=len(rank))
    for g, c in STRATA:
        inside = times[(gender == g) & (label == c)]
        assert len(inside) == 0 or np.ptp(inside) <= 1


@pytest.mark.parametrize("over", ["gender", "gender_class"])
@pytest.mark.parametrize(("policy", "size"), [("undersample", min), ("oversample", max)])
@given(rows=rows_strategy, epoch=st.integers(0, 9))
def test_resampling_equals_the_groups_and_keeps_their_classes(
    policy: str, size: Callable[..., int], over: str, rows: Rows, epoch: int
) -> None:
    config = BalanceConfig(policy=policy, over=over)
    _, label, _ = rows
    groups = groups_of(config, rows)
    drawn = draw_rows(config, *rows, epoch=epoch)
    wanted = size((int(group.sum()) for group in groups), default=0)
    assert len(drawn) == wanted * len(groups)
    for group in groups:
        members = drawn[group[drawn]]
        assert len(members) == wanted
        share = label[group].mean()
        assert abs(label[members].sum() - share * wanted) < 1


@given(config=configs, rows=rows_strategy, first=st.integers(0, 9), epochs=st.integers(1, 12))
def test_fresh_draws_come_round_to_everybody_equally_often(
    config: BalanceConfig, rows: Rows, first: int, epochs: int
) -> None:
    config = config.model_copy(update={"redraw": True})
    gender, label, rank = rows
    drawn = [draw_rows(config, *rows, epoch=first + k) for k in range(epochs)]
    times = np.bincount(np.concatenate(drawn), minlength=len(rank))
    stated = expected_counts(config, count_strata(gender, label))
    for g, c in STRATA:
        inside = times[(gender == g) & (label == c)]
        if len(inside):
            assert np.ptp(inside) <= 1
            assert inside.sum() == epochs * stated[g, c]
            if epochs * stated[g, c] >= len(inside):
                assert inside.min() >= 1


@given(config=configs, rows=rows_strategy, epoch=st.integers(1, 9))
def test_without_redraw_every_epoch_is_the_first_and_the_lowest_ranks(
    config: BalanceConfig, rows: Rows, epoch: int
) -> None:
    config = config.model_copy(update={"redraw": False})
    gender, label, rank = rows
    drawn = draw_rows(config, *rows, epoch=epoch)
    assert np.array_equal(drawn, draw_rows(config, *rows))
    times = np.bincount(drawn, minlength=len(rank))
    for g, c in STRATA:
        inside = (gender == g) & (label == c)
        by_rank = times[inside][np.argsort(rank[inside])]
        assert np.all(np.diff(by_rank) <= 0)


def test_undersampling_the_published_counts() -> None:
    stated = expected_counts(BalanceConfig(policy="undersample"), PUBLISHED)
    assert stated[-1, 0] + stated[-1, 1] == 79_422
    assert {s: stated[s] for s in ((1, 0), (1, 1))} == {(1, 0): 70_449, (1, 1): 8_973}
    assert stated[-1, 1] == round(28_168 / 113_154 * 79_422)
    least = expected_counts(BalanceConfig(policy="undersample", over="gender_class"), PUBLISHED)
    assert set(least.values()) == {8_973}
    most = expected_counts(BalanceConfig(policy="oversample", over="gender_class"), PUBLISHED)
    assert set(most.values()) == {84_986}


@given(rows=rows_strategy)
def test_no_policy_draws_everyone_with_weight_one(rows: Rows) -> None:
    gender, label, rank = rows
    config = BalanceConfig()
    assert list(draw_rows(config, gender, label, rank)) == list(range(len(rank)))
    weights = sample_weights(config, gender, label)
    assert weights.dtype == np.float32
    assert np.all(weights == 1)


@given(rows=rows_strategy)
def test_the_weights_of_the_genders_are_taken_as_given(rows: Rows) -> None:
    gender, label, _ = rows
    config = BalanceConfig(policy="undersample", weight_women=1.0, weight_men=0.1)
    weights = sample_weights(config, gender, label)
    assert np.array_equal(weights, np.where(gender == -1, 1, 0.1).astype(np.float32))


@pytest.mark.parametrize("over", ["gender", "gender_class"])
@given(rows=rows_strategy, tau=st.floats(0, 2))
def test_policy_weights_is_a_power_of_the_count_with_mean_one(
    over: str, rows: Rows, tau: float
) -> None:
    gender, label, _ = rows
    config = BalanceConfig(policy="weights", over=over, tau=tau)
    weights = sample_weights(config, gender, label)
    assert len(weights) == 0 or weights.mean(dtype=np.float64) == pytest.approx(1, rel=1e-6)
    groups = groups_of(config, rows)
    for a in groups:
        assert np.ptp(weights[a]) == 0
        for b in groups:
            ratio = (a.sum() / b.sum()) ** -tau
            assert weights[a][0] / weights[b][0] == pytest.approx(ratio, rel=1e-5)


def test_tau_one_gives_every_stratum_the_same_say() -> None:
    gender, label, _ = rows_of((60, 20, 50, 5), 0)
    config = BalanceConfig(policy="weights", over="gender_class", tau=1.0)
    weights = sample_weights(config, gender, label)
    says = [weights[(gender == g) & (label == c)].sum() for g, c in STRATA]
    assert says == pytest.approx([135 / 4] * 4, rel=1e-5)


def test_the_policys_and_the_genders_weights_multiply() -> None:
    gender, label, _ = rows_of((6, 2, 5, 1), 0)
    plain = sample_weights(BalanceConfig(policy="weights"), gender, label)
    both = sample_weights(BalanceConfig(policy="weights", weight_men=0.5), gender, label)
    assert both == pytest.approx(plain * np.where(gender == 1, 0.5, 1))
