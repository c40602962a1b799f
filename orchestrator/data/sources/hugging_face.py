"""Data sets as the library of Hugging Face leaves them on a disk.

::

    save_to_disk    state.json, data-00000-of-00001.arrow; of several splits a folder each, and
                    dataset_dict.json; the images are in it, or named by it
    imagefolder     metadata.csv, .jsonl or .parquet beside the images that it names, perhaps one in
                    the folder of each split
"""

from collections.abc import Collection
from typing import NamedTuple

import pyarrow as pa

from orchestrator.base.errors import InputError
from orchestrator.base.files import Anywhere, one_line, read_json
from orchestrator.data.sources.chosen_columns import Given
from orchestrator.data.sources.embedded_parquet import open_embedded
from orchestrator.data.sources.manifest import Root, needed_columns, open_rows, place_files
from orchestrator.data.sources.manifest_columns import split_of
from orchestrator.data.sources.source import ImageRoot, Source
from orchestrator.data.sources.tables import read_table

STATE, SPLITS = "state.json", "dataset_dict.json"
METADATA = tuple(f"metadata{suffix}" for suffix in (".csv", ".jsonl", ".parquet"))


def find_saved(folder: Anywhere) -> dict[str, Anywhere]:
    """Return the files that `save_to_disk` has written, by their paths in the folder."""
    if (folder / SPLITS).exists():
        within = [str(name) for name in _field(folder / SPLITS, "splits")]
    else:
        within = [""] if (folder / STATE).exists() else []
    found = {}
    for split in within:
        base = folder / split if split else folder
        for file in _field(base / STATE, "_data_files"):
            name = str(file.get("filename")) if isinstance(file, dict) else str(file)
            found[f"{split}/{name}" if split else name] = base / name
    return found


def open_saved(folder: Anywhere, given: Given) -> Source:
    """Read what `save_to_disk` has written; the images are in it."""
    return open_embedded(folder, given, find_saved(folder))


def find_metadata(folder: Anywhere) -> dict[str, Anywhere]:
    """Return the tables of an imagefolder, by their paths in it."""
    found = {name: folder / name for name in METADATA if (folder / name).exists()}
    if not found:
        for name in METADATA:
            found |= {f"{file.parent.name}/{name}": file for file in folder.glob(f"*/{name}")}
    return dict(sorted(found.items()))


def open_tables(folder: Anywhere, images: ImageRoot | None, given: Given) -> Source:
    """Read an imagefolder, or what `save_to_disk` has written of names of images.

    Parameters
    ----------
    folder
        It has tables, as `join_tables` finds them.
    images
        As `open_manifest` takes them; None: the folder.
    given
        What the user says of the columns.

    Raises
    ------
    InputError
        Tables that differ, and all that `open_rows` refuses.
    """
    joined = join_tables(folder, given, needed_columns(given))
    root = Root(images or folder, images is not None)
    return open_rows(joined.table, root, given, joined.where, name=folder.name, notes=joined.notes)


class Joined(NamedTuple):
    """The tables of a folder, one below the other."""

    table: pa.Table
    where: str
    """What a message calls it."""
    notes: list[str]


def join_tables(folder: Anywhere, given: Given, needed: Collection[str] | None) -> Joined:
    """Read the tables that name a folder's images; those in a folder of a split say so.

    Parameters
    ----------
    folder
        It has tables, as `find_saved` or else `find_metadata` finds them.
    given
        What the user says of the columns.
    needed
        As `read_table` takes it.

    Raises
    ------
    InputError
        Tables that cannot be read, or differ.
    """
    tables: list[pa.Table] = []
    saved = find_saved(folder)
    found = saved or find_metadata(folder)
    kind = "a data set of save_to_disk" if saved else "an imagefolder"
    notes = [f"{folder}: {kind}, with {', '.join(found)}"]
    for name, file in found.items():
        table, said = read_table(file, needed)
        notes += said
        within = name.rpartition("/")[0]
        if within:
            table = table if saved else place_files(table, given, within, str(file))
            split = split_of(name)
            if split and "split" not in given.columns and "split" not in table.column_names:
                table = table.append_column("split", pa.array([split] * len(table), pa.string()))
        tables.append(table)
    try:
        joined = pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise InputError(f"{folder}: its tables differ ({one_line(error)})") from None
    where = str(folder) if len(found) > 1 else str(next(iter(found.values())))
    return Joined(joined, where, notes)


def _field(path: Anywhere, name: str) -> list[object]:
    content = read_json(path)
    value = content.get(name) if isinstance(content, dict) else None
    if not isinstance(value, list):
        raise InputError(f"{path}: no list {name}; save the data set again")
    return value
