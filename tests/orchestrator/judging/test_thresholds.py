"""Thresholds against brute force, and probabilities against the cuts that they stand for."""

from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from orchestrator.judging.fairness import group_metrics, predict_labels
from orchestrator.judging.thresholds import FIXED, Thresholds, _Cuts, best_pair, best_shared

LAMBDAS = st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0, 7.3])


QUARTERS = st.integers(-12, 12).map(lambda z: z / 4)


@st.composite
def faces(draw, logits=QUARTERS, size=24):
    """Logits, labels and genders of a few rows, with both genders among them."""
    n = draw(st.integers(2, size))
    logit = np.array(draw(st.lists(logits, min_size=n, max_size=n)))
    label = draw(arrays(np.int8, n, elements=st.integers(0, 1)))
    gender = draw(arrays(np.int8, n, elements=st.sampled_from([-1, 1])))
    gender[:2] = [-1, 1]
    return logit, label, gender


def fair(thresholds, rows, fair_lambda):
    logit, label, gender = rows
    return group_metrics(label, thresholds.labels(logit, gender), gender, fair_lambda).fair


def every_cut(logit):
    """A probability between any two neighbouring logits, and beyond them."""
    values = np.unique(logit)
    middles = [(low + high) / 2 for low, high in pairwise(values)]
    return [1 / (1 + np.exp(-z)) for z in (values[0] - 1, *middles, values[-1] + 1)]


@settings(max_examples=150, deadline=None)
@given(faces(), LAMBDAS)
def test_no_shared_threshold_is_better(rows, fair_lambda):
    found = best_shared(*rows, fair_lambda)
    assert found.women == found.men
    best = max(fair(Thresholds(t, t), rows, fair_lambda) for t in every_cut(rows[0]))
    assert fair(found, rows, fair_lambda) == pytest.approx(best, abs=1e-12)


@settings(max_examples=80, deadline=None)
@given(faces(size=14), LAMBDAS)
def test_no_pair_is_better(rows, fair_lambda):
    logit, _, gender = rows
    found = best_pair(*rows, fair_lambda)
    pairs = product(every_cut(logit[gender == -1]), every_cut(logit[gender == 1]))
    best = max(fair(Thresholds(*pair), rows, fair_lambda) for pair in pairs)
    assert fair(found, rows, fair_lambda) == pytest.approx(best, abs=1e-12)


FLAT = (  # with a weight of 1/2, all accuracies of men above women's are equals
    np.array([0.25, 0, 0, 0.5, 0, -0.25, 0.25, 0.25]),
    np.array([1, 1, 0, 1, 0, 0, 0, 0], np.int8),
    np.array([-1, 1, 1, 1, 1, 1, -1, 1], np.int8),
)


@settings(max_examples=150, deadline=None)
@example(FLAT, 0.5)
@given(faces(), LAMBDAS)
def test_of_equals_none_is_nearer_to_a_half(rows, fair_lambda):
    found = best_shared(*rows, fair_lambda)
    reached = fair(found, rows, fair_lambda) - 1e-12
    bounded = every_cut(rows[0])[1:-1]  # the middle of an unbounded interval is no place near
    nearer = [t for t in bounded if abs(t - 0.5) < abs(found.women - 0.5) - 1e-12]
    assert all(fair(Thresholds(t, t), rows, fair_lambda) < reached for t in nearer)
    for one in (found, best_pair(*rows, fair_lambda)):
        if fair(FIXED, rows, fair_lambda) >= fair(one, rows, fair_lambda) - 1e-12:
            assert one == FIXED


@settings(max_examples=300, deadline=None)
@given(faces(logits=st.floats(-1000, 1000, width=32) | st.floats(20, 40, width=32)))
def test_a_threshold_labels_as_the_cut_was_judged(rows):
    """Also where a probability is 1 to the last digit, as it is past a logit of 37."""
    logit, label, _ = rows
    cuts = _Cuts.between(logit)
    judged = cuts.accuracy(logit, label, np.ones(label.size, dtype=bool))
    labelled = [np.mean(predict_labels(logit, t) == label) for t in cuts.threshold]
    assert judged.tolist() == labelled
    assert cuts.threshold[0] in (0, 0.5)
    assert cuts.threshold[-1] in (0.5, 1)
    assert (np.diff(cuts.threshold) > 0).all()


def test_the_threshold_lies_in_the_middle_between_two_faces():
    logit = np.array([-1.0, 1.0, 3.0, -1.0, 1.0, 3.0])
    label, gender = np.array([0, 0, 1] * 2), np.repeat([-1, 1], 3)
    found = best_shared(logit, label, gender)
    assert found.women == pytest.approx(1 / (1 + np.exp(-2.0)))
    assert fair(found, (logit, label, gender), 2.0) == 1


def test_each_gender_gets_its_own():
    logit = np.array([-3.0, -1.0, 1.0, 3.0, -3.0, -1.0, 1.0, 3.0])
    label = np.array([0, 0, 0, 1, 0, 1, 1, 1])
    gender = np.repeat([-1, 1], 4)
    found = best_pair(logit, label, gender)
    assert found == pytest.approx((1 / (1 + np.exp(-2.0)), 1 / (1 + np.exp(2.0))))
    assert found.labels(logit, gender).tolist() == label.tolist()


def test_infinite_logits_are_no_obstacle():
    logit = np.array([-np.inf, 2.0, np.inf, -np.inf, 2.0, np.inf], dtype=np.float32)
    label, gender = np.array([0, 0, 1] * 2), np.repeat([-1, 1], 3)
    for find in (best_shared, best_pair):
        assert find(logit, label, gender).labels(logit, gender).tolist() == [0, 0, 1] * 2


def test_equal_logits_leave_only_one_label_for_all():
    logit, gender = np.full(4, 0.7), np.array([-1, -1, 1, 1])
    assert best_shared(logit, np.array([1, 1, 1, 1]), gender) == FIXED
    assert best_shared(logit, np.array([0, 0, 0, 0]), gender) == Thresholds(1.0, 1.0)
