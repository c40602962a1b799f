"""Bytes of an image file to the pixels that a network sees, as a viewer would show them."""

import io

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError, features

RESAMPLING = "bilinear"
"""Pillow's, which widens its triangle as it shrinks, so nothing aliases."""
DECODER = f"pillow {PIL.__version__}, libjpeg-turbo {features.version('libjpeg_turbo')}, draft"
"""What else decides the pixels; ``draft`` lets libjpeg halve a large JPEG as it decodes."""
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF")
"""Formats that are read; Pillow knows some that run programs (EPS) or fetch files."""
MAX_PIXELS = 2**26
"""A larger image is taken for a decompression bomb."""


class DecodeError(ValueError):
    """The bytes are no image that can be shown; the message is a few words on why."""


def decode(data: bytes, size: int) -> NDArray[np.uint8]:
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
        reason = " ".join(str(error).split())
        raise DecodeError(reason or type(error).__name__) from None


def decode_into(image: NDArray[np.uint8], data: bytes | Exception) -> str | None:
    """Decode what `files.read_many` gave into `image`; return why that could not be, or None.

    Parameters
    ----------
    image
        Shape (size, size, 3); left as it is where there is nothing to show.
    data
        An image file's bytes, or what was raised when it was read.
    """
    if isinstance(data, Exception):
        return _unreadable(data)
    try:
        image[:] = decode(data, len(image))
    except DecodeError as error:
        return str(error)
    return None


def _unreadable(error: Exception) -> str:
    """Say why a file could not be read, without its path, which differs between machines."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    reason = error.strerror if isinstance(error, OSError) else None
    return reason or " ".join(str(error).split()) or type(error).__name__


def _decode(data: bytes, size: int) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        if image.width * image.height > MAX_PIXELS:
            raise DecodeError(f"{image.width} × {image.height}, more than {MAX_PIXELS} pixels")
        image.draft(None, (size, size))
        upright = ImageOps.exif_transpose(image)
        return np.asarray(_to_rgb(upright).resize((size, size), Image.Resampling.BILINEAR))


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
