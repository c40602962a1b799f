"""Augmentation on the device, a whole batch at a time, from numbers drawn for the whole epoch."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from orchestrator.config.settings import AugmentConfig
from orchestrator.training.inference import to_input

NUMBERS = 11
"""Random numbers an image takes: flip, two of the shift, three of the colour, five of the erasing.
All are drawn whatever is turned on, so that turning one on leaves the others as they were."""
GREY_WEIGHTS = (0.2989, 0.587, 0.114)
"""Of red, green and blue: torchvision's, after ITU-R 601-2."""
ERASED_AREA, ERASED_ASPECT = (0.02, 0.33), (0.3, 1 / 0.3)
ERASED_VALUE = 0.5


def draw_numbers(rows: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw the random numbers of so many images, in [0, 1), shape (rows, `NUMBERS`)."""
    return rng.random((rows, NUMBERS), dtype=np.float32)


def augment(config: AugmentConfig, images: Tensor, numbers: Tensor) -> Tensor:
    """Turn a batch into what the network takes.

    Parameters
    ----------
    config
        What to do.
    images
        uint8, shape (m, H, W, 3); or features, float16, shape (m, V, D), which can only be
        mirrored, and only if V is 2.
    numbers
        What `draw_numbers` gave for them, shape (m, `NUMBERS`), on the same device.

    Returns
    -------
    float32, shape (m, 3, H, W), in [0, 1], channels last in memory; or features, shape (m, D).
    """
    flips = (
        numbers[:, 0] < 0.5 if config.flip else torch.zeros_like(numbers[:, 0], dtype=torch.bool)
    )
    if images.ndim == 3:
        if images.shape[1] == 1:
            return images[:, 0].float()
        return torch.where(flips[:, None], images[:, 1], images[:, 0]).float()
    if config.shift:
        images = _shifted(images, flips, numbers[:, 1:3], config.shift)
    elif config.flip:
        images = torch.where(flips[:, None, None, None], images.flip(2), images)
    inputs = to_input(images)
    if config.brightness or config.contrast or config.saturation:
        inputs = _coloured(config, inputs, numbers[:, 3:6])
    if config.erase:
        inputs = _erased(config.erase, inputs, numbers[:, 6:11])
    return inputs


def _shifted(images: Tensor, flips: Tensor, numbers: Tensor, most: int) -> Tensor:
    """Mirror and move images in one gather."""
    _, height, width, _ = images.shape
    by = (numbers * (2 * most + 1)).long().clamp(max=2 * most) - most  # each of 2·most+1 alike
    y = torch.arange(height, device=images.device)[None] + by[:, :1]
    x = torch.arange(width, device=images.device)[None] + by[:, 1:]
    y, x = y.clamp(0, height - 1), x.clamp(0, width - 1)
    x = torch.where(flips[:, None], width - 1 - x, x)
    image = torch.arange(len(images), device=images.device)
    return images[image[:, None, None], y[:, :, None], x[:, None, :]]


def _coloured(config: AugmentConfig, inputs: Tensor, numbers: Tensor) -> Tensor:
    """Change brightness, then contrast, then saturation."""
    strength = (config.brightness, config.contrast, config.saturation)
    span = _vector(strength, numbers)
    brightness, contrast, saturation = (1 + span * (2 * numbers - 1)).T[..., None, None, None]
    inputs = (inputs * brightness).clamp(0, 1)
    inputs = _blended(inputs, _grey(inputs).mean((1, 2, 3), keepdim=True), contrast)
    return _blended(inputs, _grey(inputs), saturation)


def _blended(inputs: Tensor, other: Tensor, share: Tensor) -> Tensor:
    return (share * inputs + (1 - share) * other).clamp(0, 1)


def _grey(inputs: Tensor) -> Tensor:
    weights = _vector(GREY_WEIGHTS, inputs)[:, None, None]
    return (inputs * weights).sum(1, keepdim=True)


def _vector(values: Sequence[float], like: Tensor) -> Tensor:
    """Make a vector on a tensor's device, without a copy to it, for which a GPU would wait."""
    return torch.stack([like.new_full((), value) for value in values])


def _erased(share: float, inputs: Tensor, numbers: Tensor) -> Tensor:
    """Paint a rectangle grey: its area and aspect are drawn, then where it lies within the image.

    One that is longer than the image is cut to it, where Zhong et al. draw again.
    """
    _, _, height, width = inputs.shape
    chosen, area, aspect, top, left = numbers.T
    area = ERASED_AREA[0] + (ERASED_AREA[1] - ERASED_AREA[0]) * area
    low, high = (math.log(bound) for bound in ERASED_ASPECT)
    ratio = torch.exp(0.5 * (low + (high - low) * aspect))
    side = torch.sqrt(area * height * width)
    tall, wide = (side * ratio).round().clamp(1, height), (side / ratio).round().clamp(1, width)
    y, x = ((height - tall + 1) * top).floor(), ((width - wide + 1) * left).floor()
    rows = torch.arange(height, device=inputs.device)
    columns = torch.arange(width, device=inputs.device)
    in_rows = (rows >= y[:, None]) & (rows < (y + tall)[:, None])
    in_columns = (columns >= x[:, None]) & (columns < (x + wide)[:, None])
    inside = in_rows[:, :, None] & in_columns[:, None, :] & (chosen < share)[:, None, None]
    return torch.where(inside[:, None], ERASED_VALUE, inputs)
