"""The published network's stages on a GPU, where torch's own kernels leave most of it idle.

Of a step of a thousand images, half goes to torch's max-pooling of maps with channels last, a tenth
to a pass for each convolution's bias, and a fifth to convolving three channels, for which cuDNN has
no kernel that uses the tensor cores well (docs/performance.md has the figures). Here the bias,
max-pooling of 2×2 and ReLU are one kernel forward and one backward, written in Triton, which torch
brings along; and the first convolution is one matrix product over patches.
"""

import warnings
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import conv2d
from typing_extensions import override

from orchestrator.base.files import one_line

TILE = 2048
"""Values of the output that one program makes."""
ALIGNED = 32
"""Length of a patch's 27 values with zeros behind them, of which tensor cores take eights."""


def bias_pool_relu(inputs: Tensor, bias: Tensor | None) -> Tensor:
    """Add a bias, take the largest of each 2×2, and what is positive of it.

    Equal to ``relu(max_pool2d(inputs + bias, 2))``, but that the sum is rounded once, at the end.

    Parameters
    ----------
    inputs
        Shape (n, C, H, W), channels last in memory; `fits` tells whether it can be computed.
    bias
        Shape (C,), or None.

    Returns
    -------
    Shape (n, C, H // 2, W // 2), channels last in memory.
    """
    made: Tensor = _BiasPoolReLU.apply(inputs, bias)
    return made


def fits(channels: int, device: torch.device) -> bool:
    """Tell whether `bias_pool_relu` can be had for maps of so many channels."""
    return channels.bit_count() == 1 and channels <= TILE and _works(device)


@cache
def _works(device: torch.device) -> bool:
    """Tell whether Triton is there, and can compile: it needs a C compiler and Python's headers."""
    try:
        bias_pool_relu(torch.zeros((1, 1, 2, 2), device=device), None)
    except Exception as error:  # whatever its parts stumble over
        warnings.warn(
            f"Triton cannot compile here, so the CNN trains at half its speed: {one_line(error)}",
            stacklevel=2,
        )
        return False
    return True


def convolve_pixels(images: Tensor, weight: Tensor) -> Tensor:
    """Convolve images of three channels with 3×3, without padding.

    Parameters
    ----------
    images
        Shape (n, 3, H, W), channels last in memory, without gradients.
    weight
        Shape (C, 3, 3, 3).

    Returns
    -------
    Shape (n, C, H - 2, W - 2), channels last in memory, in autocast's dtype where that is on.
    """
    pixels = images.permute(0, 2, 3, 1)
    if images.requires_grad or not pixels.is_contiguous():
        return conv2d(images, weight)
    dtype = weight.dtype
    if torch.is_autocast_enabled(images.device.type):
        dtype = torch.get_autocast_dtype(images.device.type)
    rows, height, width, _ = pixels.shape
    down = 3 * width  # from a pixel to the one below it
    windows = pixels.to(dtype).as_strided(
        (rows, height - 2, width - 2, 3, 9), (height * down, down, 3, down, 1)
    )
    patches = pixels.new_zeros((rows, height - 2, width - 2, ALIGNED), dtype=dtype)
    patches[..., :27].view(*windows.shape).copy_(windows)
    taps = torch.nn.functional.pad(weight.permute(0, 2, 3, 1).flatten(1), (0, ALIGNED - 27))
    return (patches @ taps.to(dtype).T).permute(0, 3, 1, 2)


class _BiasPoolReLU(torch.autograd.Function):
    @staticmethod
    @override
    def forward(ctx: Any, inputs: Tensor, bias: Tensor | None) -> Tensor:
        from models import triton_kernels

        ctx.shape, ctx.biased = inputs.shape, bias is not None
        made, ctx.chosen = triton_kernels.forward(inputs, bias, TILE, any(ctx.needs_input_grad))
        return made

    @staticmethod
    @override
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        from models import triton_kernels

        gradient = gradient.contiguous(memory_format=torch.channels_last)
        of_inputs, of_bias = triton_kernels.backward(gradient, ctx.chosen, ctx.shape, TILE)
        return of_inputs, of_bias if ctx.biased else None
