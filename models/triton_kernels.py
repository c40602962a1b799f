"""Kernels in Triton behind `models.cuda_kernels`, which says what they compute.

Maps lie in memory as n, height, width, channels. A program makes the outputs of some windows, all
channels of each: loads and stores run along the channels. Which of a window's four values was the
largest is a number from 0 to 3, and 4 where ReLU gave 0.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _forward(
    inputs, bias, outputs, chosen, windows, height, width,
    CHANNELS: tl.constexpr, ROWS: tl.constexpr, BIASED: tl.constexpr, KEEP: tl.constexpr,
):  # fmt: skip
    window = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    channel = tl.arange(0, CHANNELS)[None, :]
    across, down = width // 2, height // 2
    image, left = window // (across * down), window % (across * down)
    y, x = left // across, left % across
    first = (((image * height + 2 * y) * width + 2 * x) * CHANNELS)[:, None] + channel
    there = (window < windows)[:, None]
    best = tl.load(inputs + first, mask=there, other=0.0).to(tl.float32)
    which = tl.zeros((ROWS, CHANNELS), tl.int32)
    for corner in tl.static_range(1, 4):
        offset = ((corner // 2) * width + corner % 2) * CHANNELS
        value = tl.load(inputs + first + offset, mask=there, other=0.0).to(tl.float32)
        larger = (value > best) | (value != value)  # what is no number must not be lost
        best = tl.where(larger, value, best)
        which = tl.where(larger, corner, which)
    if BIASED:
        best += tl.load(bias + channel).to(tl.float32)
    off = best <= 0
    at = window[:, None] * CHANNELS + channel
    tl.store(outputs + at, tl.where(off, 0.0, best), mask=there)
    if KEEP:
        tl.store(chosen + at, tl.where(off, 4, which).to(tl.uint8), mask=there)


@triton.jit
def _backward(
    gradient, chosen, of_inputs, sums, windows, height, width,
    CHANNELS: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    # Windows here reach over the last row and column of an odd map, which no output has seen.
    window = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    channel = tl.arange(0, CHANNELS)[None, :]
    across, down = (width + 1) // 2, (height + 1) // 2
    image, left = window // (across * down), window % (across * down)
    y, x = left // across, left % across
    seen = ((window < windows) & (y < height // 2) & (x < width // 2))[:, None]
    at = (((image * (height // 2) + y) * (width // 2) + x) * CHANNELS)[:, None] + channel
    value = tl.load(gradient + at, mask=seen, other=0.0).to(tl.float32)
    which = tl.load(chosen + at, mask=seen, other=4).to(tl.int32)
    value = tl.where(which < 4, value, 0.0)
    first = (((image * height + 2 * y) * width + 2 * x) * CHANNELS)[:, None] + channel
    for corner in tl.static_range(4):
        row, column = 2 * y + corner // 2, 2 * x + corner % 2
        inside = ((window < windows) & (row < height) & (column < width))[:, None]
        offset = ((corner // 2) * width + corner % 2) * CHANNELS
        tl.store(of_inputs + first + offset, tl.where(which == corner, value, 0.0), mask=inside)
    tl.store(sums + tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS), tl.sum(value, 0))


def forward(
    inputs: Tensor, bias: Tensor | None, tile: int, keep: bool
) -> tuple[Tensor, Tensor | None]:
    """Return the outputs, and which of its four values each is, uint8, if that is to be kept."""
    images, channels, height, width = inputs.shape
    inputs = inputs.contiguous(memory_format=torch.channels_last)
    outputs = _empty((images, channels, height // 2, width // 2), inputs, inputs.dtype)
    chosen = _empty(outputs.shape, inputs, torch.uint8) if keep else None
    windows, rows = images * (height // 2) * (width // 2), tile // channels
    if windows:
        _forward[(triton.cdiv(windows, rows),)](
            inputs, bias, outputs, chosen, windows, height, width,
            CHANNELS=channels, ROWS=rows, BIASED=bias is not None, KEEP=keep,
        )  # fmt: skip
    return outputs, chosen


def backward(
    gradient: Tensor, chosen: Tensor, shape: torch.Size, tile: int
) -> tuple[Tensor, Tensor]:
    """Return the gradients of the inputs and, float32, of the bias."""
    images, channels, height, width = shape
    of_inputs = _empty(shape, gradient, gradient.dtype)
    windows, rows = images * ((height + 1) // 2) * ((width + 1) // 2), tile // channels
    # Added up program by program, not by atomic additions, whose order changes the sum.
    sums = gradient.new_zeros((triton.cdiv(windows, rows), channels), dtype=torch.float32)
    if windows:
        _backward[(len(sums),)](
            gradient, chosen, of_inputs, sums, windows, height, width, CHANNELS=channels, ROWS=rows
        )
    return of_inputs, sums.sum(0)


def _empty(shape: Any, like: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.empty(
        tuple(shape), dtype=dtype, device=like.device, memory_format=torch.channels_last
    )
