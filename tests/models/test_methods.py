"""Each method against its formula, and the same over any number of workers."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models import methods
from models.batch import Batch
from models.config import LossConfig, MethodConfig
from models.losses import focal
from models.methods import METHODS, STRATA
from orchestrator.base.errors import InputError
from orchestrator.config.layers import resolve

ROWS = 24


def rows(seed=0, n=ROWS):
    rng = np.random.default_rng(seed)
    logit = torch.tensor(rng.normal(size=n), dtype=torch.float64)
    label = torch.tensor(rng.integers(0, 2, n), dtype=torch.float64)
    gender = torch.tensor(rng.choice([-1, 1], n), dtype=torch.int8)
    weight = torch.tensor(rng.gamma(1.0, size=n))
    return logit, label, gender, weight


def part(method, of, size=ROWS):
    """A worker's part of the objective, and its gradient by logit."""
    logit, label, gender, weight = of
    logit = logit.clone().requires_grad_()
    per_sample = focal(logit, label, LossConfig(gamma=1.0))
    value = method(per_sample, logit, Batch(logit, label, label, gender, weight, size))
    return value.detach(), torch.autograd.grad(value, logit)[0]


def make(name, **options):
    return METHODS[name](MethodConfig(name=name, **options)).double()


def test_erm_is_the_weighted_mean_of_the_losses():
    logit, label, gender, weight = rows()
    value, _ = part(make("erm"), (logit, label, gender, weight))
    loss = focal(logit, label, LossConfig(gamma=1.0))
    assert value == pytest.approx(float((loss * weight).sum() / ROWS))


def test_group_dro_is_its_algorithm():
    method, q = make("group_dro", step=0.5), np.full(4, 0.25)
    for seed in range(5):
        logit, label, gender, weight = rows(seed)
        value, _ = part(method, (logit, label, gender, weight))
        loss = focal(logit, label, LossConfig(gamma=1.0)).numpy()
        groups = [((gender == g) & (label == y)).numpy() for g, y in STRATA]
        means = np.array([np.average(loss[one], weights=weight[one]) for one in groups])
        q = q * np.exp(0.5 * means)
        q /= q.sum()
        np.testing.assert_allclose(method.q, q)
        assert value == pytest.approx(q @ means)


def test_weights_by_group_do_nothing_to_group_dro():
    logit, label, gender, weight = rows()
    by_group = (1 + 3 * label) * torch.where(gender == 1, 0.2, 5.0)
    outcomes = []
    for weights in (weight, weight * by_group):
        method = make("group_dro", step=0.5)
        outcomes.append((*part(method, (logit, label, gender, weights)), method.q))
    for once, again in zip(*outcomes, strict=True):
        torch.testing.assert_close(once, again)


def test_group_dro_leaves_an_absent_group_its_share():
    method = make("group_dro", step=1.0)
    logit, label, gender, weight = rows()
    women = gender == -1
    part(method, (logit[women], label[women], gender[women], weight[women]))
    assert method.q[2] == method.q[3]
    assert method.q[:2].min() > method.q[3]
    assert method.q.sum() == pytest.approx(1)


def test_the_gap_penalty_pushes_the_running_gap_towards_none():
    logit, label, gender, weight = rows()
    women, men = gender == -1, gender == 1
    truth = torch.sigmoid((2 * label - 1) * logit)
    gap = float(truth[women].mean() - truth[men].mean())
    plain, slope = part(make("erm"), (logit, label, gender, weight))
    method = make("gap_penalty", penalty=3.0)
    value, with_penalty = part(method, (logit, label, gender, weight))
    assert method.gap == pytest.approx(0.1 * gap)
    assert value - plain == pytest.approx(3 * abs(gap))
    at = logit.clone().requires_grad_()
    soft = torch.sigmoid((2 * label - 1) * at)
    (soft[women].mean() - soft[men].mean()).abs().backward()
    torch.testing.assert_close(with_penalty - slope, 3 * at.grad)


def test_the_sign_of_the_gap_is_the_running_one_and_a_batch_of_one_gender_says_nothing():
    logit, label, gender, weight = rows()
    method = make("gap_penalty")
    truth = torch.sigmoid((2 * label - 1) * logit)
    gap = truth[gender == -1].mean() - truth[gender == 1].mean()
    method.gap.fill_(-torch.sign(gap))
    plain, _ = part(make("erm"), (logit, label, gender, weight))
    value, _ = part(method, (logit, label, gender, weight))
    assert value - plain == pytest.approx(-abs(float(gap)))
    before, women = method.gap.clone(), gender == -1
    of_women = (logit[women], label[women], gender[women], weight[women])
    assert part(method, of_women)[0] == part(make("erm"), of_women)[0]
    assert method.gap == before


@pytest.mark.parametrize("name", sorted(METHODS))
@given(workers=st.integers(1, 4), seed=st.integers(0, 100), n=st.integers(1, ROWS))
def test_the_parts_of_the_workers_add_up(name, workers, seed, n):
    of = rows(seed, n)
    alone = make(name)
    value, gradient = part(alone, of, n)
    shares = []
    for rank in range(workers):
        share = tuple(column[rank::workers] for column in of)
        if not len(share[0]):  # what stands in for a row
            share = (of[0][:1], of[1][:1], 0 * of[2][:1], 0 * of[3][:1])
        shares.append(share)
    # First each worker's sums are taken down, then all get the total: as an all-reduce would do.
    sums = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(methods, "_over_workers", lambda mine: sums.append(mine) or mine)
        for share in shares:
            part(make(name), share, n)
        patch.setattr(methods, "_over_workers", lambda _mine: sum(sums))
        parts = [part(make(name), share, n) for share in shares]
    torch.testing.assert_close(sum(value for value, _ in parts), value)
    for rank, (_, ours) in enumerate(parts):
        expected = gradient[rank::workers]
        torch.testing.assert_close(ours, expected if len(expected) else torch.zeros_like(ours))


def test_state_is_in_the_checkpoint():
    for name, key in (("group_dro", "q"), ("gap_penalty", "gap")):
        method = make(name)
        part(method, rows())
        again = make(name)
        again.load_state_dict(method.state_dict())
        assert torch.equal(getattr(again, key), getattr(method, key))
        assert part(again, rows(1))[0] == part(method, rows(1))[0]


def test_an_unknown_method_is_one_line():
    with pytest.raises(
        InputError, match=r"method.name='irm': input should be 'erm', 'group_dro' or "
    ):
        resolve(settings=["method.name=irm"])
