"""What a drawn face looks like, in words and numbers."""

from dataclasses import dataclass
from typing import Literal

BLOND_FROM = 0.62
"""Hair of at least this tone (0 black, 1 platinum) is blond; light brown lies just below it."""

Hairstyle = Literal["bald", "short", "tied", "long"]
Backdrop = Literal["studio", "bokeh", "outdoors", "panels"]
Spectacles = Literal["none", "clear", "sun"]
Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Person:
    """What all pictures of a person share. Shares run from 0 to 1, tilts from -1 to 1."""

    melanin: float
    undertone: float
    """Negative is rosy, positive olive."""
    face_width: float
    """Relative to the mean; so are the other widths, lengths and sizes."""
    face_length: float
    jaw: float
    """0 tapered, 1 square."""
    brow_ridge: float
    eye_size: float
    eye_hue: float
    """0 dark brown, 0.5 hazel, 1 blue."""
    brow_thickness: float
    brow_arch: float
    nose_width: float
    nose_length: float
    lip_fullness: float
    mouth_width: float
    neck_width: float
    shoulder_width: float
    hair_tone: float
    """The natural one, 0 black to 1 platinum, kept below `BLOND_FROM`."""
    red: float
    grey: float
    curl: float
    hair_volume: float
    hair_length: float
    """0 cropped, 1 to the shoulders and beyond."""
    baldness: float
    beard: float
    """How much of a beard grows and is worn, 0 none."""
    makeup: float
    age: float
    freckles: float


@dataclass(frozen=True, slots=True)
class Face:
    """One picture of a person: the pose, the hair of the day, what is worn, light and camera."""

    person: Person
    # pose, radians and pixels
    yaw: float
    pitch: float
    roll: float
    scale: float
    shift: tuple[float, float]
    # expression
    smile: float
    mouth_open: float
    eyes_open: float
    gaze: float
    brow_lift: float
    # hair
    hairstyle: Hairstyle
    hair_tone: float
    red: float
    grey: float
    roots: float
    """How much darker the roots are, in tone."""
    hair_end: float
    """Where long hair ends, in head units below the eyes."""
    parting: float
    sweep: float
    """0 hair falls over the temples, 1 it is combed back from them."""
    fringe: float
    tucked: tuple[bool, bool]
    """Whether hair lies behind the left and the right ear."""
    bun: bool
    beard: float
    moustache: float
    # worn
    makeup: float
    lipstick_hue: float
    spectacles: Spectacles
    frame_shape: float
    """0 round, 1 rectangular."""
    frame_width: float
    """The thickness of the frame in pixels."""
    frame_colour: Colour
    lens_colour: Colour
    earrings: bool
    clothes_colour: Colour
    neckline: float
    """0 high and round, 1 low; from 0.6 a V."""
    collar: bool
    # surroundings
    backdrop: Backdrop
    backdrop_colours: tuple[Colour, Colour]
    light: tuple[float, float]
    """Azimuth (positive from the viewer's right) and elevation, radians."""
    contrast: float
    """0 flat light, 1 hard light."""
    warmth: float
    exposure: float
    # camera
    blur: float
    """Radius in pixels."""
    noise: int
    """Standard deviation, of 255."""
    quality: int
    """Of the JPEG."""
    texture: int
    """Picks noise and placements that need no name."""
