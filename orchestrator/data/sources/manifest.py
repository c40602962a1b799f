"""A manifest: a table with a row a face, of the columns filename, class and gender.

The file may be called by another of `NAMES`, if only one of them is there, and every column as
``--column`` says. ``class`` is 0/1 or -1/1, one way throughout, or yes and no; ``gender`` is -1
(woman) or 1 (man), or a word for one. Optional are ``identity`` (a whole number or a word for each
person, or empty) and ``split`` (train, val or test). Of other columns those of two values (0/1,
-1/1, true/false) are attributes, of which class and gender are made where they lack, and the rest
is ignored. Rows are counted from 1, the header not among them.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from orchestrator.base.errors import InputError
from orchestrator.base.files import Anywhere, parse_uri
from orchestrator.data.reading.file_kinds import is_junk
from orchestrator.data.sources.chosen_columns import (
    KEYS,
    Chosen,
    Given,
    choose_columns,
    find_column,
    given_column,
    read_columns,
    refuse_unused,
)
from orchestrator.data.sources.facts import Facts
from orchestrator.data.sources.file_names import locate
from orchestrator.data.sources.label_rules import (
    classify,
    find_attributes,
    lacking,
    say_lacking,
)
from orchestrator.data.sources.manifest_columns import (
    parse_genders,
    parse_identities,
    parse_texts,
)
from orchestrator.data.sources.source import ImageRoot, Source, make_source
from orchestrator.data.sources.tables import read_table

COLUMNS = ("class", "gender", "identity", "split")
NAMES = ("filename", "file_name", "file", "image", "image_id", "img", "path")
"""What the column with the files may be called; the first is preferred."""


def open_manifest(path: Anywhere, images: ImageRoot | None, given: Given) -> Source:
    """Read a manifest.

    Parameters
    ----------
    path
        A table, as `read_table` takes it.
    images
        The folder or archive that file names resolve against; None: the manifest's own folder.
    given
        What the user says of its columns.

    Raises
    ------
    InputError
        A missing file or column, or a value that is not allowed; the message names the row.
    """
    table, notes = read_table(path, needed_columns(given))
    root = images or parse_uri(path.parent)
    by_tail = images is not None
    return open_rows(table, Root(root, by_tail), given, str(path), name=path.name, notes=notes)


def needed_columns(given: Given) -> set[str]:
    """Return the names of the columns to read, beside attributes."""
    return {*NAMES, *COLUMNS, *given.mentioned()}


def place_files(table: pa.Table, given: Given, folder: str, where: str) -> pa.Table:
    """Put a folder before the names of the files in a table."""
    column = find_files(table, given, where)
    names = [f"{folder}/{name}" if name else "" for name in parse_texts(table[column].to_pylist())]
    index = table.column_names.index(column)
    return table.set_column(index, column, pa.array(names, pa.string()))


def find_files(table: pa.Table, given: Given, where: str, lacks: Sequence[str] = ()) -> str:
    """Return the name of the column with the files.

    Parameters
    ----------
    table, given, where
        As `open_rows` takes them.
    lacks
        What else has no column, to be said together.

    Raises
    ------
    InputError
        There is none, or it may be one of several.
    """
    columns = table.column_names
    found = given_column(NAMES[0], columns, given, where) or _file_column(table, where)
    if found is None:
        raise InputError(say_lacking([NAMES[0], *lacks], columns, where))
    return found


def find_genders(table: pa.Table, given: Given, where: str) -> NDArray[np.int8]:
    """Return the genders of the rows of a table, -1 or 1, from its column or a rule.

    Parameters
    ----------
    table, given, where
        As `open_rows` takes them.

    Raises
    ------
    InputError
        It has none, or a value that is not allowed.
    """
    names = table.column_names
    if "gender" not in given.columns and find_column(names, "gender", where) is None:
        raise InputError(
            f"{where}: no column gender; say which it is, as --column gender=COLUMN; its columns "
            f"are {', '.join(names) or 'none'}"
        )
    chosen = choose_columns(table, given, where)
    if (column := chosen.columns.get("gender")) is not None:
        return parse_genders(table[column].to_pylist(), where, column)
    faces = pd.DataFrame(index=range(len(table)))
    facts = Facts(find_attributes(table, ()), table)
    classify(faces, facts, {"gender": chosen.rules["gender"]}, where, names)
    found: NDArray[np.int8] = faces["gender"].to_numpy()
    return found


class Root(NamedTuple):
    """Where the files lie that a table names."""

    images: ImageRoot
    given: bool = False
    """The user says so: then names may be paths of another machine."""


def open_rows(
    table: pa.Table,
    root: Root,
    given: Given,
    where: str,
    *,
    name: str,
    notes: Sequence[str] = (),
) -> Source:
    """Make a source of the rows of a table, however it came about.

    Parameters
    ----------
    table
        Its columns.
    root
        What file names resolve against.
    given
        What the user says of the columns.
    where, name
        What messages call it, and what the data set is called.
    notes
        What is to be said before.

    Raises
    ------
    InputError
        A missing column, or a value that is not allowed.
    """
    refuse_unused(given, KEYS[:-1], where, "names images that are files")
    chosen = choose_columns(table, given, where)
    lacks = lacking(chosen.rules, table.column_names)
    column = find_files(table, given, where, lacks)
    faces = read_columns(table, chosen, where)
    names = parse_texts(table[column].to_pylist())
    located = locate(names, root.images, where, by_tail=root.given)
    faces["filename"], faces["path"] = names, located.paths
    faces["identity"] = _identities(table, chosen, where)
    besides = (column, *COLUMNS, *(chosen.columns.get(key, "") for key in COLUMNS[2:]))
    attributes = find_attributes(table, besides)
    said = list(notes)
    said += [f"{where}: files: {column}"] if column != NAMES[0] else []
    said += [note for note in chosen.notes if not note.startswith(f"{where}: filename:")]
    said += classify(faces, Facts(attributes, table), chosen.rules, where, table.column_names)
    said += located.notes
    junk = faces["filename"].map(is_junk).to_numpy(bool)
    if junk.any():
        left_out = ", ".join(f"{names[row]} (row {row + 1})" for row in np.flatnonzero(junk))
        said.append(f"{where}: no images, and left out: {left_out}")
        faces, attributes = faces[~junk], attributes if attributes is None else attributes[~junk]
    name += chosen.name()
    found = chosen.described(filename=column)
    return make_source(name, faces, where, attributes=attributes, notes=tuple(said), columns=found)


def _file_column(table: pa.Table, where: str) -> str | None:
    """Return the name of the column with the files, where none is called filename."""
    columns = table.column_names
    found = [name for other in NAMES[1:] if (name := find_column(columns, other, where))]
    there = [name for name in found if _is_text(table[name])]
    if len(there) > 1:
        raise InputError(
            f"{where}: {' and '.join(there)} may each be the files; say which, as --column "
            f"filename={there[0]}"
        )
    return there[0] if there else None


def _is_text(column: pa.ChunkedArray) -> bool:
    """Tell whether a column holds text, perhaps as pandas keeps categories."""
    type_ = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_))


def _identities(table: pa.Table, chosen: Chosen, where: str) -> "pd.Series[int]":
    column = chosen.columns.get("identity")
    values = table[column].to_pylist() if column else [None] * len(table)
    return parse_identities(values, where, column or "identity")
