"""Shifts and drift: what chance makes is not told, what is large is."""

import numpy as np
import pytest
from scipy.stats import false_discovery_control, fisher_exact

from orchestrator.judging.drift import LARGE, moved
from orchestrator.judging.shift import differences, shares_of


def test_the_index_is_that_of_its_definition() -> None:
    before = np.repeat(np.arange(10), 10)
    now = np.repeat(np.arange(10), [30, 0, 10, 10, 10, 10, 10, 10, 5, 5])
    shares = np.array([30, 0.01, 10, 10, 10, 10, 10, 10, 5, 5]) / 100
    expected = np.sum((shares - 0.1) * np.log(shares / 0.1))
    assert moved(before, now).psi == pytest.approx(expected)


def test_chance_is_no_drift_however_many_images() -> None:
    rng = np.random.default_rng(0)
    found = [moved(rng.normal(size=2000), rng.normal(size=n)) for n in (100, 1000, 100_000)] * 30
    assert not any(one.drifted(4) for one in found)
    small = moved(rng.normal(size=100_000), rng.normal(0.05, size=100_000))
    assert small.p < 1e-4
    assert not small.drifted(4)  # beyond chance, and of no account
    large = moved(rng.normal(size=2000), rng.normal(0.5, size=500))
    assert large.psi > LARGE
    assert large.drifted(4)


def test_numbers_that_are_all_the_same() -> None:
    assert not moved(np.zeros(100), np.zeros(100)).drifted(1)
    assert moved(np.zeros(100), np.ones(100)).drifted(1)


def test_shares_are_counted_and_many_looks_corrected() -> None:
    rng = np.random.default_rng(1)
    label, gender = rng.integers(0, 2, 500), rng.choice([-1, 1], 500)
    attributes = {f"a{n}": rng.random(500) < 0.3 for n in range(60)}
    there = shares_of(label, gender, attributes)
    assert there["class 1 among men"] == (
        int(np.sum((label == 1) & (gender == 1))),
        int(np.sum(gender == 1)),
    )
    here = {
        name: has if n else rng.random(500) < 0.5
        for n, (name, has) in enumerate(attributes.items())
    }
    for name in list(here)[1:]:
        here[name] = rng.random(500) < 0.3
    found = differences(shares_of(label, gender, here), there)
    assert [one.name for one in found if one.differs] == ["a0"]
    assert found[0].name == "a0"
    ours = shares_of(label, gender, here)
    names = list(ours)
    tables = [[(k, n - k) for k, n in (ours[name], there[name])] for name in names]
    q = dict(zip(names, false_discovery_control([fisher_exact(t)[1] for t in tables]), strict=True))
    assert {one.name: one.q for one in found} == pytest.approx(q)
    assert found[0].difference_ci95[0] < found[0].here - found[0].there
