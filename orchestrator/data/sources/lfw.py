"""Labeled Faces in the Wild, with the list of its attributes.

``lfw_attributes.txt`` has a line a face, with tabs between a person, the number of the picture and
scores, of which those above 0 say that an attribute holds. Spaces in the names of attributes are
written as in CelebA, ``Blond_Hair``. The images are ``PERSON/PERSON_0001.jpg``.
"""

import csv
import io

import pyarrow as pa

from orchestrator.base.errors import InputError
from orchestrator.base.files import Anywhere
from orchestrator.data.sources.chosen_columns import Given
from orchestrator.data.sources.manifest import Root, open_rows
from orchestrator.data.sources.source import ImageRoot, Source, open_images

LIST = "lfw_attributes.txt"
_HEAD = ["person", "imagenum"]
FOLDERS = ("lfw", "lfw_funneled", "lfw-funneled", "lfw-deepfunneled", "lfw_deepfunneled")


def open_lfw(path: Anywhere, images: ImageRoot | None, given: Given) -> Source:
    """Read LFW.

    Parameters
    ----------
    path
        The list of attributes, or the folder that it is in.
    images
        The folder or archive of the images; None: one of `FOLDERS` beside the list.
    given
        Rules over the attributes.

    Raises
    ------
    InputError
        A line that is not as LFW's are, and all that `open_rows` refuses.
    """
    listed = path if path.name == LIST else path / LIST
    names, rows = _read(listed)
    people = [person.strip().replace(" ", "_") for person, *_ in rows]
    cells: dict[str, list[str] | list[bool]] = {
        "filename": [
            f"{person}/{person}_{int(row[1]):04}.jpg"
            for person, row in zip(people, rows, strict=True)
        ],
        "identity": people,
    }
    for place, name in enumerate(names, start=2):
        cells[name.strip().replace(" ", "_")] = [float(row[place]) > 0 for row in rows]
    root = images or open_images(_images_beside(listed))
    name = "lfw" if path == listed else path.name
    note = f"{listed}: LFW, {len(names)} attributes; a score above 0 says that one holds"
    by_tail = images is not None
    return open_rows(
        pa.table(cells), Root(root, by_tail), given, str(listed), name=name, notes=[note]
    )


def _read(path: Anywhere) -> tuple[list[str], list[list[str]]]:
    """Return the names of the attributes, and of each face the person, the number and scores."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file") from None
    lines = [
        [cell.strip() for cell in row]
        for row in csv.reader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE)
    ]
    head = next((row for row in lines if [cell.lower() for cell in row[1:3]] == _HEAD), None)
    if head is None:
        raise InputError(f"{path}: no line '# person imagenum …'; get LFW's list again")
    rows, names = [], head[3:]
    for number, row in enumerate(lines, start=1):
        if row and not row[0].startswith("#"):
            if len(row) != len(names) + 2 or not row[1].isdecimal() or not _are_numbers(row[2:]):
                raise InputError(
                    f"{path}: line {number}: expected a person, a number and {len(names)} scores; "
                    "get LFW's list again"
                )
            rows.append(row)
    return names, rows


def _are_numbers(cells: list[str]) -> bool:
    try:
        return all(float(cell) == float(cell) for cell in cells)
    except ValueError:
        return False


def _images_beside(listed: Anywhere) -> Anywhere:
    for name in FOLDERS:
        folder = listed.parent / name
        if folder.exists():
            nested = folder / name  # as Kaggle packs it
            return nested if nested.exists() else folder
        archive = folder.with_name(f"{name}.zip")
        if archive.exists():
            return archive
    return listed.parent
