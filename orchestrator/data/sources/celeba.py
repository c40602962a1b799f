"""CelebA, in each layout of `celeba_layout`.

The list of attributes is text, as the authors have it, or CSV with a header, as Kaggle has it::

    202599                                       image_id,5_o_Clock_Shadow,Arched_Eyebrows,…
    5_o_Clock_Shadow Arched_Eyebrows …           000001.jpg,-1,1,…
    000001.jpg -1  1 …

The number may be missing, and values be 0/1 for -1/1. The lists of splits (0 train, 1 val, 2 test)
and of people have a file and a number a line.
"""

import csv
from typing import Any

import numpy as np
import pandas as pd

from orchestrator.base.errors import InputError
from orchestrator.base.files import Anywhere
from orchestrator.data.reading.zip_members import SUFFIX, Archive
from orchestrator.data.sources.celeba_layout import ATTRIBUTES, IMAGES, PNG, find_layout
from orchestrator.data.sources.chosen_columns import Given, refuse_unused
from orchestrator.data.sources.facts import Facts
from orchestrator.data.sources.file_names import locate
from orchestrator.data.sources.label_rules import USUAL, apply_rule
from orchestrator.data.sources.source import ImageRoot, Source, make_source, open_images
from orchestrator.data.splits import SPLITS

BOTH = {"-1", "0"}
"""The two ways to say no, of which a list uses one."""


def open_celeba(
    folder: Anywhere,
    images: ImageRoot | None,
    given: Given,
) -> Source:
    """Read a CelebA folder.

    Parameters
    ----------
    folder
        As `find_layout` takes it.
    images
        The folder or archive of the images; None: the folder's own.
    given
        The rules for class 1 and for men (`apply_rule`); None: `USUAL`.

    Raises
    ------
    InputError
        A missing list or attribute, or a line that is not as CelebA's are.
    """
    refuse_unused(given, USUAL, str(folder), "is CelebA, whose lists say so")
    layout = find_layout(folder)
    label, group = (given.rule(key) or USUAL[key] for key in USUAL)
    if layout is None:
        raise InputError(
            f"{folder / ATTRIBUTES[0]}: no such file; give a CelebA folder (with "
            f"{ATTRIBUTES[0]} or .csv and {IMAGES}/ or {IMAGES}{SUFFIX}), a folder of .parquet "
            "files, a manifest, or --layout class/gender for folders that say so"
        )
    where, root = str(layout.attributes), images or open_images(layout.images())
    attributes = _read_attributes(layout.attributes)
    facts = Facts(attributes)
    names = attributes.index.tolist()
    located = locate(_as_stored(names, root), root, where, by_tail=False)
    split = _read_list(layout.partition, names, len(SPLITS)).map(dict(enumerate(SPLITS)))
    table = pd.DataFrame(
        {
            "filename": names,
            "path": located.paths,
            "label": apply_rule(label, facts, where),
            "gender": np.where(apply_rule(group, facts, where), 1, -1),
            "identity": _read_list(layout.identity, names, 2**31).to_numpy(),
            "split": split.astype(object).to_numpy(),
        }
    ).astype({"label": np.int8, "gender": np.int8, "identity": "Int32"})
    shown = root.path if isinstance(root, Archive) else root
    rules = f"class 1: {label.text}, men: {group.text}"
    return make_source(
        f"{layout.folder.name} ({label.text} by {group.text})",
        table,
        where,
        attributes=attributes,
        notes=(f"{layout}, images in {layout.within(shown)}; {rules}", *located.notes),
    )


def _as_stored(names: list[str], root: ImageRoot) -> list[str]:
    """Return the names of the files: CelebA's PNGs are called .jpg in its lists."""
    path = root.path if isinstance(root, Archive) else root
    if path.name.removesuffix(SUFFIX) != PNG:
        return names
    return [name.removesuffix(".jpg") + ".png" for name in names]


def _read_attributes(path: Anywhere) -> pd.DataFrame:
    """Return the attributes, columns of bool, by file name."""
    rows = _read_rows(path)
    counted = rows[0][0] if rows and len(rows[0]) == 1 and rows[0][0].isdigit() else None
    head, body = (1, rows[2:]) if counted else (0, rows[1:])
    names = rows[head][path.suffix == ".csv" :] if len(rows) > head else []
    if not body or not names or {"-1", "0", "1"}.intersection(names):
        raise InputError(
            f"{path}: not CelebA's list of attributes: it has no line of names before the images"
        )
    if counted and len(body) != int(counted):
        raise InputError(
            f"{path}: line 1 says {int(counted)} images, {len(body)} follow; get the file again"
        )
    files, values = [], np.empty((len(body), len(names)), bool)
    no: dict[str, int] = {}
    """How the list says no: the value, and the first line that has it."""
    for number, (file, *row) in enumerate(body, start=head + 2):
        if len(row) != len(names) or not {"-1", "0", "1"}.issuperset(row):
            raise InputError(
                f"{path}: line {number}: expected a file name and {len(names)} attributes, each "
                "-1 or 1; get the file again"
            )
        for value in BOTH.intersection(row):
            no.setdefault(value, number)
        files.append(file)
        values[number - head - 2] = [value == "1" for value in row]
    if len(no) == 2:
        raise InputError(
            f"{path}: line {no['0']} has 0 and line {no['-1']} has -1; write what does not hold "
            "as -1 or as 0, the same in all lines"
        )
    return pd.DataFrame(values, files, names)


def _read_list(path: Anywhere | None, names: list[str], below: int) -> "pd.Series[Any]":
    """Return the number that a two-column list gives for each name; missing where it has none."""
    if path is None:
        return pd.Series(pd.NA, names, dtype="Int32")
    numbers: dict[str, int] = {}
    for number, fields in enumerate(_read_rows(path), start=1):
        if number == 1 and path.suffix == ".csv":
            continue
        if len(fields) != 2 or not fields[1].isdecimal() or int(fields[1]) >= below:
            raise InputError(
                f"{path}: line {number}: expected a file name and a whole number below {below}, "
                f"found {' '.join(fields) or 'nothing'}; get the file again"
            )
        numbers[fields[0]] = int(fields[1])
    return pd.Series([numbers.get(name) for name in names], names, dtype="Int32")


def _read_rows(path: Anywhere) -> list[list[str]]:
    """Return the fields of each line; blank lines at the end are none."""
    try:
        lines = path.read_text(encoding="utf-8-sig").rstrip().splitlines()
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file") from None
    if path.suffix != ".csv":
        return [line.split() or [""] for line in lines]
    return [[field.strip() for field in row] or [""] for row in csv.reader(lines)]
