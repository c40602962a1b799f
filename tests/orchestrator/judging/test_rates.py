"""Rates by gender, held against fairlearn and scikit-learn."""

import numpy as np
import pytest
from fairlearn.metrics import (
    MetricFrame,
    equalized_odds_difference,
    false_positive_rate,
    selection_rate,
    true_positive_rate,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import roc_auc_score

from orchestrator.judging.rates import area_under_roc, calibration_error, in_words, rates


def faces(seed: int, n: int = 400):
    rng = np.random.default_rng(seed)
    gender = np.where(rng.random(n) < 0.6, -1, 1)
    label = (rng.random(n) < np.where(gender < 0, 0.4, 0.3)).astype(int)
    logit = np.round(rng.normal(2 * label - 1, 1.5), 2)  # some are equal
    return label, logit, gender, (logit > 0).astype(int)


@settings(max_examples=30)  # of which each compares with a slow table
@given(st.integers(0, 2**32 - 1))
def test_rates_agree_with_fairlearn_and_scikit_learn(seed):
    label, logit, gender, predicted = faces(seed)
    ours = rates(label, logit, gender, predicted)
    theirs = MetricFrame(
        metrics={
            "tpr": true_positive_rate,
            "fpr": false_positive_rate,
            "selection_rate": selection_rate,
            "base_rate": lambda truth, _: truth.mean(),
        },
        y_true=label,
        y_pred=predicted,
        sensitive_features=gender,
    ).by_group
    for who, value in (("women", -1), ("men", 1)):
        rows = gender == value
        for name in theirs.columns:
            assert ours[who][name] == pytest.approx(theirs.loc[value, name], abs=1e-12)
        auc = roc_auc_score(label[rows], logit[rows])
        assert ours[who]["auc"] == pytest.approx(auc, abs=1e-12)
        assert ours[who]["ece"] == pytest.approx(ece(label[rows], logit[rows]), abs=1e-12)
        assert ours[who]["n"] == rows.sum()
        for kind in (0, 1):
            both = rows & (label == kind)
            of_class = ours[who][f"class_{kind}"]
            assert of_class["selection_rate"] == ours[who]["tpr" if kind else "fpr"]
            assert of_class["n"] == both.sum()
            expected = ece(label[both], logit[both])
            assert of_class["ece"] == pytest.approx(expected, abs=1e-12)
        for name in ("tpr", "fpr", "selection_rate", "base_rate", "auc", "ece"):
            low, high = ours[who][f"{name}_ci95"]
            assert 0 <= low <= ours[who][name] + 1e-12
            assert ours[who][name] - 1e-12 <= high <= 1
    difference = equalized_odds_difference(label, predicted, sensitive_features=gender)
    assert ours["equalized_odds_difference"] == pytest.approx(difference, abs=1e-12)


def ece(label, logit):
    probability = np.exp(-np.logaddexp(0, -logit))
    true, mean = calibration_curve(label, probability, n_bins=10)
    place = np.searchsorted(np.linspace(0, 1, 11)[1:-1], probability)
    counts = np.bincount(place, minlength=10)
    return np.sum(np.abs(true - mean) * counts[counts > 0]) / label.size


def test_what_no_face_tells_is_null():
    ours = rates([0, 0, 1, 1], [-1.0, 1.0, 1.0, 2.0], [-1, -1, 1, 1], [0, 1, 1, 1])
    assert ours["women"]["tpr"] is ours["women"]["auc"] is ours["men"]["fpr"] is None
    assert ours["women"]["tpr_ci95"] is None
    assert ours["equalized_odds_difference"] is None
    assert ours["women"]["class_1"] == {
        "n": 0, "selection_rate": None, "selection_rate_ci95": None, "ece": None, "ece_ci95": None,
    }  # fmt: skip
    assert in_words(ours, 0.0) is None


def test_classes_that_are_apart_have_an_interval():
    area = area_under_roc([0] * 30 + [1] * 10, np.arange(40))
    assert (area.value, area.high) == pytest.approx((1, 1))
    assert 0.6 < area.low < 0.8


def test_the_areas_interval_holds_the_truth():
    rng, held, truth = np.random.default_rng(0), 0, 0.9213503964748574  # of normals 2 apart
    for _ in range(400):
        label = np.repeat([0, 1], (300, 60))
        area = area_under_roc(label, rng.normal(2 * label))
        held += bool(area.low <= truth <= area.high)
    assert 0.92 < held / 400 < 0.98


def test_the_calibration_errors_interval_holds_0_where_probabilities_are_right():
    rng, held = np.random.default_rng(0), 0
    for _ in range(200):
        logit = rng.normal(-1, 2, 2000)
        label = (rng.random(2000) < 1 / (1 + np.exp(-logit))).astype(int)
        held += bool(calibration_error(label, logit).low < 0.005)
    assert held / 200 > 0.9


def test_a_small_gap_that_hides_unequal_rates_is_said_in_words():
    gender = np.repeat([-1, 1], 1000)
    label = np.tile(np.arange(1000) < 200, 2).astype(int)
    found = np.where(gender < 0, 154, 76)
    predicted = (np.tile(np.arange(1000), 2) < found).astype(int)
    ours = rates(label, 4.0 * predicted - 2, gender, predicted)
    told = in_words(ours, 0.002)
    assert told == (
        "On test, with a gap of 0.002 between the accuracies, the network finds 77% of the women "
        "of class 1 and 38% of the men."
    )
