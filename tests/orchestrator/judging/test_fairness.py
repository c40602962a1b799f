"""Group metrics against fairlearn's, and the bootstrap against one that resamples rows."""

from decimal import Decimal, localcontext
from itertools import product

import numpy as np
import pytest
from fairlearn.metrics import MetricFrame
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import accuracy_score

from orchestrator.base.errors import InputError
from orchestrator.judging.fairness import (
    count_correct,
    group_metrics,
    metrics_from_counts,
    predict_labels,
)


@st.composite
def faces(draw):
    """Labels, predictions and genders of up to 200 rows, with both genders among them."""
    n = draw(st.integers(2, 200))
    label, predicted = (draw(arrays(np.int8, n, elements=st.integers(0, 1))) for _ in range(2))
    gender = draw(arrays(np.int8, n, elements=st.sampled_from([-1, 1])))
    gender[draw(st.permutations(range(n)))[:2]] = [-1, 1]
    return label, predicted, gender


def random_faces(seed, n_women, acc_women, n_men, acc_men):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, n_women + n_men)
    gender = np.repeat([-1, 1], [n_women, n_men])
    correct = rng.random(len(label)) < np.where(gender == -1, acc_women, acc_men)
    return label, np.where(correct, label, 1 - label), gender


@settings(max_examples=60, deadline=None)
@given(faces(), st.floats(0, 5))
def test_agrees_with_fairlearn(rows, fair_lambda):
    label, predicted, gender = rows
    frame = MetricFrame(
        metrics=accuracy_score, y_true=label, y_pred=predicted, sensitive_features=gender
    )
    ours = group_metrics(label, predicted, gender, fair_lambda)
    assert ours.accuracy == pytest.approx(frame.overall, abs=1e-12)
    assert ours.acc_women == pytest.approx(frame.by_group[-1], abs=1e-12)
    assert ours.acc_men == pytest.approx(frame.by_group[1], abs=1e-12)
    assert ours.gap == pytest.approx(frame.difference(), abs=1e-12)
    assert ours.worst_gender == pytest.approx(frame.group_min(), abs=1e-12)
    groups = MetricFrame(
        metrics=accuracy_score,
        y_true=label,
        y_pred=predicted,
        sensitive_features=np.column_stack([gender, label]),
    )
    assert ours.worst_group == pytest.approx(groups.by_group.min(), abs=1e-12)
    mean = frame.by_group.mean()
    assert ours.mean_accuracy == pytest.approx(mean, abs=1e-12)
    assert ours.fair == pytest.approx(mean - fair_lambda * frame.difference(), abs=1e-12)
    assert ours.fair_lambda1 == pytest.approx(mean - frame.difference(), abs=1e-12)
    assert (ours.n_women, ours.n_men) == (np.sum(gender == -1), np.sum(gender == 1))


@given(faces(), st.integers(1, 4))
def test_workers_counts_add_up(rows, workers):
    label, predicted, gender = rows
    counts = np.zeros((2, 2, 2), dtype=int)
    for worker in range(workers):
        mine = slice(worker, None, workers)
        counts += count_correct(label[mine], predicted[mine], gender[mine])
    for at, (who, class_) in enumerate(product((-1, 1), (0, 1))):
        rows = (gender == who) & (label == class_)
        assert counts[1].flat[at] == sum(rows)
        assert counts[0].flat[at] == sum(rows & (label == predicted))
    assert metrics_from_counts(*counts) == group_metrics(label, predicted, gender)


@pytest.mark.parametrize(
    ("acc_women", "acc_men", "fair"), [(0.9194, 0.9682, 0.8461), (0.9074, 0.9203, 0.8880)]
)
def test_published_figures(acc_women, acc_men, fair):
    correct = [[round(acc_women * 10**6), 0], [0, round(acc_men * 10**6)]]
    published = metrics_from_counts(correct, [[10**6, 0], [0, 10**6]])
    assert published.worst_gender == published.worst_group == acc_women
    assert published.fair == pytest.approx(fair, abs=2e-4)  # they were printed to four places


def test_absent_gender_is_one_line():
    for gender, who in ((1, "women"), (-1, "men")):
        with pytest.raises(InputError, match=f"^no {who} among 3 rows: .*give data with both$"):
            group_metrics([0, 1, 1], [0, 1, 0], [gender] * 3)


@pytest.mark.parametrize(
    ("label", "predicted", "gender", "message"),
    [
        ([-1, 1], [0, 1], [-1, 1], "label is a flat array of 0 and 1"),
        ([0, 1], [0, 0.5], [-1, 1], "predicted is a flat array of 0 and 1"),
        ([0, 1], [0, 1], [0, 1], "gender is a flat array of -1 and 1"),
        ([[0, 1]], [0, 1], [-1, 1], "label is a flat array"),
        ([0, 1, 1], [0, 1, 1], [-1, 1], "3, 3 and 2 rows"),
    ],
)
def test_other_values_are_refused(label, predicted, gender, message):
    with pytest.raises(ValueError, match=message):
        group_metrics(label, predicted, gender)


@given(
    arrays(np.float32, st.integers(0, 20), elements=st.floats(-60, 60, width=32)),
    st.floats(0, 1, allow_subnormal=False),
)
def test_labels_against_exact_arithmetic(logits, threshold):
    with localcontext() as context:
        context.prec = 60
        exact = [1 / (1 + (-Decimal(float(z))).exp()) for z in logits]
        cut = Decimal(threshold)
        # Within rounding of the threshold either answer is right.
        assume(all(abs(p - cut) > Decimal("1e-12") * min(p, 1 - p) for p in exact))
        expected = [int(p > cut) for p in exact]
    labels = predict_labels(logits, threshold)
    assert labels.dtype == np.int8
    assert labels.tolist() == expected


def test_labels_at_the_edges():
    logits = [-np.inf, -1e30, -0.0, 0.0, 1e-300, 1e30, np.inf]
    assert predict_labels(logits).tolist() == [0, 0, 0, 0, 1, 1, 1]  # 0.5 does not exceed 0.5
    assert predict_labels(logits, 0.0).tolist() == [0, 1, 1, 1, 1, 1, 1]
    assert predict_labels(logits, 1.0).tolist() == [0] * 7


def test_a_threshold_is_not_rounded_to_float32_logits():
    threshold = 1 / (1 + np.exp(-(1 - 1e-8)))  # the logit just below 1, which float32 rounds to 1
    assert predict_labels(np.array([1.0], dtype=np.float32), threshold).tolist() == [1]


def test_labels_refuse_nan_and_odd_thresholds():
    with pytest.raises(ValueError, match="1 of 2 logits are NaN"):
        predict_labels([0.0, np.nan])
    for threshold in (-0.1, 1.1, np.nan):
        with pytest.raises(ValueError, match="a probability in"):
            predict_labels([0.0], threshold)
