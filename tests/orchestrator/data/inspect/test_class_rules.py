import itertools
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from sklearn.metrics import matthews_corrcoef

from orchestrator.data.inspect import class_rules as module
from orchestrator.data.inspect.class_rules import Cooccurrence, Rule, count_together, rank_rules

pytestmark = pytest.mark.filterwarnings("ignore:A single label was found")  # scikit-learn's

NAMES = ["d", "b", "a", "c"]
FORMS: dict[str, Callable[[Any, Any], Any]] = {
    "AND": np.logical_and,
    "OR": np.logical_or,
    "XOR": np.logical_xor,
}
BRACKETS = str.maketrans("()", "  ")
Rows = tuple[pd.DataFrame, NDArray[np.int8], NDArray[np.int8]]


@st.composite
def tables(draw: st.DrawFn) -> Rows:
    n, k = draw(st.integers(1, 30)), draw(st.integers(1, len(NAMES)))
    holds = draw(arrays(np.bool_, (n, k)))
    label = draw(arrays(np.int8, n, elements=st.integers(0, 1)))
    gender = draw(arrays(np.int8, n, elements=st.sampled_from([-1, 1])))
    return pd.DataFrame(holds, columns=NAMES[:k]), label, gender


def evaluate(name: str, table: pd.DataFrame) -> NDArray[np.bool_]:
    """Evaluate a rule row by row, from its name."""
    if name.startswith("NOT "):
        return ~evaluate(name.removeprefix("NOT ").strip("()"), table)
    if " " not in name:
        return table[name].to_numpy()
    first, form, second = name.split()
    return FORMS[form](table[first].to_numpy(), table[second].to_numpy())


def phi(rule: NDArray[np.bool_], label: NDArray[np.int8]) -> float:
    return matthews_corrcoef(label, rule.astype(np.int8)) if len(label) else 0.0


def all_names(table: pd.DataFrame) -> list[str]:
    pairs = itertools.combinations(sorted(table.columns), 2)
    return [*table.columns, *(f"{a} {form} {b}" for a, b in pairs for form in FORMS)]


def count(rows: Rows) -> Cooccurrence:
    return count_together(*rows)


def of_random(n: int, k: int, seed: int = 0) -> Rows:
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(rng.random((n, k)) < 0.3, columns=[f"a{i:02}" for i in range(k)])
    label = rng.integers(0, 2, n).astype(np.int8)
    return table, label, rng.choice(np.array([-1, 1], np.int8), n)


@given(tables())
def test_counts_are_those_of_a_loop_over_pairs(rows: Rows) -> None:
    table, label, gender = rows
    counted = count(rows)
    assert counted.names == sorted(table.columns)
    for i, woman_or_man in enumerate((-1, 1)):
        for class_ in (0, 1):
            stratum = table[(gender == woman_or_man) & (label == class_)]
            assert counted.total[i, class_] == len(stratum)
            for (p, first), (q, second) in itertools.product(enumerate(counted.names), repeat=2):
                together = int((stratum[first] & stratum[second]).sum())
                assert counted.together[i, class_, p, q] == together


def test_blocks_of_rows_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = of_random(100, 5)
    whole = count(rows)
    monkeypatch.setattr(module, "BLOCK", 7)
    assert np.array_equal(count(rows).together, whole.together)


@pytest.mark.parametrize("genders", [("women", "men"), ("women",), ("men",)])
@given(rows=tables())
def test_rules_are_as_good_as_they_say(genders: tuple[str, ...], rows: Rows) -> None:
    table, label, gender = rows
    ours = np.isin(gender, [{"women": -1, "men": 1}[name] for name in genders])
    singles = {name: abs(phi(table[name].to_numpy()[ours], label[ours])) for name in table.columns}
    for rule in rank_rules(count(rows), genders):
        holds = evaluate(rule.name, table)
        assert rule.phi == pytest.approx(phi(holds[ours], label[ours]))
        assert rule.agreement == pytest.approx(np.mean(holds[ours] == label[ours]))
        for value, of_gender in ((-1, rule.phi_women), (1, rule.phi_men)):
            theirs = gender == value
            assert of_gender == pytest.approx(phi(holds[theirs], label[theirs]))
        parts = [part for part in rule.name.translate(BRACKETS).split() if part in singles]
        if len(parts) == 2:
            assert rule.phi > max(singles[part] for part in parts)


@given(tables())
def test_the_order_is_by_phi_and_nothing_better_is_left_out(rows: Rows) -> None:
    table, label, _ = rows
    ranked = rank_rules(count(rows))
    assert [rule.phi for rule in ranked] == sorted((rule.phi for rule in ranked), reverse=True)
    best = max(abs(phi(evaluate(name, table), label)) for name in all_names(table))
    assert (ranked[0].phi if ranked else 0) == pytest.approx(best)
    names = [rule.name for rule in ranked]
    assert {name.removeprefix("NOT ") for name in names} >= {
        name for name in table.columns if phi(table[name].to_numpy(), label)
    }
    assert [rule.name for rule in rank_rules(count(rows), most=2)] == names[:2]


def rank(label: list[int], **attributes: list[int]) -> list[Rule]:
    gender = np.where(np.arange(len(label)) % 2, 1, -1).astype(np.int8)
    table = pd.DataFrame(attributes).astype(bool)
    return rank_rules(count_together(table, np.array(label, np.int8), gender))


def test_a_pair_with_a_part_that_adds_nothing_is_not_listed() -> None:
    ranked = rank([1, 1, 1, 0, 0, 0], wide=[1, 1, 0, 0, 0, 0], within=[1, 0, 0, 0, 0, 0])
    assert [rule.name for rule in ranked] == ["wide", "within"]


def test_of_equal_rules_the_simpler_comes_first_then_the_name() -> None:
    ranked = rank(
        [1, 1, 0, 0, 0, 0],
        d=[0, 1, 0, 0, 0, 0],
        c=[0, 1, 0, 0, 0, 0],
        b=[1, 0, 0, 0, 0, 0],
        a=[1, 0, 0, 0, 0, 0],
        # As good as the pairs, by itself and turned round.
        whole=[1, 1, 0, 0, 0, 0],
        inverse=[0, 0, 1, 1, 1, 1],
    )
    pairs = ["a OR c", "a OR d", "b OR c", "b OR d"]
    assert [rule.name for rule in ranked] == ["NOT inverse", "whole", *pairs, *"abcd"]
    assert [rule.phi for rule in ranked[:6]] == [1] * 6


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ([0, 0, 0, 1], "a AND b"),
        ([1, 1, 1, 0], "NOT (a AND b)"),
        ([0, 1, 1, 1], "a OR b"),
        ([1, 0, 0, 0], "NOT (a OR b)"),
        ([0, 1, 1, 0], "a XOR b"),
        ([1, 0, 0, 1], "NOT (a XOR b)"),
        ([0, 0, 1, 1], "a"),
        ([1, 0, 1, 0], "NOT b"),
    ],
)
def test_every_form_is_found(label: list[int], name: str) -> None:
    best = rank(label * 3, a=[0, 0, 1, 1] * 3, b=[0, 1, 0, 1] * 3)[0]
    assert (best.name, best.phi, best.agreement) == (name, 1, 1)


def test_a_rule_for_one_gender_only() -> None:
    table, label, gender = of_random(400, 4)
    label = np.where(gender == -1, table["a00"] | table["a01"], table["a02"]).astype(np.int8)
    counted = count((table, label, gender))
    women, men = (rank_rules(counted, (name,), most=1)[0] for name in ("women", "men"))
    assert (women.name, women.phi, women.phi_women) == ("a00 OR a01", 1, 1)
    assert (men.name, men.phi, men.phi_men) == ("a02", 1, 1)
    assert abs(women.phi_men) < 0.2


def test_a_class_or_attributes_that_never_change_explain_nothing() -> None:
    assert rank([1, 1, 1], a=[0, 1, 1], b=[1, 0, 1]) == []
    assert rank([0, 1, 1], a=[1, 1, 1], b=[0, 0, 0]) == []


def test_memory_stays_far_below_rows_times_pairs() -> None:
    rows = of_random(100_000, 40)
    tracemalloc.start()
    try:
        rank_rules(count(rows), most=10)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100_000 * 40 * 40 / 4
