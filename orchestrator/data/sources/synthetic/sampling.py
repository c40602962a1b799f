"""People and pictures drawn by lot.

Gender acts only by shifting the means of soft cues that overlap (hair length, jaw, brows, lips,
beard, make-up, width of face, neck and shoulders): no single one decides.
"""

import math
from typing import TypeVar

import numpy as np

from orchestrator.data.sources.synthetic.face import BLOND_FROM, Face, Hairstyle, Person

T = TypeVar("T")

FRAME_COLOURS = (
    (22, 20, 22), (26, 24, 30), (54, 34, 24), (70, 72, 78), (168, 138, 76), (104, 26, 32),
)  # fmt: skip
LENS_COLOURS = ((26, 26, 30), (58, 40, 26), (34, 46, 40), (44, 40, 66))
CLOTHES_COLOURS = (
    (32, 34, 40), (58, 66, 84), (236, 234, 228), (150, 40, 48), (38, 78, 110), (88, 110, 92),
    (196, 168, 132), (120, 84, 128), (206, 122, 118), (64, 56, 52), (226, 206, 150), (24, 58, 60),
)  # fmt: skip
BACKDROP_COLOURS = (
    ((206, 198, 188), (150, 142, 136)), ((176, 190, 202), (112, 130, 150)),
    ((86, 84, 92), (36, 36, 44)), ((214, 186, 160), (158, 118, 92)),
    ((140, 164, 142), (70, 98, 80)), ((228, 226, 222), (190, 190, 192)),
    ((124, 44, 48), (60, 20, 28)), ((96, 110, 150), (40, 48, 84)),
    ((186, 164, 196), (112, 94, 136)), ((236, 214, 168), (196, 150, 96)),
)  # fmt: skip
OUTDOOR_COLOURS = (
    ((176, 208, 232), (104, 140, 84)), ((214, 224, 228), (128, 146, 120)),
    ((240, 206, 160), (128, 100, 84)), ((150, 186, 216), (196, 176, 140)),
)  # fmt: skip


class Lot:
    """Draws numbers by lot; short names, since a face needs a hundred."""

    def __init__(self, *key: int) -> None:
        self._rng = np.random.default_rng(key)

    def normal(self, mean: float, deviation: float, low: float = 0.0, high: float = 1.0) -> float:
        """Draw a normal number, clipped to [low, high]."""
        return min(high, max(low, mean + deviation * float(self._rng.standard_normal())))

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """Draw a uniform number."""
        return low + (high - low) * float(self._rng.random())

    def chance(self, probability: float) -> bool:
        """Return True with this probability."""
        return float(self._rng.random()) < probability

    def pick(self, choices: tuple[T, ...]) -> T:
        """Pick one of `choices`, all equally likely."""
        return choices[int(float(self._rng.random()) * len(choices))]

    def skewed(self, power: float) -> float:
        """Draw from 0 to 1, small numbers the likelier the greater `power`."""
        return math.pow(self._rng.random(), power)


def sample_person(seed: int, identity: int, gender: int) -> Person:
    """Draw what all pictures of a person share, from the seed and the identity alone.

    Parameters
    ----------
    seed, identity
        Not negative.
    gender
        -1 woman, 1 man.
    """
    lot = Lot(seed, 1, identity)
    m, man = float(gender), gender > 0
    age = lot.uniform(0.0, 0.9 if man else 0.75)
    return Person(
        melanin=lot.skewed(1.7),
        undertone=lot.normal(0.0, 0.4, -1.0, 1.0),
        face_width=lot.normal(1.0 + 0.02 * m, 0.04, 0.88, 1.12),
        face_length=lot.normal(1.0 + 0.015 * m, 0.03, 0.9, 1.1),
        jaw=lot.normal(0.45 + 0.2 * m, 0.2),
        brow_ridge=lot.normal(0.45 + 0.2 * m, 0.2),
        eye_size=lot.normal(1.0 - 0.05 * m, 0.06, 0.82, 1.18),
        eye_hue=lot.uniform(),
        brow_thickness=lot.normal(0.45 + 0.16 * m, 0.16, 0.05),
        brow_arch=lot.normal(0.5 - 0.18 * m, 0.2),
        nose_width=lot.normal(1.0 + 0.06 * m, 0.09, 0.75, 1.3),
        nose_length=lot.normal(1.0 + 0.02 * m, 0.05, 0.85, 1.15),
        lip_fullness=lot.normal(0.5 - 0.14 * m, 0.18),
        mouth_width=lot.normal(1.0 + 0.02 * m, 0.06, 0.85, 1.15),
        neck_width=lot.normal(0.6 + 0.07 * m, 0.05, 0.46, 0.78),
        shoulder_width=lot.normal(1.9 + 0.15 * m, 0.12, 1.6, 2.3),
        hair_tone=_natural_tone(lot, man),
        red=lot.uniform(0.3, 1.0) if lot.chance(0.08) else lot.uniform(0.0, 0.2),
        grey=lot.uniform(0.2, 1.0) if age > 0.55 and lot.chance(0.5 if man else 0.2) else 0.0,
        curl=lot.skewed(1.5 if man else 1.0),
        hair_volume=lot.normal(0.5 - 0.1 * m, 0.2),
        hair_length=lot.normal(0.48 - 0.3 * m, 0.22),
        baldness=lot.uniform(0.3, 1.0) if man and age > 0.3 and lot.chance(0.25) else 0.0,
        beard=_beard(lot, man),
        makeup=lot.normal(0.33 - 0.2 * m, 0.22) if lot.chance(0.42 - 0.34 * m) else 0.0,
        age=age,
        freckles=lot.uniform(0.3, 1.0) if lot.chance(0.12) else 0.0,
    )


def _beard(lot: Lot, man: bool) -> float:
    if lot.chance(0.42 if man else 0.01):  # what is annotated as a woman may have some
        return lot.skewed(0.8) * (1.0 if man else 0.3)
    return 0.0


def _natural_tone(lot: Lot, man: bool) -> float:
    """Draw the tone of hair that is not blond, up to light brown just below `BLOND_FROM`."""
    if lot.chance(0.2 if man else 0.3):
        return BLOND_FROM - lot.uniform(0.01, 0.2)
    return lot.uniform(0.02, 0.45)


def sample_face(
    seed: int, index: int, person: Person, gender: int, *, blond: bool, glasses: bool
) -> Face:
    """Draw one picture of a person, from the seed, the index and the person alone."""
    lot = Lot(seed, 2, index)
    style = _hairstyle(lot, person, gender, blond=blond)
    outdoors = lot.chance(0.25)
    beard = person.beard * lot.uniform(0.5, 1.0)
    return Face(
        person=person,
        yaw=lot.normal(0.0, 0.17, -0.42, 0.42),
        pitch=lot.normal(0.0, 0.07, -0.16, 0.16),
        roll=lot.normal(0.0, 0.035, -0.09, 0.09),
        scale=lot.normal(1.0, 0.03, 0.92, 1.08),
        shift=(lot.normal(0.0, 1.5, -4.0, 4.0), lot.normal(0.0, 2.0, -5.0, 5.0)),
        smile=lot.normal(0.5 - 0.08 * gender, 0.3),
        mouth_open=lot.skewed(2.5) if lot.chance(0.5) else 0.0,
        eyes_open=lot.normal(0.85, 0.12, 0.45, 1.0),
        gaze=lot.normal(0.0, 0.3, -1.0, 1.0),
        brow_lift=lot.normal(0.0, 0.3, -1.0, 1.0),
        hairstyle=style,
        hair_tone=_tone_today(lot, person, blond=blond),
        red=person.red * (0.4 if blond else 1.0),
        grey=0.0 if blond else person.grey,
        roots=lot.uniform(0.0, 0.28) if blond and lot.chance(0.5) else lot.uniform(0.0, 0.06),
        hair_end=0.7 + 1.9 * min(1.0, max(0.0, person.hair_length - 0.35) / 0.5),
        parting=lot.normal(0.0, 0.3, -0.6, 0.6),
        sweep=lot.uniform(),
        fringe=lot.uniform(0.3, 1.0) if lot.chance(0.16 - 0.07 * gender) else 0.0,
        tucked=(lot.chance(0.25), lot.chance(0.25)),
        bun=lot.chance(0.3),
        beard=beard,
        moustache=min(1.0, beard * lot.uniform(0.6, 1.4)),
        makeup=person.makeup * lot.uniform(0.4, 1.0),
        lipstick_hue=lot.uniform(),
        spectacles=("sun" if lot.chance(0.3) else "clear") if glasses else "none",
        frame_shape=lot.uniform(),
        frame_width=0.9 + 2.3 * lot.uniform(),
        frame_colour=lot.pick(FRAME_COLOURS),
        lens_colour=lot.pick(LENS_COLOURS),
        earrings=lot.chance(0.17 - 0.15 * gender),
        clothes_colour=lot.pick(CLOTHES_COLOURS),
        neckline=lot.normal(0.45 - 0.2 * gender, 0.25),
        collar=lot.chance(0.3 + 0.2 * gender),
        backdrop="outdoors" if outdoors else lot.pick(("studio", "bokeh", "panels")),
        backdrop_colours=lot.pick(OUTDOOR_COLOURS if outdoors else BACKDROP_COLOURS),
        light=(lot.normal(0.0, 0.6, -1.2, 1.2), lot.normal(0.5, 0.25, -0.1, 1.1)),
        contrast=lot.normal(0.5, 0.2),
        warmth=lot.normal(0.15, 0.4, -1.0, 1.0),
        exposure=lot.normal(1.0, 0.11, 0.68, 1.2),
        blur=lot.uniform(0.4, 1.5) if lot.chance(0.15) else 0.0,
        noise=int(5.0 * lot.skewed(2.0)),
        quality=int(lot.uniform(55, 94)),
        texture=int(lot.uniform(0, 2**31)),
    )


def _hairstyle(lot: Lot, person: Person, gender: int, *, blond: bool) -> Hairstyle:
    if person.baldness > 0.85 and not blond:
        return "bald"
    if person.hair_length + lot.normal(0.0, 0.06, -0.2, 0.2) < 0.42:
        return "short"
    return "tied" if lot.chance(0.18 - 0.02 * gender) else "long"


def _tone_today(lot: Lot, person: Person, *, blond: bool) -> float:
    """Draw the tone of the hair in this picture, on the side of `BLOND_FROM` that is asked."""
    if blond:  # most of it dyed, so it need not be near the natural tone
        return BLOND_FROM + (1.0 - BLOND_FROM) * lot.skewed(1.3)
    return lot.normal(person.hair_tone, 0.03, 0.0, BLOND_FROM - 0.005)
