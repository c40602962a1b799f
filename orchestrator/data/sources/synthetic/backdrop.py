"""What lies behind the head: all of it out of focus, so painted on a quarter of the size."""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from orchestrator.data.sources.synthetic.face import Face
from orchestrator.data.sources.synthetic.head import HEIGHT, WIDTH
from orchestrator.data.sources.synthetic.raster import SIZE

MARGIN = 4
COLUMNS, ROWS = WIDTH // 4 + 2 * MARGIN, HEIGHT // 4 + 2 * MARGIN


def backdrop(face: Face) -> Image.Image:
    """Paint the backdrop."""
    image = _gradient(face)
    pen = ImageDraw.Draw(image, "RGBA")
    rng = np.random.default_rng(face.texture)
    if face.backdrop == "panels":
        _draw_panels(pen, rng)
    elif face.backdrop == "bokeh":
        _draw_blobs(pen, rng, (255, 236, 190))
    elif face.backdrop == "outdoors":
        _draw_blobs(pen, rng, (64, 96, 52))
    image = image.filter(ImageFilter.GaussianBlur(0.7 if face.backdrop == "bokeh" else 1.2))
    inside = (MARGIN, MARGIN, MARGIN + WIDTH / 4, MARGIN + HEIGHT / 4)
    return image.resize(SIZE, Image.Resampling.BILINEAR, inside)


def _gradient(face: Face) -> Image.Image:
    """Paint a horizon outdoors, elsewhere a pool of light behind the head."""
    top, bottom = (np.array(colour, dtype=np.float32) for colour in face.backdrop_colours)
    down = np.linspace(0, 1, ROWS, dtype=np.float32)[:, None, None]
    across = np.linspace(-1, 1, COLUMNS, dtype=np.float32)[None, :, None] - face.light[0] * 0.5
    if face.backdrop == "outdoors":
        share = 1 / (1 + np.exp(-(down - 0.55) * 12)) + 0 * across
    else:
        share = np.minimum(1, 0.6 * down + 0.5 * across * across)
    return Image.fromarray((top + (bottom - top) * share).astype(np.uint8))


def _draw_panels(pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    at = rng.uniform(0, 12)
    while at < COLUMNS:
        step = rng.uniform(5, 16)
        shade = (0, 0, 0, 36) if rng.random() < 0.5 else (255, 255, 255, 30)
        pen.rectangle((at, 0, at + step * 0.5, ROWS), shade)
        at += step


def _draw_blobs(
    pen: ImageDraw.ImageDraw, rng: np.random.Generator, tint: tuple[int, int, int]
) -> None:
    for x, y, radius, glow in rng.uniform((0, 0, 1.5, 0), (COLUMNS, ROWS, 5.5, 1), (9, 4)):
        box = (x - radius, y - radius, x + radius, y + radius)
        pen.ellipse(box, (*tint, int(30 + 60 * glow)))
