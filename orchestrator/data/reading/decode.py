"""Bytes of an image file to the pixels that a network sees, as a viewer would show them.

A JPEG goes through simplejpeg, which decodes it twice as fast as Pillow; any other format, and any
JPEG that simplejpeg declines, goes through Pillow. One filter resizes them all.
"""

import io
from collections.abc import Callable
from importlib.metadata import version

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from orchestrator.base.files import one_line, reason_of

Pixels = NDArray[np.uint8]
"""RGB, shape (H, W, 3)."""

RESAMPLING = "bilinear, antialiased"
"""A triangle that widens as the image shrinks, so nothing aliases. Pillow's own gives the same to 1
of 255, rarely 2: both round after each of two passes."""
DECODER = ", ".join(
    f"{name} {version(name).split('+')[0]}" for name in ("simplejpeg", "pillow", "torch")
)
"""What else decides the pixels: who decodes, and (torch) who resizes."""
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF")
"""Formats that are read; Pillow knows some that run programs (EPS) or fetch files."""
MAX_PIXELS = 2**26
"""A larger image is taken for a decompression bomb."""
SPARE = 4
"""libjpeg may shrink a photograph as it decodes, to no less than this many times the size asked
for. 12 megapixels then take two thirds of the time and a 64th of the memory, and the pixels are
off by 0.3 of 255 on average (`benchmarks/decoders.py`)."""
UPRIGHT: dict[int, Callable[[Pixels], Pixels]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: pixels.swapaxes(0, 1)[:, ::-1],
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: pixels.swapaxes(0, 1)[::-1],
}
"""How to turn a picture upright, by its EXIF orientation; with any other it is."""


class DecodeError(ValueError):
    """The bytes are no image that can be shown; the message is a few words on why."""


def decode(data: bytes, size: int) -> Pixels:
    """Decode an image and resize it to a square, whatever its aspect.

    EXIF orientation is applied; grey, 16-bit, palette and CMYK become RGB; what is transparent
    lies on white; of an animation the first picture is taken. Colour profiles are ignored.

    Parameters
    ----------
    data
        The bytes of a file in one of `FORMATS`.
    size
        Pixels a side.

    Returns
    -------
    ndarray of uint8, shape (size, size, 3)
        RGB.

    Raises
    ------
    DecodeError
        No image, a truncated or broken one, or one of more than `MAX_PIXELS`.
    """
    if not data:
        raise DecodeError("an empty file")
    try:
        return _decode(data, size)
    except DecodeError:
        raise
    except UnidentifiedImageError:
        raise DecodeError("not an image, or of a format that is not read") from None
    except Image.DecompressionBombError:
        raise DecodeError(f"more than {MAX_PIXELS} pixels") from None
    # Pillow's plug-ins raise whatever their parsing stumbles on (OSError, SyntaxError, KeyError,
    # struct.error, …); on a stranger's bytes all of it means the same.
    except Exception as error:
        raise DecodeError(one_line(error) or type(error).__name__) from None


def decode_into(image: Pixels, data: bytes | Exception) -> str | None:
    """Decode what `reading.read_many` gave into `image`; return why that could not be, or None.

    Parameters
    ----------
    image
        Shape (size, size, 3); left as it is where there is nothing to show.
    data
        An image file's bytes, or what was raised when it was read.
    """
    if isinstance(data, Exception):
        return reason_of(data)
    try:
        image[:] = decode(data, len(image))
    except DecodeError as error:
        return str(error)
    return None


def _decode(data: bytes, size: int) -> Pixels:
    pixels, orientation = _decode_jpeg(data, size) or _decode_with_pillow(data)
    # The square is turned instead of the picture: the filter is the same in every direction.
    square = _resize(pixels, size)
    return np.ascontiguousarray(UPRIGHT[orientation](square) if orientation in UPRIGHT else square)


def _decode_jpeg(data: bytes, size: int) -> tuple[Pixels, int] | None:
    """Return pixels and EXIF orientation; None where Pillow had better look."""
    if not data.startswith(b"\xff\xd8\xff"):
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return None
    _refuse_bomb(width, height)
    if colours in ("CMYK", "YCCK"):
        return None
    shrink = _shrink(width, height, size)
    try:
        pixels: Pixels = simplejpeg.decode_jpeg(
            data, min_height=height // shrink, min_width=width // shrink, min_factor=shrink
        )
    except ValueError:  # also what libjpeg only warns of
        return None
    if b"Exif" not in data and b"tiff:Orientation" not in data:
        return pixels, 1
    with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
        return pixels, _orientation(image)


def _shrink(width: int, height: int, size: int) -> int:
    """Return by how much libjpeg may shrink an image as it decodes.

    NOTE: Only where nothing is left over: of 1,290 pixels a quarter would be 323, an image that
    is stretched a little (off by 2 of 255 on average), and libjpeg's 3/8 is off by as much.
    """
    exact = (f for f in (8, 4, 2) if width % f == height % f == 0)
    return next((f for f in exact if min(width, height) >= SPARE * f * size), 1)


def _decode_with_pillow(data: bytes) -> tuple[Pixels, int]:
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        _refuse_bomb(image.width, image.height)
        pixels = np.array(_to_rgb(image))
        return pixels, _orientation(image)  # which Pillow itself sees to as it loads a TIFF


def _refuse_bomb(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise DecodeError(f"{width} × {height}, more than {MAX_PIXELS} pixels")


def _orientation(image: Image.Image) -> int:
    orientation: int = image.getexif().get(ExifTags.Base.Orientation, 1)
    return orientation


def _resize(pixels: Pixels, size: int) -> Pixels:
    """Resize to a square; uint8 in and out.

    The bytes are the same with any number of threads and every x86 instruction set that was tried.
    """
    import torch  # not needed for the constants above, and slow to import

    # torch takes a batch for channels last, and does not copy it, only if made in this order.
    image = torch.from_numpy(pixels)[None].permute(0, 3, 1, 2)
    square = torch.nn.functional.interpolate(
        image, size=(size, size), mode="bilinear", antialias=True
    )
    resized: Pixels = square[0].permute(1, 2, 0).numpy()
    return resized


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("RGB", "L") and "transparency" not in image.info:
        return image.convert("RGB")  # nearly every photograph
    if image.mode.startswith("I;16"):  # Pillow's own conversion clips at 255
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise DecodeError(f"pixels of mode {image.mode}, whose range is not known")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")
