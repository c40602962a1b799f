"""Fitted heads against scikit-learn, and that no face is judged by a head that was fitted to it."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from orchestrator.base.errors import InputError
from orchestrator.config.layers import resolve, with_overrides, with_settings
from orchestrator.data.folds import cross_validate, fold_of_rows
from orchestrator.data.splits import assign_ranks
from orchestrator.data.store.arrays import Arrays
from orchestrator.judging.fairness import group_metrics
from orchestrator.training.fitted_head import fit_head
from orchestrator.training.head_fit import Rows, fit_heads, shares

CONFIG = resolve("head", None, ["model.name=resnet18", "model.weights=random"])
FIRM = with_overrides(CONFIG, {"fit.l2": 1.0})
"""Whose solutions in float32 are nearest to each other."""
WIDTH = 64 + 64 + 128 + 256 + 512  # of resnet18's stages


def faces(n=300, d=5, seed=0):
    rng = np.random.default_rng(seed)
    gender = rng.choice([-1, 1], n, p=[0.6, 0.4]).astype(np.int8)
    label = (rng.random(n) < np.where(gender == -1, 0.4, 0.2)).astype(np.int8)
    features = rng.normal(size=(n, d)) + 0.7 * label[:, None] + 0.3 * gender[:, None]
    features[:, 1] *= 10
    return features, gender, label


def split(n, seed, people):
    features, gender, label = faces(n, WIDTH, seed)
    rank = assign_ranks(np.zeros(n, np.int8), gender, label, np.arange(n))
    return Arrays(
        images=np.zeros((n, 64, 64, 3), np.uint8),
        label=label,
        gender=gender,
        rank=rank,
        filename=pa.array([f"{seed}-{row}" for row in range(n)], pa.large_string()),
        identity=np.arange(n, dtype=np.int32) // 2 + 1000 * seed if people else np.full(n, -1),
        block=np.zeros(n, np.int32),
        features=features.astype(np.float16)[:, None],
    )


def data(people=False):
    return {name: split(n, seed, people) for seed, (name, n) in enumerate(SIZES.items())}


SIZES = {"train": 120, "val": 60, "test": 40}


@pytest.mark.parametrize(
    ("dtype", "tau", "apart"),
    [(np.float64, 0.0, 2e-5), (np.float64, 1.0, 2e-5), (np.float32, 0.5, 2e-3)],
)
def test_each_is_the_logistic_regression_of_its_own_rows(dtype, tau, apart):
    features, gender, label = faces()
    features = features.astype(dtype)
    rows = np.random.default_rng(1).random((300, 3)) < 0.7
    policy = {"balance.policy": "weights", "balance.over": "gender_class", "balance.tau": tau}
    config = with_overrides(CONFIG, {**policy, "fit.l2": 0.01})
    heads = fit_heads(Rows(torch.from_numpy(features), rows), gender, label, config)
    logits = torch.from_numpy(features) @ heads.weight + heads.bias
    torch.testing.assert_close(logits, heads.logits, atol=1e-5, rtol=1e-5)
    for own, logit in zip(rows.T, heads.logits.T, strict=True):
        stratum = (2 * (gender == 1) + label)[own]
        share = np.bincount(stratum)[stratum] ** -tau
        scaler = StandardScaler().fit(features[own])
        theirs = LogisticRegression(C=1 / 0.01, tol=1e-12, max_iter=10_000)
        theirs.fit(scaler.transform(features[own]), label[own], share / share.sum())
        expected = theirs.decision_function(scaler.transform(features))
        np.testing.assert_allclose(logit, expected, atol=apart)


@given(seed=st.integers(0, 99), loss=st.sampled_from(["loss.gamma=2", "method.name=gap_penalty"]))
@settings(max_examples=10, deadline=None)
def test_other_rows_and_other_heads_change_no_head(seed, loss):
    features, gender, label = faces(seed=seed)
    rng = np.random.default_rng(seed)
    rows = rng.random((300, 2)) < 0.6
    config = with_settings(CONFIG, [loss])
    both = fit_heads(Rows(torch.from_numpy(features), rows), gender, label, config)
    own = rows[:, 0]
    of_own = Rows(torch.from_numpy(features[own]), rows[own][:, :1])
    alone = fit_heads(of_own, gender[own], label[own], config)
    torch.testing.assert_close(alone.weight[:, 0], both.weight[:, 0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(alone.bias[0], both.bias[0], atol=1e-5, rtol=1e-4)


@given(
    policy=st.sampled_from(["none", "undersample", "oversample", "weights"]),
    over=st.sampled_from(["gender", "gender_class"]),
    seed=st.integers(0, 99),
)
@settings(deadline=None)
def test_shares_are_those_of_an_epoch(policy, over, seed):
    _, gender, label = faces(seed=seed)
    rows = np.random.default_rng(seed).random((300, 2)) < 0.7
    config = with_overrides(CONFIG, {"balance.policy": policy, "balance.over": over})
    share = shares(config, gender, label, rows)
    assert (share[~rows] == 0).all()
    np.testing.assert_allclose(share.sum(0), 1, rtol=1e-6)
    if policy in ("undersample", "oversample") and over == "gender":
        np.testing.assert_allclose(share[gender == 1].sum(0), 0.5, atol=0.01)


def test_a_penalty_narrows_the_gap():
    features, gender, label = faces()
    features[gender == 1] *= 0.1
    rows = np.ones((300, 1), bool)

    def gap(penalty):
        method = {"method.name": "gap_penalty", "method.penalty": penalty}
        config = with_overrides(CONFIG, method)
        heads = fit_heads(Rows(torch.from_numpy(features), rows), gender, label, config)
        logit = heads.logits[:, 0].numpy()
        truth = 1 / (1 + np.exp(-(2 * label - 1) * logit))
        return abs(truth[gender == -1].mean() - truth[gender == 1].mean())

    assert gap(1.0) < 0.2 * gap(0.0)


@pytest.mark.parametrize("people", [False, True])
def test_a_face_is_judged_by_a_head_that_was_not_fitted_to_it(people):
    splits, correct = data(people), []
    fitted = fit_head(FIRM, splits)
    for fold in range(CONFIG.fit.folds):
        train, val = cross_validate(
            splits["train"], splits["val"], CONFIG.fit.folds, fold, people=people
        )
        one = with_overrides(FIRM, {"data.folds": CONFIG.fit.folds, "data.fold": fold})
        alone = fit_head(one, {**splits, "train": train, "val": val})
        correct.append((val.label, alone.logits["val"] > 0, val.gender))
        found = group_metrics(val.label, (alone.logits["val"] > 0).astype(np.int8), val.gender, 2)
        assert alone.metrics.acc_women == found.acc_women
    pooled = group_metrics(
        *(np.concatenate(part).astype(np.int8) for part in zip(*correct, strict=True)), 2
    )
    assert fitted.metrics.fair == pytest.approx(pooled.fair)
    assert fitted.metrics.acc_women == pytest.approx(pooled.acc_women)
    fold = fold_of_rows(splits["train"], splits["val"], 5, people=people)
    if people:
        identity = np.concatenate([splits[name].identity for name in ("train", "val")])
        assert all(len(set(fold[identity == person])) == 1 for person in set(identity))


def test_the_trials_head_is_that_of_train():
    splits = data()
    other = {**splits, "val": splits["test"]}
    fitted, again = fit_head(FIRM, splits), fit_head(FIRM, other)
    np.testing.assert_allclose(fitted.logits["test"], again.logits["test"], rtol=0.01, atol=0.01)


def test_workers_do_not_share_a_fit():
    with pytest.raises(InputError, match="one process; give workers=1"):
        with_settings(CONFIG, ["workers=2"])


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["model.name=cnn", "model.head=flatten"], "model.name=cnn"),
        (["model.unfreeze=all"], "model.unfreeze=all"),
        (["model.hidden=8"], "model.hidden=0"),
        (["method.name=group_dro"], "group_dro"),
    ],
)
def test_what_is_no_linear_head_of_a_frozen_network_is_named(words, named):
    config = with_settings(CONFIG, words)
    with pytest.raises(InputError, match=named):
        fit_head(config, data())
