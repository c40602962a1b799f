"""The front and the hypervolume against pymoo and optuna."""

import numpy as np
import optuna
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pymoo.indicators.hv import HV
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

from orchestrator.judging.frontier import hypervolume, pareto_mask

# Few values give ties in one objective or both; the floats give points in general position.
coordinate = st.one_of(st.sampled_from([0.0, 0.25, 0.5, 0.5 + 1e-9, 0.75, 1.0]), st.floats(0, 1))
points = st.lists(st.tuples(coordinate, coordinate), max_size=40).flatmap(
    lambda some: (
        st.lists(st.sampled_from(some), max_size=5).map(lambda twice: some + twice)
        if some
        else st.just(some)
    )
)


def columns(some):
    return np.array([p[0] for p in some]), np.array([p[1] for p in some])


@settings(deadline=None)
@given(points)
def test_front_agrees_with_pymoo(some):
    accuracy, gap = columns(some)
    mask = pareto_mask(accuracy, gap)
    assert mask.dtype == bool
    if not some:
        assert mask.shape == (0,)
        return
    minimised = np.column_stack([-accuracy, gap])
    front = NonDominatedSorting().do(minimised, only_non_dominated_front=True)
    assert np.flatnonzero(mask).tolist() == sorted(front)


@settings(deadline=None, max_examples=30)
@given(points)
def test_front_agrees_with_optuna(some):
    study = optuna.create_study(directions=["maximize", "minimize"])
    study.add_trials([optuna.create_trial(values=values) for values in some])
    best = sorted(trial.number for trial in study.best_trials)
    assert np.flatnonzero(pareto_mask(*columns(some))).tolist() == best


@settings(deadline=None)
@given(points, st.sampled_from([(0.5, 0.5), (0.0, 1.0), (0.8, 0.1)]))
@example([(0.9, 0.1), (0.9, 0.1), (0.9, 0.05), (0.95, 0.05), (0.4, 0.0), (0.99, 0.6)], (0.5, 0.5))
def test_hypervolume_agrees_with_pymoo(some, reference):
    accuracy, gap = columns(some)
    expected = 0.0
    if some:
        minimised = np.column_stack([-accuracy, gap])
        expected = HV(ref_point=np.array([-reference[0], reference[1]]))(minimised)
    assert hypervolume(accuracy, gap, reference) == pytest.approx(expected, abs=1e-12)


@given(points, st.tuples(coordinate, coordinate))
def test_another_point_never_shrinks_the_hypervolume(some, other):
    before = hypervolume(*columns(some))
    assert hypervolume(*columns([*some, other])) >= before - 1e-15


def test_hypervolume_by_hand():
    assert hypervolume([0.9], [0.1]) == pytest.approx(0.4 * 0.4)
    assert hypervolume([0.9, 0.7], [0.1, 0.0]) == pytest.approx(0.4 * 0.4 + 0.2 * 0.1)
    assert hypervolume([1.0], [0.0]) == 0.25
    assert hypervolume([0.5, 0.9], [0.0, 0.5]) == 0.0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("function", [pareto_mask, hypervolume])
def test_values_that_are_not_finite_are_refused(function, bad):
    with pytest.raises(ValueError, match="NaN or infinite"):
        function([0.5, bad], [0.1, 0.2])
    with pytest.raises(ValueError, match="NaN or infinite"):
        function([0.5, 0.6], [0.1, bad])


def test_lengths_that_differ_are_refused():
    with pytest.raises(ValueError, match="of one length"):
        pareto_mask([0.5, 0.6], [0.1])
