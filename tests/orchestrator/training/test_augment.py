"""Augmentation against torchvision's own transforms, image by image."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import functional

from orchestrator.base.errors import InputError
from orchestrator.config.layers import resolve
from orchestrator.config.settings import AugmentConfig
from orchestrator.training.augment import ERASED_VALUE, NUMBERS, augment, draw_numbers
from orchestrator.training.inference import to_input

OFF = AugmentConfig(flip=False)


def batch(n=6, height=12, width=10, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (n, height, width, 3), dtype=np.uint8)
    return torch.from_numpy(images), torch.from_numpy(draw_numbers(n, rng))


def test_turned_off_it_is_the_input_as_it_is():
    images, numbers = batch()
    assert torch.equal(augment(OFF, images, numbers), to_input(images))


def test_half_are_mirrored_by_the_first_number():
    images, numbers = batch(400)
    inputs = augment(AugmentConfig(), images, numbers)
    mirrored = (numbers[:, 0] < 0.5).tolist()
    assert 150 < sum(mirrored) < 250
    for flips, image, result in zip(mirrored, to_input(images), inputs, strict=True):
        assert torch.equal(result, functional.hflip(image) if flips else image)


@given(most=st.integers(1, 15), seed=st.integers(0, 50), flip=st.booleans())
@settings(max_examples=30)
def test_a_shift_moves_the_image_and_repeats_its_edges(most, seed, flip):
    images, numbers = batch(seed=seed)
    inputs = augment(AugmentConfig(shift=most, flip=flip), images, numbers)
    steps = (numbers[:, 1:3] * (2 * most + 1)).long() - most
    for image, number, step, result in zip(to_input(images), numbers, steps, inputs, strict=True):
        mirrored = flip and number[0] < 0.5
        padded = functional.pad(image, [most] * 4, padding_mode="edge")
        padded = functional.hflip(padded) if mirrored else padded
        top, left = (most + step).tolist()
        assert torch.equal(result, padded[:, top : top + 12, left : left + 10])


def test_shifts_reach_every_distance_alike():
    images, numbers = batch(4000, 3, 3)
    steps = (numbers[:, 1] * 5).long()
    assert torch.bincount(steps, minlength=5).min() > 700
    augment(AugmentConfig(shift=2), images, numbers)


def test_colours_are_those_of_torchvision():
    images, numbers = batch()
    config = AugmentConfig(flip=False, brightness=0.4, contrast=0.5, saturation=0.9)
    inputs = augment(config, images, numbers)
    for image, number, result in zip(to_input(images), numbers, inputs, strict=True):
        brightness, contrast, saturation = (
            1 + strength * (2 * n - 1)
            for strength, n in zip((0.4, 0.5, 0.9), number[3:6].tolist(), strict=True)
        )
        expected = functional.adjust_brightness(image, brightness)
        expected = functional.adjust_contrast(expected, contrast)
        expected = functional.adjust_saturation(expected, saturation)
        torch.testing.assert_close(result, expected, atol=2e-6, rtol=1e-5)


def test_one_colour_alone_leaves_the_others():
    images, numbers = batch()
    for name, change in (
        ("brightness", functional.adjust_brightness),
        ("contrast", functional.adjust_contrast),
        ("saturation", functional.adjust_saturation),
    ):
        inputs = augment(AugmentConfig(flip=False, **{name: 1.0}), images, numbers)
        column = 3 + ["brightness", "contrast", "saturation"].index(name)
        for image, number, result in zip(to_input(images), numbers, inputs, strict=True):
            expected = change(image, 2 * float(number[column]))
            torch.testing.assert_close(result, expected, atol=2e-6, rtol=1e-5)


def test_erasing_paints_one_rectangle_of_the_right_size():
    images, numbers = batch(600, 40, 30)
    images = images.clamp(max=100)  # no pixel is of the colour that is painted
    inputs = augment(AugmentConfig(flip=False, erase=0.5), images, numbers)
    painted = (inputs == ERASED_VALUE).all(1)
    assert torch.equal(
        inputs.permute(0, 2, 3, 1)[~painted], to_input(images).permute(0, 2, 3, 1)[~painted]
    )
    touched = painted.flatten(1).any(1)
    assert torch.equal(touched, numbers[:, 6] < 0.5)
    for mask in painted[touched]:
        rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
        tall, wide = int(rows[-1] - rows[0]) + 1, int(columns[-1] - columns[0]) + 1
        assert mask.sum() == tall * wide  # one rectangle
        assert 0.01 < tall * wide / (40 * 30) < 0.36
    centres = painted[touched].float().mean(0)
    assert centres.min() > 0  # it can lie anywhere


def test_features_are_mirrored_where_there_are_mirrored_ones():
    features = torch.arange(24, dtype=torch.float16).reshape(4, 2, 3)
    numbers = torch.full((4, NUMBERS), 0.9)
    numbers[1, 0] = 0.1
    config = AugmentConfig()
    expected = features[:, 0].clone()
    expected[1] = features[1, 1]
    assert torch.equal(augment(config, features, numbers), expected.float())
    assert torch.equal(augment(config, features[:, :1], numbers), features[:, 0].float())
    assert torch.equal(augment(OFF, features, numbers), features[:, 0].float())


@pytest.mark.parametrize(
    "config", [OFF, AugmentConfig(), AugmentConfig(shift=2, erase=1, contrast=1)]
)
def test_what_comes_out_lies_as_convolutions_like_it(config):
    inputs = augment(config, *batch())
    assert inputs.shape == (6, 3, 12, 10)
    assert inputs.dtype == torch.float32
    assert inputs.is_contiguous(memory_format=torch.channels_last)
    assert inputs.min() >= 0
    assert inputs.max() <= 1


def test_numbers_out_of_range_are_one_line():
    with pytest.raises(InputError, match=r"augment.shift=-1"):
        resolve(settings=["augment.shift=-1"])
    with pytest.raises(InputError, match=r"augment.erase=2"):
        resolve(settings=["augment.erase=2"])
