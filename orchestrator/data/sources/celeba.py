"""A CelebA folder in torchvision's layout.

::

    img_align_celeba/000001.jpg …    or img_align_celeba.zip, as it is downloaded
    list_attr_celeba.txt       how many; the attributes' names; then `000001.jpg -1 1 …` a line
    list_eval_partition.txt    `000001.jpg 0` a line: 0 train, 1 val, 2 test (optional)
    identity_CelebA.txt        `000001.jpg 2880` a line (optional)
"""

from typing import Any

import numpy as np
import pandas as pd

from orchestrator.base.errors import InputError
from orchestrator.base.files import Anywhere
from orchestrator.data.reading.zip_members import SUFFIX
from orchestrator.data.sources.label_rules import apply_rule
from orchestrator.data.sources.source import ImageRoot, Source, locate, make_source, open_images
from orchestrator.data.splits import SPLITS

IMAGES, ATTRIBUTES = "img_align_celeba", "list_attr_celeba.txt"
PARTITION, IDENTITY = "list_eval_partition.txt", "identity_CelebA.txt"


def open_celeba(
    folder: Anywhere,
    images: ImageRoot | None = None,
    label: str = "Blond_Hair|Eyeglasses",
    group: str = "Male",
) -> Source:
    """Read a CelebA folder.

    Parameters
    ----------
    folder
        Holds `ATTRIBUTES`, or a folder ``celeba`` that does.
    images
        The folder or archive of the images; None: `IMAGES` in `folder`, or its zip archive.
    label, group
        The rules for class 1 and for men (`rules.apply_rule`).

    Raises
    ------
    InputError
        A missing list or attribute, or a line that is not as CelebA's are.
    """
    folder = find_celeba(folder) or folder
    where = str(folder / ATTRIBUTES)
    attributes = _read_attributes(folder / ATTRIBUTES)
    names = attributes.index.tolist()
    split = _read_list(folder / PARTITION, names, len(SPLITS)).map(dict(enumerate(SPLITS)))
    table = pd.DataFrame(
        {
            "filename": names,
            "path": locate(names, images or _own_images(folder), where),
            "label": apply_rule(label, attributes, "--label", where),
            "gender": np.where(apply_rule(group, attributes, "--group", where), 1, -1),
            "identity": _read_list(folder / IDENTITY, names, 2**31).to_numpy(),
            "split": split.astype(object).to_numpy(),
        }
    ).astype({"label": np.int8, "gender": np.int8, "identity": "Int32"})
    return make_source(f"{folder.name} ({label} by {group})", table, where, attributes=attributes)


def find_celeba(folder: Anywhere) -> Anywhere | None:
    """Return where CelebA's lists lie: in `folder`, or in ``celeba`` there (torchvision's root)."""
    return next((f for f in (folder, folder / "celeba") if (f / ATTRIBUTES).exists()), None)


def _own_images(folder: Anywhere) -> ImageRoot:
    archive = folder / (IMAGES + SUFFIX)
    packed = not (folder / IMAGES).exists() and archive.exists()
    return open_images(archive) if packed else folder / IMAGES


def _read_attributes(path: Anywhere) -> pd.DataFrame:
    """Return the attributes, columns of bool, by file name."""
    lines = _lines(path)
    if len(lines) < 3 or not lines[0].strip().isdigit():
        raise InputError(
            f"{path}: not CelebA's list of attributes: it starts with the number of images and a "
            "line of names"
        )
    names, rows = lines[1].split(), lines[2:]
    if len(rows) != int(lines[0]):
        raise InputError(
            f"{path}: line 1 says {int(lines[0])} images, {len(rows)} follow; get the file again"
        )
    files, values = [], np.empty((len(rows), len(names)), bool)
    for number, line in enumerate(rows, start=3):
        file, *row = line.split() or [""]
        if len(row) != len(names) or not {"-1", "1"}.issuperset(row):
            raise InputError(
                f"{path}: line {number}: expected a file name and {len(names)} attributes, each "
                "-1 or 1; get the file again"
            )
        files.append(file)
        values[number - 3] = [value == "1" for value in row]
    return pd.DataFrame(values, files, names)


def _read_list(path: Anywhere, names: list[str], below: int) -> "pd.Series[Any]":
    """Return the number that a two-column list gives for each name; missing where it has none."""
    if not path.exists():
        return pd.Series(pd.NA, names, dtype="Int32")
    numbers: dict[str, int] = {}
    for number, line in enumerate(_lines(path), start=1):
        fields = line.split()
        if len(fields) != 2 or not fields[1].isdecimal() or int(fields[1]) >= below:
            raise InputError(
                f"{path}: line {number}: expected a file name and a whole number below {below}, "
                f"found {line.strip() or 'nothing'}; get the file again"
            )
        numbers[fields[0]] = int(fields[1])
    return pd.Series([numbers.get(name) for name in names], names, dtype="Int32")


def _lines(path: Anywhere) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such file; give a CelebA folder (with {ATTRIBUTES} and {IMAGES}/ or "
            f"{IMAGES}{SUFFIX}), a folder of .parquet files, or a manifest"
        ) from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file") from None
