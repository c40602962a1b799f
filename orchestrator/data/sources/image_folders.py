"""Folders and archives of images that say by their names what is in them.

By ``--layout`` each folder on the way to an image is a column, such as ``class/gender`` for
``blond/female/1.jpg``. UTKFace says it in the file's name, ``AGE_GENDER_RACE_DATE.jpg``.
"""

import re
from collections.abc import Sequence

import pyarrow as pa

from orchestrator.base.errors import InputError
from orchestrator.base.files import Anywhere, is_local
from orchestrator.data.reading.file_kinds import IMAGE_SUFFIXES, is_junk
from orchestrator.data.reading.zip_members import Archive
from orchestrator.data.sources.chosen_columns import Given
from orchestrator.data.sources.file_names import files_in
from orchestrator.data.sources.manifest import Root, open_rows
from orchestrator.data.sources.source import ImageRoot, Source, open_images

ANY = "*"
"""A folder of a layout that says nothing."""
UTKFACE = re.compile(r"(\d{1,3})_([01])_([0-4])_\d+\.jpg(\.chip\.jpg)?", re.IGNORECASE)
UTKFACE_GENDERS = ("male", "female")
UTKFACE_SHARE = 0.5
"""Of the images that are called so in a folder that is UTKFace."""
SHOWN = 20


def open_layout(path: Anywhere, layout: str, given: Given) -> Source:
    """Read a folder or archive whose folders say what is in them.

    Parameters
    ----------
    path
        The folder or archive.
    layout
        Names of columns, one a folder, with slashes between; `ANY` for one that says nothing.
    given
        What the user says of these columns.

    Raises
    ------
    InputError
        An image that is not in as many folders, and all that `open_rows` refuses.
    """
    root = open_images(path)
    columns = [part.strip() for part in layout.strip("/").split("/")]
    said = [column for column in columns if column != ANY]
    if not all(columns) or len({*said}) < len(said) or "filename" in said:
        raise InputError(f"--layout {layout}: give a name for each folder, as class/gender, or *")
    files = images_in(root, str(path))
    for file in files:
        if file.count("/") != len(columns):
            raise InputError(
                f"--layout {layout}: {file} is in {file.count('/')} folders of {path}, not in "
                f"{len(columns)}; give a name for each folder, or * for one that says nothing"
            )
    cells = {"filename": files}
    for place, column in enumerate(columns):
        if column != ANY:
            cells[column] = [file.split("/")[place] for file in files]
    note = f"{path}: {len(files):,} images by {layout}"
    return open_rows(pa.table(cells), Root(root), given, str(path), name=path.name, notes=[note])


def is_utkface(path: Anywhere) -> bool:
    """Tell whether most images of a folder or archive are called as UTKFace's."""
    names = [file.rpartition("/")[2] for file in images_in(open_images(path), "")]
    called = sum(bool(UTKFACE.fullmatch(name)) for name in names)
    return called > UTKFACE_SHARE * len(names)


def open_utkface(path: Anywhere, given: Given) -> Source:
    """Read UTKFace: its columns are age, gender and race (a number, as UTKFace has it).

    Parameters
    ----------
    path
        The folder or archive of the images.
    given
        What the user says of these columns; what is class 1 is for the user to say.

    Raises
    ------
    InputError
        All that `open_rows` refuses.
    """
    root = open_images(path)
    files = images_in(root, str(path))
    told = {file: UTKFACE.fullmatch(file.rpartition("/")[2]) for file in files}
    parts = {file: found.groups() for file, found in told.items() if found}
    table = pa.table(
        {
            "filename": list(parts),
            "age": pa.array([int(age) for age, *_ in parts.values()], pa.int16()),
            "gender": [UTKFACE_GENDERS[int(gender)] for _, gender, *_ in parts.values()],
            "race": [race for _, _, race, _ in parts.values()],
        }
    )
    notes = [
        f"{path}: UTKFace, with age, gender (0 is male, 1 female) and race by the files' names"
    ]
    if left := [file for file in files if file not in parts]:
        more = f" and {len(left) - SHOWN:,} more" if len(left) > SHOWN else ""
        notes.append(
            f"{path}: {len(left):,} files lack a part of their name, and are left out: "
            f"{', '.join(left[:SHOWN])}{more}"
        )
    return open_rows(table, Root(root), given, str(path), name=path.name, notes=notes)


def images_in(root: ImageRoot, where: str) -> Sequence[str]:
    """Return the names of all images, in order; `where` is blamed if there are none."""
    if isinstance(root, Archive) or is_local(root):
        names = list(files_in(root))
    else:
        prefix = len(str(root).rstrip("/")) + 1
        names = [str(file)[prefix:] for file in root.rglob("*")]
    found = sorted(
        name
        for name in names
        if not is_junk(name) and "." + name.rpartition(".")[2].lower() in IMAGE_SUFFIXES
    )
    if where and not found:
        raise InputError(f"{where}: no images in it ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return found
