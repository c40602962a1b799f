"""The kernels for a GPU against torch's own layers, by Triton's interpreter, which needs no GPU."""

import os

import pytest
import torch
from torch.nn.functional import conv2d, max_pool2d, relu

from models.cnn import CNN
from models.config import ModelConfig
from models.cuda_kernels import bias_pool_relu, convolve_pixels, fits

pytest.importorskip("triton", reason="needs Triton, which torch brings along for CUDA")
pytestmark = pytest.mark.skipif(
    os.environ.get("TRITON_INTERPRET") != "1", reason="a GPU compiles them: test_on_gpu.py"
)


def maps(*shape):
    torch.manual_seed(0)
    drawn = torch.randn(shape).round(decimals=1)  # equal values compete in a window
    return drawn.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("shape", [(2, 8, 6, 6), (3, 32, 7, 5), (1, 16, 3, 9), (2, 1, 2, 2)])
def test_bias_pooling_and_relu_are_torchs(shape, biased):
    ours, theirs = maps(*shape).requires_grad_(), maps(*shape).requires_grad_()
    our_bias, their_bias = (torch.linspace(-1, 1, shape[1]).requires_grad_() for _ in range(2))
    made = bias_pool_relu(ours, our_bias if biased else None)
    expected = relu(max_pool2d(theirs + biased * their_bias[:, None, None], 2))
    assert torch.equal(made, expected)
    assert made.is_contiguous(memory_format=torch.channels_last)
    gradient = torch.randn_like(expected)
    made.backward(gradient)
    expected.backward(gradient)
    assert torch.equal(ours.grad, theirs.grad)
    if biased:
        torch.testing.assert_close(our_bias.grad, their_bias.grad)


def test_half_precision_rounds_once():
    images = maps(2, 8, 6, 6).half()  # of bf16 Triton's interpreter cuts off what a GPU rounds
    bias = torch.full((8,), 1e-4)
    expected = relu(max_pool2d(images.float(), 2) + 1e-4).half()
    assert torch.equal(bias_pool_relu(images, bias), expected)


@pytest.mark.parametrize("corner", range(4))
def test_what_is_no_number_is_not_lost(corner):
    images = maps(1, 2, 2, 2)
    images[0, 0, corner // 2, corner % 2] = torch.nan
    made = bias_pool_relu(images, None)
    assert torch.isnan(made[0, 0, 0, 0])
    assert torch.isfinite(made[0, 1, 0, 0])


def test_the_first_convolution_is_torchs():
    images = torch.rand(2, 9, 11, 3).permute(0, 3, 1, 2)
    ours, theirs = (torch.linspace(-1, 1, 135).reshape(5, 3, 3, 3).requires_grad_() for _ in "ab")
    made, expected = convolve_pixels(images, ours), conv2d(images, theirs)
    torch.testing.assert_close(made, expected)
    made.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)
    assert torch.equal(convolve_pixels(images.contiguous(), ours), conv2d(images, ours))


class OnGPU(torch.Tensor):
    """Images that say that they are on a GPU."""

    is_cuda = True


@pytest.mark.parametrize(
    "config",
    [
        ModelConfig(width=4, hidden=8),
        ModelConfig(width=4, hidden=8, batch_norm=True, depth=2),
        ModelConfig(width=8, hidden=0, head="pooled"),
    ],
)
def test_the_network_is_the_same_on_a_gpu(config, monkeypatch):
    torch.manual_seed(0)
    network = CNN(24, config.model_copy(update={"dropout": 0.0})).to(
        memory_format=torch.channels_last
    )
    images = torch.rand(3, 24, 24, 3).permute(0, 3, 1, 2)
    expected = network(images)
    gradients = torch.autograd.grad(expected.sum(), list(network.parameters()))
    used = []
    monkeypatch.setattr("models.cnn.fits", lambda *of: used.append(of[0]) or fits(*of))
    monkeypatch.setattr("models.cnn.convolve_pixels", lambda *both: convolve_pixels(*plain(both)))
    made = network(images.as_subclass(OnGPU)).as_subclass(torch.Tensor)
    torch.testing.assert_close(made, expected)
    assert used == [config.width * 2**stage for stage in range(config.depth)]
    again = torch.autograd.grad(made.sum(), list(network.parameters()))
    for ours, theirs in zip(again, gradients, strict=True):
        torch.testing.assert_close(ours, theirs)


def plain(tensors):
    return [tensor.as_subclass(torch.Tensor) for tensor in tensors]
