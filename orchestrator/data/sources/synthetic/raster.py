"""Rasters: shapes drawn at twice the size and reduced, soft fields, noise made once a process."""

from functools import cache
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from orchestrator.data.sources.synthetic.face import Colour
from orchestrator.data.sources.synthetic.head import HEIGHT, WIDTH, Array, Points

SUPERSAMPLING = 2
SIZE = (WIDTH, HEIGHT)
Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels, as Pillow has it."""
WHOLE: Box = (0, 0, WIDTH, HEIGHT)


class Sketch:
    """A canvas drawn on in pixels of the picture, kept `SUPERSAMPLING` times as large."""

    def __init__(self, mode: str, fill: Colour | int = 0) -> None:
        size = (WIDTH * SUPERSAMPLING, HEIGHT * SUPERSAMPLING)
        self._image = Image.new(mode, size, fill)
        self._pen = ImageDraw.Draw(self._image)

    def polygon(self, outline: Points, fill: Colour | int) -> None:
        """Fill a polygon."""
        self._pen.polygon((outline * SUPERSAMPLING).ravel().tolist(), fill)

    def line(self, path: Points, fill: Colour | int, width: float) -> None:
        """Draw a line of this width in pixels, the bends rounded."""
        thick = max(1, round(width * SUPERSAMPLING))
        self._pen.line((path * SUPERSAMPLING).ravel().tolist(), fill, thick, "curve")

    def disc(
        self, centre: tuple[float, float], radius: float, fill: Colour | int, squash: float = 1.0
    ) -> None:
        """Fill an upright ellipse `squash` times as high as wide."""
        x, y = centre[0] * SUPERSAMPLING, centre[1] * SUPERSAMPLING
        a = radius * SUPERSAMPLING
        b = a * squash
        self._pen.ellipse((x - a, y - b, x + a, y + b), fill)

    def image(self) -> Image.Image:
        """Return the picture in its own size, its edges smoothed."""
        return self._image.reduce(SUPERSAMPLING)


def soft(mask: Image.Image, radius: float, shift: tuple[float, float] = (0.0, 0.0)) -> Array:
    """Blur a mask on a quarter of its size and shift it: a soft shadow, 0 to 1."""
    small = mask.reduce(4)
    canvas = Image.new("L", (small.width + 8, small.height + 8))  # room, so that edges stay soft
    canvas.paste(small, (4, 4))
    blurred = canvas.filter(ImageFilter.GaussianBlur(radius / 4))
    dx, dy = shift[0] / 4, shift[1] / 4
    box = (4 - dx, 4 - dy, 4 - dx + WIDTH / 4, 4 - dy + HEIGHT / 4)
    return unit(blurred.resize(SIZE, Image.Resampling.BILINEAR, box))


def unit(mask: Image.Image) -> Array:
    """Return a mask as (height, width) float32, 0 to 1."""
    return np.asarray(mask, dtype=np.float32) * np.float32(1 / 255)


def planes(picture: Image.Image, box: Box) -> Array:
    """Return a box of a picture as (3, height, width) float32, 0 to 255.

    Planes, not pixels: NumPy is several times slower along an innermost axis of three.
    """
    bands = picture.crop(box).split()
    return np.stack([np.asarray(band) for band in bands], dtype=np.float32, casting="safe")


def to_image(colour: Array) -> Image.Image:
    """Round and clip (3, height, width) float32, 0 to 255, to a picture; `colour` is used up."""
    colour += np.float32(0.5)
    np.clip(colour, 0, 255, out=colour)
    whole = colour.astype(np.uint8)
    return Image.merge("RGB", [Image.fromarray(plane) for plane in whole])


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """Mix two colours, `share` of the second."""
    r, g, bl = (round(x + (y - x) * share) for x, y in zip(a, b, strict=True))
    return r, g, bl


def ramp(stops: tuple[tuple[float, Colour], ...], at: float) -> Colour:
    """Read a colour off a ramp of stops that ascend from 0 to 1."""
    for (low, a), (high, b) in pairwise(stops):
        if at <= high:
            return mix(a, b, (at - low) / (high - low))
    return stops[-1][1]


@cache
def grain() -> Array:
    """White noise to cut pieces from, (2 height, 2 width) float32, standard normal."""
    return np.random.default_rng(1).standard_normal((2 * HEIGHT, 2 * WIDTH), dtype=np.float32)


@cache
def film(strength: int) -> Image.Image:
    """Noise around 128, of this standard deviation, to cut pieces from."""
    noise = Image.fromarray(np.clip(128 + strength * grain(), 0, 255).astype(np.uint8))
    return Image.merge("RGB", [noise, noise, noise])


@cache
def strands() -> Array:
    """Noise along one axis in three octaves, 4,096 long and a ring, about -1 to 1."""
    rng = np.random.default_rng(2)
    frequency = np.fft.rfftfreq(4096)
    spectrum = np.fft.rfft(rng.standard_normal(4096))
    spectrum *= 1.0 / (frequency + 0.02) * np.exp(-((frequency / 0.22) ** 2))
    spectrum[0] = 0
    noise = np.fft.irfft(spectrum)
    scaled: Array = (noise / (2.0 * noise.std())).astype(np.float32)
    return scaled


def wisps(seed: int, n: int) -> Array:
    """Cut n values from `strands`, where `seed` says."""
    return strands()[(seed + np.arange(n)) % len(strands())]


def axes(box: Box) -> tuple[Array, Array]:
    """Return the pixels' centres in a box: x as (1, width), y as (height, 1), float32."""
    left, top, right, bottom = box
    x = np.arange(left, right, dtype=np.float32)[None, :] + np.float32(0.5)
    y = np.arange(top, bottom, dtype=np.float32)[:, None] + np.float32(0.5)
    return x, y


def corner(seed: int) -> tuple[int, int]:
    """Return where to cut a piece from a noise twice as large: left, top."""
    return (seed // HEIGHT) % WIDTH, seed % HEIGHT


def cut(box: Box, seed: int) -> Array:
    """Cut a piece of `grain` as large as the box, where `seed` says."""
    left, top = corner(seed)
    return grain()[top : top + box[3] - box[1], left : left + box[2] - box[0]]
