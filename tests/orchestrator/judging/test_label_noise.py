"""Likely mislabelled faces: a case worked out by hand, and cleanlab's answer, gender by gender."""

import numpy as np
import pytest

from orchestrator.judging.label_noise import mislabelled

WOMAN, MAN = -1, 1


def logit(probability):
    p = np.asarray(probability)
    return np.log(p) - np.log1p(-p)


def test_a_case_worked_out_by_hand():
    # Women labelled 0 believe their label .9, .8, .7, .2: .65 on average; those labelled 1 .9, .6
    # and .3: .6. The last of class 0 has .8 for class 1, over .6, and .2 under .65: suspect. The
    # last of class 1 has .7 for class 0, over .65, and .3 under .6: suspect, less believed than
    # none but the other. The one with .6 has .4 for class 0: under .65.
    women = [0.1, 0.2, 0.3, 0.8, 0.9, 0.6, 0.3]
    label = [0, 0, 0, 0, 1, 1, 1]
    assert mislabelled(label, logit(women), [WOMAN] * 7).tolist() == [3, 6]
    # Of men alone the averages are .45 for class 0 and .7 for class 1, so that .6 for class 1 is
    # no doubt, though of women it was one.
    men = [0.5, 0.6, 0.7]
    both = mislabelled([*label, 0, 0, 1], logit(women + men), [WOMAN] * 7 + [MAN] * 3)
    assert both.tolist() == [3, 6]


def test_a_gender_of_one_class_has_no_other_to_be_of():
    assert mislabelled([0, 0, 0, 1], [9.0, -9, -9, 9], [WOMAN, WOMAN, WOMAN, MAN]).tolist() == []


@pytest.mark.parametrize("seed", range(3))
def test_it_is_what_cleanlab_finds_of_each_gender(seed):
    found = pytest.importorskip("cleanlab.filter").find_label_issues
    rng = np.random.default_rng(seed)
    n = 1500
    gender = rng.choice([WOMAN, MAN], n)
    true = rng.random(n) < np.where(gender == WOMAN, 0.25, 0.1)
    label = (true ^ (rng.random(n) < 0.05)).astype(int)
    score = np.where(true, 1.5, -2.0) + rng.normal(0, 1.5, n)
    probability = 1 / (1 + np.exp(-score))
    ours = mislabelled(label, score, gender)
    for who in (WOMAN, MAN):
        rows = np.flatnonzero(gender == who)
        theirs = found(
            label[rows],
            np.stack([1 - probability[rows], probability[rows]], axis=1),
            return_indices_ranked_by="self_confidence",
            filter_by="confident_learning",
            min_examples_per_class=0,
            n_jobs=1,
        )
        assert len(theirs) > 20
        assert rows[theirs].tolist() == [row for row in ours if gender[row] == who]
