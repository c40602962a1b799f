from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageColor

from orchestrator.data.inspect.contact_sheet import ACROSS, DOWN, EMPTY, PAPER, Block, draw_sheet

PLACES = ACROSS * DOWN


def faces(n: int, side: int, first: int = 0) -> NDArray[np.uint8]:
    """Faces of one colour each, none of them a colour of the sheet's own."""
    colours = np.arange(first, first + n)[:, None] * [1, 0, 1] + [20, 250, 90]
    return np.broadcast_to(colours[:, None, None].astype(np.uint8), (n, side, side, 3)).copy()


def areas(sheet: Image.Image) -> dict[tuple[int, ...], int]:
    """How many pixels have each colour."""
    red, green, blue = np.moveaxis(np.asarray(sheet, np.int32), 2, 0)
    counts = np.bincount((red << 16 | green << 8 | blue).ravel())
    return {(c >> 16, c >> 8 & 255, c & 255): int(counts[c]) for c in np.flatnonzero(counts)}


def four(*numbers: int, side: int) -> list[list[Block]]:
    blocks = [
        Block(f"block {i}", f"{n} faces", faces(n, side, 30 * i)) for i, n in enumerate(numbers)
    ]
    return [blocks[:2], blocks[2:]]


@pytest.mark.parametrize(("side", "shown"), [(7, 98), (80, 160), (96, 96), (130, 130), (200, 160)])
def test_every_face_is_shown_whole_and_missing_ones_are_empty(side: int, shown: int) -> None:
    counts = (PLACES + 5, 3, 0, 1)
    area = areas(draw_sheet("title", four(*counts, side=side)))
    for i, n in enumerate(counts):
        for face in range(n):
            colour = (20 + 30 * i + face, 250, 90 + 30 * i + face)
            assert area.get(colour, 0) == (shown**2 if face < PLACES else 0)
    missing = sum(max(0, PLACES - n) for n in counts)
    assert area[ImageColor.getrgb(EMPTY)] == missing * shown**2


def test_pixels_are_enlarged_but_not_blurred() -> None:
    face = np.random.default_rng(0).integers(0, 256, (1, 48, 48, 3), dtype=np.uint8)
    sheet = np.asarray(draw_sheet("title", [[Block("block", "one", face)]]))
    large = face[0].repeat(2, 0).repeat(2, 1)
    windows = np.lib.stride_tricks.sliding_window_view(sheet, large.shape)[:, :, 0]
    corners = np.argwhere((windows[:, :, 0, 0] == large[0, 0]).all(axis=-1))
    assert any(np.array_equal(windows[tuple(corner)], large) for corner in corners)


@pytest.mark.parametrize("title", ["short", "a very long name of a source " * 20])
def test_a_title_fits(title: str) -> None:
    sheet = np.asarray(draw_sheet(title, four(1, 1, 1, 1, side=96)))
    paper = np.array(ImageColor.getrgb(PAPER))
    inked = np.flatnonzero((sheet[:90] != paper).any(axis=(0, 2)))
    assert inked[0] >= 48
    assert inked[-1] < sheet.shape[1] - 40


def test_a_sheet_is_the_same_every_time(tmp_path: Path) -> None:
    def write(name: str) -> bytes:
        draw_sheet("title", four(2, 2, 2, 2, side=12)).save(tmp_path / name)
        return (tmp_path / name).read_bytes()

    assert write("one.png") == write("two.png")
