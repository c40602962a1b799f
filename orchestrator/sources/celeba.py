"""A CelebA folder in torchvision's layout.

::

    img_align_celeba/000001.jpg …
    list_attr_celeba.txt       how many; the attributes' names; then `000001.jpg -1 1 …` a line
    list_eval_partition.txt    `000001.jpg 0` a line: 0 train, 1 val, 2 test (optional)
    identity_CelebA.txt        `000001.jpg 2880` a line (optional)
"""

from collections.abc import Callable
from difflib import get_close_matches
from functools import reduce
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orchestrator.errors import InputError
from orchestrator.files import Anywhere
from orchestrator.sources.base import Source, folder_name, locate, make_source
from orchestrator.splits import SPLITS

IMAGES, ATTRIBUTES = "img_align_celeba", "list_attr_celeba.txt"
PARTITION, IDENTITY = "list_eval_partition.txt", "identity_CelebA.txt"


def open_celeba(
    folder: Anywhere,
    images: Anywhere | None = None,
    label: str = "Blond_Hair|Eyeglasses",
    group: str = "Male",
) -> Source:
    """Read a CelebA folder.

    Parameters
    ----------
    folder
        Holds `ATTRIBUTES`, or a folder ``celeba`` that does.
    images
        The folder of the images; None: `IMAGES` in `folder`.
    label
        Class 1 by attributes joined with ``&``, ``^`` and ``|`` (and, xor, or; they bind in this
        order).
    group
        The attribute that is 1 for men.

    Raises
    ------
    InputError
        A missing list or attribute, or a line that is not as CelebA's are.
    """
    if not (folder / ATTRIBUTES).exists() and (folder / "celeba" / ATTRIBUTES).exists():
        folder = folder / "celeba"  # torchvision's root
    where = str(folder / ATTRIBUTES)
    attributes = _read_attributes(folder / ATTRIBUTES)
    names = attributes.index.tolist()
    partition = _read_list(folder / PARTITION, names, len(SPLITS))
    table = pd.DataFrame(
        {
            "filename": names,
            "path": locate(names, images or folder / IMAGES, where),
            "label": _evaluate(label, lambda name: _attribute(attributes, name, "--label", where)),
            "gender": np.where(_attribute(attributes, group, "--group", where), 1, -1),
            "identity": _read_list(folder / IDENTITY, names, 2**31).to_numpy(),
            "split": partition.map(dict(enumerate(SPLITS))).astype(object).to_numpy(),
        }
    ).astype({"label": np.int8, "gender": np.int8, "identity": "Int32"})
    return make_source(f"{folder_name(folder)} ({label} by {group})", table, where)


def _evaluate(rule: str, attribute: Callable[[str], NDArray[np.bool_]]) -> NDArray[np.bool_]:
    combine: Any
    for sign, combine in (("|", np.logical_or), ("^", np.logical_xor), ("&", np.logical_and)):
        if sign in rule:
            return reduce(combine, [_evaluate(part, attribute) for part in rule.split(sign)])
    return attribute(rule.strip())


def _attribute(table: pd.DataFrame, name: str, option: str, where: str) -> NDArray[np.bool_]:
    if name not in table.columns:
        near = get_close_matches(name, table.columns, cutoff=0.5) or list(table.columns)
        raise InputError(f"{option} {name}: no such attribute in {where}; near: {', '.join(near)}")
    return np.asarray(table[name] == 1)


def _read_attributes(path: Anywhere) -> pd.DataFrame:
    """Return the attributes (columns, -1 or 1) by file name (index)."""
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
    files, values = [], np.empty((len(rows), len(names)), np.int8)
    for number, line in enumerate(rows, start=3):
        file, *row = line.split() or [""]
        if len(row) != len(names) or not {"-1", "1"}.issuperset(row):
            raise InputError(
                f"{path}: line {number}: expected a file name and {len(names)} attributes, each "
                "-1 or 1; get the file again"
            )
        files.append(file)
        values[number - 3] = [1 if value == "1" else -1 for value in row]
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
            f"{path}: no such file; give a CelebA folder (with {ATTRIBUTES} and {IMAGES}/), or a "
            "manifest .csv or .parquet"
        ) from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file") from None
