import re
import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import simplejpeg
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps

from orchestrator.data.reading.decode import DecodeError, decode

RED, BLUE = (200, 30, 40), (20, 60, 210)


def encoded(image: Image.Image, format_: str = "PNG", **options: Any) -> bytes:
    data = BytesIO()
    image.save(data, format_, **options)
    return data.getvalue()


def halves() -> Image.Image:
    """Red on top, blue below; 40 wide, 60 high."""
    image = Image.new("RGB", (40, 60), RED)
    image.paste(BLUE, (0, 30, 40, 60))
    return image


def near(pixel: NDArray[np.uint8], colour: tuple[int, int, int], within: int = 3) -> bool:
    return bool(np.all(np.abs(pixel.astype(int) - colour) <= within))


@pytest.mark.parametrize("size", [1, 16, 80])
@pytest.mark.parametrize("format_", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM"])
def test_every_format_gives_a_square_of_rgb(format_: str, size: int) -> None:
    pixels = decode(encoded(halves(), format_), size)
    assert pixels.shape == (size, size, 3)
    assert pixels.dtype == np.uint8
    if size > 1:
        assert near(pixels[0, 0], RED, 8)
        assert near(pixels[-1, -1], BLUE, 8)


def textured(width: int, height: int, seed: int = 0) -> Image.Image:
    """Smooth shapes with a little grain, as photographs have."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 5, 3), np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
    grain = rng.normal(0, 6, (height, width, 1))
    return Image.fromarray(np.clip(smooth + grain, 0, 255).astype(np.uint8))


def with_pillow(data: bytes, size: int) -> NDArray[np.int64]:
    """Decode the whole picture, turn it upright and resize it, all with Pillow."""
    image = ImageOps.exif_transpose(Image.open(BytesIO(data))).convert("RGB")
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR)).astype(np.int64)


def assert_as_pillow(data: bytes, size: int) -> None:
    """Nearly always within 1 of 255; both filters round after each of two passes, hence 2."""
    assert np.abs(decode(data, size) - with_pillow(data, size)).max() <= 2


@pytest.mark.parametrize("sides", [(178, 218), (89, 109)])
def test_a_face_is_within_1_of_pillows_full_decode_and_bilinear(sides: tuple[int, int]) -> None:
    for seed in range(20):
        data = encoded(textured(*sides, seed), "JPEG", quality=90)
        assert np.abs(decode(data, 80) - with_pillow(data, 80)).max() <= 1


@pytest.mark.realdata
def test_real_faces_are_within_1_of_pillows(celeba10k: Path) -> None:
    for path in sorted((celeba10k / "img_align_celeba").glob("*.jpg"))[:200]:
        data = path.read_bytes()
        assert np.abs(decode(data, 80) - with_pillow(data, 80)).max() <= 1


@given(
    sides=st.tuples(st.integers(1, 250), st.integers(1, 250)),
    size=st.integers(1, 100),
    mode=st.sampled_from(["RGB", "L"]),
    quality=st.integers(20, 100),
    subsampling=st.sampled_from([0, 1, 2]),
    progressive=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_jpeg_is_pillows_full_decode_and_bilinear(
    sides: tuple[int, int], size: int, mode: str, seed: int, **options: Any
) -> None:
    data = encoded(textured(*sides, seed).convert(mode), "JPEG", **options)
    # Pictures that libjpeg shrinks as it decodes are compared below.
    assume(min(sides) < 8 * size or any(side % 2 for side in sides))
    assert_as_pillow(data, size)


@given(
    sides=st.tuples(st.integers(1, 120), st.integers(1, 120)),
    size=st.integers(1, 100),
    seed=st.integers(0, 2**32 - 1),
)
def test_other_formats_are_resized_by_the_same_filter(
    sides: tuple[int, int], size: int, seed: int
) -> None:
    data = encoded(textured(*sides, seed))
    assert_as_pillow(data, size)


@pytest.mark.parametrize("sides", [(1280, 960), (640, 720), (648, 640)])
def test_a_photograph_shrunk_by_libjpeg_looks_the_same(sides: tuple[int, int]) -> None:
    data = encoded(textured(*sides), "JPEG", quality=92)
    size = min(sides) // 32
    with patch("simplejpeg.decode_jpeg", wraps=simplejpeg.decode_jpeg) as decoding:
        off = np.abs(decode(data, size) - with_pillow(data, size))
    assert decoding.call_args.kwargs["min_factor"] == 8
    assert off.mean() < 0.5
    assert off.max() <= 3


def test_a_photograph_is_shrunk_only_where_nothing_is_left_over() -> None:
    with patch("simplejpeg.decode_jpeg", wraps=simplejpeg.decode_jpeg) as decoding:
        for sides in [(640, 642), (636, 636), (639, 640), (641, 641)]:
            decode(encoded(Image.new("L", sides), "JPEG"), 20)
    factors = [call.kwargs["min_factor"] for call in decoding.call_args_list]
    assert factors == [2, 4, 1, 1]


def test_the_bytes_do_not_depend_on_the_threads() -> None:
    data = encoded(textured(300, 400), "JPEG")
    before = torch.get_num_threads()
    try:
        pixels = []
        for threads in (1, 4):
            torch.set_num_threads(threads)
            pixels.append(decode(data, 80))
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(*pixels)


def test_grey_is_grey() -> None:
    for format_ in ("JPEG", "PNG"):
        assert near(decode(encoded(Image.new("L", (20, 20), 77), format_), 8)[4, 4], (77, 77, 77))


def test_black_and_white() -> None:
    assert near(decode(encoded(Image.new("1", (20, 20), 1)), 8)[4, 4], (255, 255, 255))


def test_sixteen_bits_keep_their_range() -> None:
    # Pillow's own conversion shows 30000 of 65535 as white.
    image = Image.fromarray(np.full((20, 20), 30_000, np.uint16))
    for format_ in ("PNG", "TIFF"):
        assert near(decode(encoded(image, format_), 8)[4, 4], (117, 117, 117), 1)


def test_cmyk_as_a_viewer_shows_it() -> None:
    for format_ in ("JPEG", "TIFF"):
        data = encoded(Image.new("RGB", (24, 24), RED).convert("CMYK"), format_)
        assert near(decode(data, 8)[4, 4], RED, 4)


def test_transparency_lies_on_white() -> None:
    clear = Image.new("RGBA", (20, 20), (*RED, 0))
    assert near(decode(encoded(clear), 8)[4, 4], (255, 255, 255))
    half = Image.new("RGBA", (20, 20), (0, 0, 0, 128))
    assert near(decode(encoded(half), 8)[4, 4], (127, 127, 127))
    grey = Image.new("LA", (20, 20), (0, 0))
    assert near(decode(encoded(grey), 8)[4, 4], (255, 255, 255))


def test_a_palette_with_and_without_transparency() -> None:
    palette = halves().quantize(2)
    assert near(decode(encoded(palette), 16)[0, 0], RED, 30)
    clear = encoded(palette, transparency=palette.getpixel((0, 0)))
    pixels = decode(clear, 16)
    assert near(pixels[0, 0], (255, 255, 255))
    assert near(pixels[-1, -1], BLUE, 30)
    for format_ in ("GIF", "PNG"):
        assert decode(encoded(palette, format_), 16).shape == (16, 16, 3)


def test_a_transparent_colour_of_an_rgb_png() -> None:
    pixels = decode(encoded(halves(), transparency=RED), 16)
    assert near(pixels[0, 0], (255, 255, 255))
    assert near(pixels[-1, -1], BLUE)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_orientation_is_undone(orientation: int, format_: str) -> None:
    # How a camera held that way stores an upright picture with three marked corners.
    upright = Image.new("RGB", (64, 64), (128, 128, 128))
    upright.paste(RED, (0, 0, 32, 32))
    upright.paste(BLUE, (32, 0, 64, 32))
    stored = {
        1: lambda i: i,
        2: lambda i: i.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: lambda i: i.transpose(Image.Transpose.ROTATE_180),
        4: lambda i: i.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: lambda i: i.transpose(Image.Transpose.TRANSPOSE),
        6: lambda i: i.transpose(Image.Transpose.ROTATE_90),
        7: lambda i: i.transpose(Image.Transpose.TRANSVERSE),
        8: lambda i: i.transpose(Image.Transpose.ROTATE_270),
    }[orientation](upright)
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = decode(encoded(stored, format_, exif=exif), 16)
    assert near(pixels[2, 2], RED, 12)
    assert near(pixels[2, 13], BLUE, 12)
    assert near(pixels[13, 13], (128, 128, 128), 12)


@given(
    orientation=st.integers(0, 9),
    sides=st.tuples(st.integers(1, 150), st.integers(1, 150)),
    size=st.integers(1, 100),
)
def test_a_turned_photograph_is_as_pillow_turns_it(
    orientation: int, sides: tuple[int, int], size: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(textured(*sides), "JPEG", exif=exif)
    assume(min(sides) < 8 * size or any(side % 2 for side in sides))
    assert_as_pillow(data, size)


def test_orientation_in_xmp_is_undone() -> None:
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="3"/></x:xmpmeta>'
    pixels = decode(encoded(halves(), "JPEG", xmp=xmp), 16)
    assert near(pixels[0, 0], BLUE, 8)
    assert near(pixels[-1, -1], RED, 8)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_exif_is_no_hindrance() -> None:
    for exif in (b"Exif\0\0garbage", b"Exif\0\0", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\0\0"):
        assert near(decode(encoded(halves(), "JPEG", exif=exif), 16)[0, 0], RED, 8)


def test_of_an_animation_the_first_picture() -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in (RED, BLUE)]
    for format_ in ("GIF", "WEBP", "PNG"):
        data = encoded(frames[0], format_, save_all=True, append_images=frames[1:])
        assert near(decode(data, 8)[4, 4], RED, 8)


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "GIF", "WEBP", "BMP"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9])
def test_truncated(format_: str, share: float) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8))
    data = encoded(noise, format_)
    with pytest.raises(DecodeError):
        decode(data[: int(len(data) * share)], 16)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "an empty file"),
        (b"hello, this is no image", "not an image, or of a format that is not read"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
    ],
)
def test_no_image(data: bytes, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason) as caught:
        decode(data, 8)
    assert "0x" not in str(caught.value)  # an address would differ from run to run


def bomb(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000)))
    )


@pytest.mark.parametrize("side", [8_200, 30_000])
def test_a_bomb_is_not_unpacked(side: int) -> None:
    with pytest.raises(DecodeError, match="more than 67108864 pixels"):
        decode(bomb(side, side), 8)


def test_a_bomb_in_jpeg_is_not_unpacked() -> None:
    data = bytearray(encoded(Image.new("L", (16, 16)), "JPEG"))
    start = data.index(b"\xff\xc0") + 5  # of height and width in the frame header
    data[start : start + 4] = struct.pack(">HH", 60_000, 60_000)
    with (
        patch("simplejpeg.decode_jpeg") as decoding,
        pytest.raises(DecodeError, match="60000 × 60000, more than 67108864 pixels"),
    ):
        decode(bytes(data), 8)
    decoding.assert_not_called()


def test_floating_point_pixels_have_no_known_range() -> None:
    image = Image.fromarray(np.ones((20, 20), np.float32))
    with pytest.raises(DecodeError, match="mode F"):
        decode(encoded(image, "TIFF"), 8)


@settings(max_examples=200)
@given(st.sampled_from(["JPEG", "PNG", "GIF", "BMP"]), st.data())
@pytest.mark.filterwarnings("ignore")  # Pillow warns of what it skips
def test_broken_bytes_decode_or_say_why_in_one_line(format_: str, data: st.DataObject) -> None:
    whole = bytearray(encoded(halves(), format_))
    for _ in range(data.draw(st.integers(1, 8))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        pixels = decode(bytes(whole), 8)
    except DecodeError as error:
        assert re.fullmatch(".+", str(error))  # noqa: PT017  # either outcome is right
    else:
        assert pixels.shape == (8, 8, 3)
