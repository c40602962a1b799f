"""Reliability: bins and shares are scikit-learn's, counts add up, intervals hold their share."""

import numpy as np
import pytest

from orchestrator.judging.intervals import wilson
from orchestrator.judging.reliability import reliability


def test_bins_are_those_of_scikit_learn():
    calibration_curve = pytest.importorskip("sklearn.calibration").calibration_curve
    rng = np.random.default_rng(0)
    logit = rng.normal(-1, 2.5, 900)
    label = (rng.random(900) < 1 / (1 + np.exp(-0.6 * logit))).astype(int)
    found = reliability(label, logit)
    share, probability = calibration_curve(label, 1 / (1 + np.exp(-logit)), n_bins=10)
    np.testing.assert_allclose([one.share for one in found], share, atol=1e-12)
    np.testing.assert_allclose([one.probability for one in found], probability, atol=1e-12)
    assert sum(one.faces for one in found) == 900
    for one in found:
        expected = wilson(round(one.share * one.faces), one.faces)
        assert one.share_ci95 == pytest.approx((float(expected.low), float(expected.high)))


def test_a_bin_without_a_face_is_left_out():
    found = reliability([0, 1, 1], [-9.0, 9.0, 9.0])
    assert [(one.faces, one.share) for one in found] == [(1, 0.0), (2, 1.0)]
    assert reliability([], []) == []
