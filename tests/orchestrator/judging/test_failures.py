"""Attributes with which a network fails: told from chance, and of few faces nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, fisher_exact
from scipy.stats.contingency import crosstab

from orchestrator.judging.failures import FEWEST, failures, surest_mistakes


def test_a_planted_failure_is_found_and_no_other():
    rng = np.random.default_rng(0)
    n = 4000
    attributes = {f"a{k:02}": rng.random(n) < rng.uniform(0.05, 0.9) for k in range(40)}
    women = rng.random(n) < 0.6
    hard = attributes["a07"] & ~women
    correct = rng.random(n) < np.where(hard, 0.7, 0.95)
    found = failures(attributes, correct, women)
    assert found.looked_at == 80
    assert [(one.attribute, one.gender) for one in found.found] == [("a07", "men")]
    (one,) = found.found
    assert (one.faces, one.accuracy) == (hard.sum(), correct[hard].mean())
    assert one.others == correct[~women & ~attributes["a07"]].mean()
    expected = binomtest(int(correct[hard].sum()), int(hard.sum())).proportion_ci(method="wilson")
    assert one.accuracy_ci95 == pytest.approx([expected.low, expected.high])
    table = crosstab(attributes["a07"][~women], correct[~women]).count
    assert one.q >= fisher_exact(table).pvalue


def test_chance_alone_is_rarely_called_a_failure():
    rng = np.random.default_rng(1)
    said = 0
    for _ in range(60):
        attributes = {f"a{k:02}": rng.random(1500) < 0.3 for k in range(30)}
        found = failures(attributes, rng.random(1500) < 0.9, rng.random(1500) < 0.5)
        said += bool(found.found)
    assert said <= 8  # 5% of 60 are 3; 9 or more have a chance of 1 in 500


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 120), st.floats(0, 1))
def test_a_cell_of_few_faces_is_not_looked_at(seed, n, share):
    rng = np.random.default_rng(seed)
    attributes = {"a": rng.random(n) < share, "all": np.ones(n, bool)}
    correct, women = rng.random(n) < 0.5, rng.random(n) < 0.5
    found = failures(attributes, correct, women)
    big = [
        min((attributes["a"] & of).sum(), (~attributes["a"] & of).sum()) >= FEWEST
        for of in (women, ~women)
    ]
    assert found.looked_at == sum(big)
    for one in found.found:
        assert one.faces >= FEWEST
        assert one.accuracy < one.others


def test_mistakes_are_told_from_what_is_right_the_surest_first():
    label = np.array([0, 1, 0, 1, 0, 1], np.int8)
    logit = np.array([0.5, -3.0, -9.0, 9.0, 3.5, 0.0], np.float32)
    assert surest_mistakes(label, logit).tolist() == [4, 1, 0, 5]  # at 0.5 itself it is labelled 0
