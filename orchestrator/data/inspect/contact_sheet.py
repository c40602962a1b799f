"""A contact sheet: some faces of each gender and class on one picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from orchestrator.base.errors import InputError
from orchestrator.base.files import Anywhere, writing
from orchestrator.data.splits import GENDERS
from orchestrator.data.store.arrays import Arrays
from orchestrator.data.store.streaming import StreamedImages

ACROSS, DOWN = 6, 4
"""Places for faces in a block."""
PAPER, INK, MUTED, EMPTY = "#ffffff", "#1c1f24", "#5c6470", "#eef0f3"


@dataclass(frozen=True)
class Block:
    """Faces that belong together."""

    name: str
    remark: str
    """Said beside the name, in grey."""
    faces: NDArray[np.uint8]
    """Shape (n, H, W, 3); the first ``ACROSS * DOWN`` are shown, and missing places stay empty."""


def write_sheet(title: str, train: Arrays, path: Anywhere) -> None:
    """Draw faces of a split by gender and class, and write them as a PNG.

    Parameters
    ----------
    title
        Of the picture.
    train
        As `orchestrator.data.store.streaming.stream` gives it. The faces with the lowest ranks are
        taken, a random draw that is always the same, and only the blocks they lie in are read.
    path
        Where to.

    Raises
    ------
    InputError
        The faces cannot be read, or the picture not be written.
    """
    images = cast("StreamedImages", train.images)
    rows = []
    for gender, value in GENDERS.items():
        row = []
        for label in (0, 1):
            stratum = np.flatnonzero((train.gender == value) & (train.label == label))
            chosen = stratum[np.argsort(train.rank[stratum])][: ACROSS * DOWN]
            name, remark = f"{gender}, class {label}", f"{len(stratum):,} faces"
            row.append(Block(name, remark, images.read(chosen)))
        rows.append(row)
    save_sheet(draw_sheet(title, rows), path)


def save_sheet(picture: Image.Image, path: Anywhere) -> None:
    """Write a picture as a PNG; `InputError` where it cannot be."""
    try:
        with writing(path) as file:
            picture.save(file, "PNG")
    except OSError as error:
        raise InputError(
            f"{path}: the contact sheet cannot be written here ({error.strerror or error}); give "
            "another place with --sheet FILE"
        ) from None


def draw_sheet(title: str, rows: Sequence[Sequence[Block]]) -> Image.Image:
    """Draw rows of blocks, as many in each row, under a title, which is cut where it is long."""
    tile = _shown_side(rows[0][0].faces.shape[2])
    gap, margin, head = tile // 16, tile // 2, tile // 2
    width = margin + len(rows[0]) * (ACROSS * (tile + gap) - gap + margin)
    height = margin + head + len(rows) * (head + DOWN * (tile + gap) - gap + margin)
    sheet = Image.new("RGB", (width, height), PAPER)
    font = ImageFont.load_default(tile // 3)
    while font.getlength(title) > width - 2 * margin:
        title = title[:-4] + "..."
    ImageDraw.Draw(sheet).text((margin, margin), title, INK, font, "lt")
    for down, row in enumerate(rows):
        top = margin + head + down * (head + DOWN * (tile + gap) - gap + margin)
        for across, block in enumerate(row):
            left = margin + across * (ACROSS * (tile + gap) - gap + margin)
            _draw_head(sheet, block, (left, top + head - 2 * gap), tile // 4)
            _draw_faces(sheet, block.faces, (left, top + head), tile, gap)
    return sheet


def _draw_head(sheet: Image.Image, block: Block, at: tuple[int, int], size: int) -> None:
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size)
    draw.text(at, block.name, INK, font, "ls")
    draw.text((at[0] + font.getlength(block.name + "   "), at[1]), block.remark, MUTED, font, "ls")


def _draw_faces(
    sheet: Image.Image, faces: NDArray[np.uint8], at: tuple[int, int], tile: int, gap: int
) -> None:
    for place in range(ACROSS * DOWN):
        left = at[0] + place % ACROSS * (tile + gap)
        top = at[1] + place // ACROSS * (tile + gap)
        if place < len(faces):
            face = Image.fromarray(faces[place])
            # Nearest: as the network sees it, pixel by pixel, where it is enlarged.
            how = Image.Resampling.NEAREST if face.width < tile else Image.Resampling.LANCZOS
            sheet.paste(face.resize((tile, tile), how), (left, top))
        else:
            ImageDraw.Draw(sheet).rectangle((left, top, left + tile - 1, top + tile - 1), EMPTY)


def _shown_side(side: int) -> int:
    """Return at which size to show faces: small ones times a whole number, large ones reduced."""
    return side * -(-96 // side) if side < 96 else min(side, 160)
