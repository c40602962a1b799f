"""Maps hold what is known of them: exact for a linear network, complete for any."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import models
from orchestrator.config.layers import resolve
from orchestrator.training.attribution import (
    GRID,
    SHARES,
    attributions,
    cell_scores,
    curves,
)


class Linear(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, size, size))

    def forward(self, images):
        return (images * self.weight).sum(dim=(1, 2, 3))


@pytest.fixture(scope="module")
def cnn():
    torch.manual_seed(0)
    settings_ = ["model.depth=2", "model.width=4", "model.hidden=8"]
    return models.build(resolve(settings=settings_).model, 24).eval()


def test_of_a_linear_network_the_maps_are_its_weights_times_the_difference():
    torch.manual_seed(0)
    network, images, reference = Linear(12), torch.rand(3, 3, 12, 12), torch.rand(3, 12, 12)
    found = attributions(network, images, reference)
    expected = ((images - reference) * network.weight).sum(dim=1).detach()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_map_adds_up_to_the_change_of_the_logit(cnn):
    torch.manual_seed(1)
    images, reference = torch.rand(5, 3, 24, 24), torch.full((3, 24, 24), 0.5)
    found = attributions(cnn, images, reference).sum(axis=(1, 2))
    with torch.inference_mode():
        change = (cnn(images) - cnn(reference[None])).numpy()
    np.testing.assert_allclose(found, change, rtol=0.05, atol=0.02)


@settings(max_examples=30)
@given(st.integers(GRID, 40), st.integers(0, 2**32 - 1))
def test_cells_add_up_to_the_map(size, seed):
    maps = np.random.default_rng(seed).standard_normal((2, size, size))
    scores = cell_scores(maps)
    assert scores.shape == (2, GRID**2)
    np.testing.assert_allclose(scores.sum(axis=1), maps.sum(axis=(1, 2)), atol=1e-9)


def test_taking_away_ends_at_the_reference_and_putting_in_at_the_image(cnn):
    torch.manual_seed(2)
    images, reference = torch.rand(4, 3, 24, 24), torch.rand(3, 24, 24)
    order = np.argsort(np.random.default_rng(0).random((4, GRID**2)), axis=1)
    taken = curves(cnn, images, reference, order)
    put = curves(cnn, images, reference, order, insert=True)
    with torch.inference_mode():
        whole, none = cnn(images).numpy(), cnn(reference[None]).numpy()
    assert taken.shape == put.shape == (4, len(SHARES))
    for at_image, at_reference in ((taken[:, 0], taken[:, -1]), (put[:, -1], put[:, 0])):
        np.testing.assert_allclose(at_image, whole, atol=1e-5)
        np.testing.assert_allclose(at_reference, np.repeat(none, 4), atol=1e-5)


def test_cells_go_in_the_order_that_is_said():
    network = Linear(GRID)  # a cell is a pixel
    with torch.no_grad():
        network.weight[:] = torch.arange(GRID**2.0).reshape(GRID, GRID)
    images, reference = torch.ones(1, 3, GRID, GRID), torch.zeros(3, GRID, GRID)
    order = np.argsort(-cell_scores(attributions(network, images, reference)), axis=1)
    assert order[0, :3].tolist() == [99, 98, 97]
    (taken,) = curves(network, images, reference, order)
    left = [3 * sum(range(GRID**2 - round(share * GRID**2))) for share in SHARES]
    np.testing.assert_allclose(taken, left, rtol=1e-5)
