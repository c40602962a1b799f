"""The last layer against scikit-learn's logistic regression, and what is held out for it."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from preparing import synthetic
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from toys import SIDE, toy_data

import models
from models.config import ModelConfig
from orchestrator.config.layers import resolve
from orchestrator.config.settings import LastLayerConfig
from orchestrator.data.balance import describe_draw, held_out
from orchestrator.data.loading import load
from orchestrator.data.store.store import Store
from orchestrator.distributed.sharing import share_splits
from orchestrator.training.batches import Batches
from orchestrator.training.images import place_on_device
from orchestrator.training.inference import predict_logits
from orchestrator.training.last_layer import features_of, fit_last_layer


def faces(n=300, d=5, seed=0):
    rng = np.random.default_rng(seed)
    gender = rng.choice([-1, 1], n, p=[0.7, 0.3]).astype(np.int8)
    label = (rng.random(n) < np.where(gender == -1, 0.3, 0.1)).astype(np.int8)
    features = rng.normal(size=(n, d)) + label[:, None] * 0.7 + gender[:, None] * 0.3
    return (features * [1, 10, 0.1, 1, 1]).astype(np.float32), label, gender


@pytest.mark.parametrize("l2", [1e-3, 0.1])
def test_it_is_a_balanced_logistic_regression(l2):
    features, label, gender = faces()
    weight, bias, loss = fit_last_layer(
        torch.from_numpy(features), label, gender, LastLayerConfig(l2=l2)
    )
    stratum = 2 * (gender == 1) + label
    share = 1 / np.bincount(stratum)[stratum] / 4
    scaler = StandardScaler().fit(features.astype(np.float64))
    theirs = LogisticRegression(C=1 / l2, tol=1e-10, max_iter=10_000)
    theirs.fit(scaler.transform(features.astype(np.float64)), label, sample_weight=share)
    expected = theirs.decision_function(scaler.transform(features.astype(np.float64)))
    np.testing.assert_allclose(features @ weight.numpy() + bias, expected, atol=2e-5)
    assert loss == pytest.approx(
        float((share * np.logaddexp(0, -(2 * label - 1) * expected)).sum()), rel=1e-4
    )


def test_a_dead_unit_and_an_absent_stratum_do_no_harm():
    features, label, gender = faces()
    features[:, 3] = 0
    kept = (gender == -1) | (label == 0)  # no man of class 1
    weight, bias, loss = fit_last_layer(
        torch.from_numpy(features[kept]), label[kept], gender[kept], LastLayerConfig()
    )
    assert torch.isfinite(weight).all()
    assert weight[3] == 0
    assert np.isfinite([bias, loss]).all()


@given(
    share=st.floats(0, 0.99),
    strata=st.lists(st.integers(0, 3), min_size=1, max_size=80),
    seed=st.integers(0, 9),
)
def test_the_highest_ranks_of_each_stratum_are_held_out(share, strata, seed):
    stratum = np.array(strata)
    gender = np.where(stratum < 2, -1, 1).astype(np.int8)
    label = (stratum % 2).astype(np.int8)
    rng, rank = np.random.default_rng(seed), np.zeros(len(stratum), np.int32)
    for number in range(4):
        rank[stratum == number] = rng.permutation((stratum == number).sum())
    apart = held_out(LastLayerConfig(held_out=share), gender, label, rank)
    for number in range(4):
        of = stratum == number
        assert apart[of].sum() == np.ceil(share * of.sum())
        assert sorted(rank[of & ~apart]) == list(range((of & ~apart).sum()))


def test_features_are_what_the_last_layer_sees():
    torch.manual_seed(0)
    model = models.build(ModelConfig(), SIDE)
    data = toy_data()["val"]
    images = place_on_device(data.images, torch.device("cpu"))
    last, rows = models.last_layer(model), np.arange(len(data))[::-1].copy()
    features = features_of(model, last, images, rows, autocast=False)
    logit = (features @ last.weight.T + last.bias)[:, 0].detach().numpy()
    np.testing.assert_allclose(logit, predict_logits(model, images, len(data))[::-1], atol=1e-5)


@pytest.mark.usefixtures("ray_cluster")
def test_what_is_held_out_is_not_announced_as_drawn(tmp_path):
    store = Store.open(synthetic(tmp_path / "data"))
    config = resolve("last-layer")
    train = load(store, config.data, "resident")["train"]
    drawn = Batches(config, train, torch.device("cpu")).drawn
    assert drawn < len(train)
    said = describe_draw(config.balance, share_splits(store, config).counts)
    assert said.startswith(f"balance none: {drawn:,} faces an epoch; women ")
