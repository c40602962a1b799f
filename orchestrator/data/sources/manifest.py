"""A manifest: a CSV or Parquet table with the columns filename, class and gender.

The file may be called by another of `NAMES`, if only one of them is there. ``class`` is 0/1 or
-1/1, one way throughout; ``gender`` is -1 (woman) or 1 (man). Optional are ``identity`` (a whole
number for each person, or empty) and ``split`` (train, val or test). Of other columns those of two
values (0/1, -1/1, true/false) are attributes, of which class and gender are made where they lack,
and the rest is ignored. Rows are counted from 1, the header not among them.
"""

import re
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from orchestrator.base.errors import InputError
from orchestrator.base.files import Anywhere, one_line, parse_uri, reason_of
from orchestrator.data.sources.label_rules import classify, find_attributes, is_numeric
from orchestrator.data.sources.manifest_columns import (
    parse_genders,
    parse_identities,
    parse_labels,
    parse_splits,
    parse_texts,
)
from orchestrator.data.sources.source import ImageRoot, Source, locate, make_source

COLUMNS = ("class", "gender", "identity", "split")
NAMES = ("filename", "file_name", "file", "image", "image_id", "img", "path")
"""What the column with the files may be called; the first is preferred."""


def open_manifest(
    path: Anywhere,
    images: ImageRoot | None = None,
    label: str | None = None,
    group: str | None = None,
) -> Source:
    """Read a manifest.

    Parameters
    ----------
    path
        A ``.csv`` or ``.parquet`` file.
    images
        The folder or archive that file names resolve against; None: the manifest's own folder.
    label, group
        Rules over attributes, as `classify` takes them.

    Raises
    ------
    InputError
        A missing file or column, or a value that is not allowed; the message names the row.
    """
    where = str(path)
    table = _read(path)
    column = _file_column(table, where)
    names = parse_texts(_column(table, column))
    faces = pd.DataFrame(
        {
            "filename": names,
            "path": locate(names, images or parse_uri(path.parent), where),
            "identity": parse_identities(_column(table, "identity"), where),
            "split": parse_splits(_column(table, "split"), where),
        }
    )
    attributes = find_attributes(table, besides=(column, *COLUMNS))
    if label is None and "class" in table.column_names:
        faces["label"] = parse_labels(_column(table, "class"), where)
    if group is None and "gender" in table.column_names:
        faces["gender"] = parse_genders(_column(table, "gender"), where)
    if attributes is None:
        _refuse_lacking(table, where)
    rules = classify(faces, attributes, (label, group), where, table.column_names)
    notes = (f"{where}: files: {column}",) if column != NAMES[0] else ()
    name = path.name + rules.name
    return make_source(name, faces, where, attributes=attributes, notes=(*notes, *rules.notes))


def _file_column(table: pa.Table, where: str) -> str:
    """Return the name of the column with the files."""
    named, *others = NAMES
    there = [named] if named in table.column_names else []
    there += [name for name in others if name in table.column_names and _is_text(table[name])]
    if there[:1] == [named] or len(there) == 1:
        return there[0]
    if there:
        raise InputError(
            f"{where}: {' and '.join(there)} may each be the files; call one of them {named}"
        )
    raise InputError(_lacks(named, table, where))


def _is_text(column: pa.ChunkedArray) -> bool:
    """Tell whether a column holds text, perhaps as pandas keeps categories."""
    type_ = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_))


def _refuse_lacking(table: pa.Table, where: str) -> None:
    """Name the column that lacks, where there are no attributes to make it of."""
    for name in ("class", "gender"):
        if name not in table.column_names:
            raise InputError(_lacks(name, table, where))


def _lacks(name: str, table: pa.Table, where: str) -> str:
    return (
        f"{where}: no column {name}; a manifest has {', '.join((NAMES[0], *COLUMNS[:2]))} and may "
        f"have {', '.join(COLUMNS[2:])}, this one has {', '.join(table.column_names)}"
    )


def _read(path: Anywhere) -> pa.Table:
    """Read the columns that a manifest must and may have, and those that may be attributes."""
    try:
        with path.open("rb") as file:
            table = _read_parquet(file) if path.suffix == ".parquet" else _read_csv(file)
    except FileNotFoundError as error:
        raise InputError(f"{path}: {reason_of(error)}") from None
    except IsADirectoryError:
        raise InputError(f"{path}: a folder, not a manifest file") from None
    except pa.ArrowException as error:
        raise InputError(f"{path}: {_explain(error)}") from None
    for name in (*NAMES, *COLUMNS):
        if table.column_names.count(name) > 1:
            raise InputError(f"{path}: column {name} twice; keep one of them")
    return table


def _column(table: pa.Table, name: str) -> list[Any]:
    """Return a column as a list; all None if the table lacks it."""
    return table[name].to_pylist() if name in table.column_names else [None] * len(table)


def _read_csv(file: Any) -> pa.Table:
    everything = file.read()
    header = everything.removeprefix(b"\xef\xbb\xbf").split(b"\n", 1)[0]
    names = [name.strip().strip('"') for name in header.decode(errors="replace").split(",")]
    return pyarrow.csv.read_csv(
        pa.py_buffer(everything),
        # One thread, so that a complaint can name its row; text only, so that 007 stays a name.
        read_options=pyarrow.csv.ReadOptions(use_threads=False, column_names=names, skip_rows=1),
        convert_options=pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
    )


def _read_parquet(file: Any) -> pa.Table:
    parquet = pyarrow.parquet.ParquetFile(file)
    return parquet.read(
        columns=[
            field.name
            for field in parquet.schema_arrow
            if field.name in (*NAMES, *COLUMNS) or is_numeric(field.type)
        ]
    )


def _explain(error: pa.ArrowException) -> str:
    # Arrow counts the header.
    return re.sub(r"Row #(\d+)", lambda found: f"row {int(found[1]) - 1}", one_line(error))
