from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.data.sources.synthetic.draw import draw_face
from orchestrator.data.sources.synthetic.face import (
    BLOND_FROM,
    Backdrop,
    Face,
    Hairstyle,
    Spectacles,
)
from orchestrator.data.sources.synthetic.sampling import sample_face, sample_person

SOFT_CUES = (
    "hair_length",
    "jaw",
    "brow_thickness",
    "brow_arch",
    "lip_fullness",
    "beard",
    "makeup",
    "face_width",
    "neck_width",
    "shoulder_width",
)


def plain_face(**changes: object) -> Face:
    """A face that looks straight ahead in even light, taken by a perfect camera."""
    face = sample_face(0, 0, sample_person(0, 1, -1), -1, blond=False, glasses=False)
    even = {
        "yaw": 0.0,
        "pitch": 0.0,
        "roll": 0.0,
        "scale": 1.0,
        "shift": (0.0, 0.0),
        "light": (0.0, 0.4),
        "warmth": 0.0,
        "exposure": 1.0,
        "blur": 0.0,
        "noise": 0,
        "fringe": 0.0,
        "hairstyle": "short",
        "spectacles": "none",
    }
    return replace(face, **(even | changes))


def pixels(face: Face) -> np.ndarray:
    return np.asarray(draw_face(face), dtype=float)


@given(
    seed=st.integers(0, 2**32),
    index=st.integers(0, 10**6),
    gender=st.sampled_from((-1, 1)),
    blond=st.booleans(),
    glasses=st.booleans(),
)
@settings(max_examples=50, deadline=None)
def test_any_face_can_be_drawn(
    seed: int, index: int, gender: int, blond: bool, glasses: bool
) -> None:
    person = sample_person(seed, index // 4, gender)
    face = sample_face(seed, index, person, gender, blond=blond, glasses=glasses)
    assert face == sample_face(seed, index, person, gender, blond=blond, glasses=glasses)
    assert (face.hair_tone >= BLOND_FROM) == blond
    assert (face.spectacles != "none") == glasses
    assert not (blond and (face.hairstyle == "bald" or face.grey > 0))
    picture = draw_face(face)
    assert (picture.mode, picture.size) == ("RGB", (178, 218))
    assert picture.tobytes() == draw_face(face).tobytes()
    assert np.asarray(picture.convert("L")).std() > 10


@pytest.mark.parametrize("hairstyle", get_args(Hairstyle))
@pytest.mark.parametrize("spectacles", get_args(Spectacles))
@pytest.mark.parametrize("backdrop", get_args(Backdrop))
def test_every_choice_is_drawn_differently(hairstyle: str, spectacles: str, backdrop: str) -> None:
    chosen = {"hairstyle": hairstyle, "spectacles": spectacles, "backdrop": backdrop}
    picture = draw_face(plain_face(**chosen)).tobytes()
    for key, choices in (
        ("hairstyle", Hairstyle),
        ("spectacles", Spectacles),
        ("backdrop", Backdrop),
    ):
        for other in set(get_args(choices)) - {chosen[key]}:
            assert draw_face(plain_face(**chosen | {key: other})).tobytes() != picture


@pytest.mark.parametrize("cue", SOFT_CUES)
def test_a_cue_tells_something_of_gender_but_decides_nothing(cue: str) -> None:
    women, men = (
        np.array([getattr(sample_person(0, k, gender), cue) for k in range(1500)])
        for gender in (-1, 1)
    )
    cuts = np.linspace(min(women.min(), men.min()), max(women.max(), men.max()), 100)
    right = [((women < cut).mean() + (men >= cut).mean()) / 2 for cut in cuts]
    assert 0.55 < max(*right, 1 - min(right)) < 0.95


def test_hair_is_lighter_the_higher_its_tone() -> None:
    crown = [
        pixels(plain_face(hair_tone=tone, grey=0.0, roots=0.0))[46:56, 80:98].mean()
        for tone in (0.0, 0.25, 0.5, 0.62, 0.8, 1.0)
    ]
    assert (np.diff(crown) > 5).all()


def test_glasses_show_around_the_eyes_only() -> None:
    bare = pixels(plain_face())
    for kind in ("clear", "sun"):
        worn = pixels(plain_face(spectacles=kind))
        rows, columns = np.nonzero(np.abs(worn - bare).max(axis=2) > 8)
        assert rows.min() > 90
        assert rows.max() < 132
        assert columns.min() > 35
        assert columns.max() < 143


def test_light_comes_from_where_it_is_said_to() -> None:
    left, right = (pixels(plain_face(light=(side, 0.3), contrast=0.8)) for side in (-1.0, 1.0))
    cheeks = [(slice(120, 140), slice(54, 68)), (slice(120, 140), slice(110, 124))]
    assert left[cheeks[0]].mean() > right[cheeks[0]].mean() + 20
    assert right[cheeks[1]].mean() > left[cheeks[1]].mean() + 20


def test_camera() -> None:
    sharp = pixels(plain_face())
    assert pixels(plain_face(exposure=0.7)).mean() < 0.75 * sharp.mean()
    warm, cold = (pixels(plain_face(warmth=w)).mean(axis=(0, 1)) for w in (1.0, -1.0))
    assert warm[0] / warm[2] > 1.3 * cold[0] / cold[2]
    assert (
        abs(np.diff(pixels(plain_face(blur=1.5)), axis=1)).mean()
        < 0.8 * abs(np.diff(sharp, axis=1)).mean()
    )
    noisy = pixels(plain_face(noise=4)) - sharp
    assert 3 < noisy[sharp.max(axis=2) < 235].std() < 5


def test_eyes_are_where_celeba_aligns_them() -> None:
    """The irises are the darkest spots beside the nose, 40 pixels apart around (89, 111)."""
    face = plain_face(
        gaze=0.0,
        makeup=0.0,
        eyes_open=1.0,
        person=replace(plain_face().person, melanin=0.1, eye_hue=0.0),
    )
    window = np.asarray(draw_face(face).convert("L").reduce(2), dtype=float)[50:61]
    left = int(window[:, 25:44].min(axis=0).argmin()) + 25
    right = int(window[:, 45:64].min(axis=0).argmin()) + 45
    assert abs(left * 2 + 1 - 69) <= 4
    assert abs(right * 2 + 1 - 109) <= 4
