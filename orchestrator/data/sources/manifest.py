"""A manifest: a CSV or Parquet table with the columns filename, class and gender.

``class`` is 0/1 or -1/1, one way throughout; ``gender`` is -1 (woman) or 1 (man). Optional are
``identity`` (a whole number for each person, or empty) and ``split`` (train, val or test). Of other
columns those of two values (0/1, -1/1, true/false) are attributes, and the rest is ignored. Rows
are counted from 1, the header not among them.
"""

import re
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from orchestrator.base.errors import InputError
from orchestrator.base.files import Anywhere, one_line, parse_uri, reason_of
from orchestrator.data.sources.label_rules import find_attributes, is_numeric
from orchestrator.data.sources.manifest_columns import (
    parse_genders,
    parse_identities,
    parse_labels,
    parse_splits,
    parse_texts,
)
from orchestrator.data.sources.source import ImageRoot, Source, locate, make_source

REQUIRED, OPTIONAL = ("filename", "class", "gender"), ("identity", "split")


def open_manifest(path: Anywhere, images: ImageRoot | None = None) -> Source:
    """Read a manifest.

    Parameters
    ----------
    path
        A ``.csv`` or ``.parquet`` file.
    images
        The folder or archive that file names resolve against; None: the manifest's own folder.

    Raises
    ------
    InputError
        A missing file or column, or a value that is not allowed; the message names the row.
    """
    where = str(path)
    table = _read(path)
    names = parse_texts(_column(table, "filename"))
    faces = pd.DataFrame(
        {
            "filename": names,
            "path": locate(names, images or parse_uri(path.parent), where),
            "label": parse_labels(_column(table, "class"), where),
            "gender": parse_genders(_column(table, "gender"), where),
            "identity": parse_identities(_column(table, "identity"), where),
            "split": parse_splits(_column(table, "split"), where),
        }
    )
    attributes = find_attributes(table, besides=(*REQUIRED, *OPTIONAL))
    return make_source(path.name, faces, where, attributes=attributes)


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
    for name in (*REQUIRED, *OPTIONAL):
        found = table.column_names.count(name)
        if found > 1 or (name in REQUIRED and not found):
            fault = "column {} twice" if found else "no column {}"
            raise InputError(
                f"{path}: {fault.format(name)}; a manifest has {', '.join(REQUIRED)} and may have "
                f"{', '.join(OPTIONAL)}, this one has {', '.join(table.column_names)}"
            )
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
            if field.name in (*REQUIRED, *OPTIONAL) or is_numeric(field.type)
        ]
    )


def _explain(error: pa.ArrowException) -> str:
    # Arrow counts the header.
    return re.sub(r"Row #(\d+)", lambda found: f"row {int(found[1]) - 1}", one_line(error))
