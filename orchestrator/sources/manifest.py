"""A manifest: a CSV or Parquet table with the columns filename, class and gender.

``class`` is 0/1 or -1/1, one way throughout; ``gender`` is -1 (woman) or 1 (man). Optional are
``identity`` (a whole number for each person, or empty) and ``split`` (train, val or test). Other
columns are ignored. Rows are counted from 1, the header not among them.
"""

import re
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from orchestrator.errors import InputError
from orchestrator.files import Anywhere, place
from orchestrator.sources.base import Source, folder_name, locate, make_source
from orchestrator.splits import SPLITS

REQUIRED, OPTIONAL = ("filename", "class", "gender"), ("identity", "split")


def open_manifest(path: Anywhere, images: Anywhere | None = None) -> Source:
    """Read a manifest.

    Parameters
    ----------
    path
        A ``.csv`` or ``.parquet`` file.
    images
        The folder that relative file names resolve against; None: the manifest's own.

    Raises
    ------
    InputError
        A missing file or column, or a value that is not allowed; the message names the row.
    """
    where = str(path)
    columns = _read(path)
    names = _text(columns["filename"])
    table = pd.DataFrame(
        {
            "filename": names,
            "path": locate(names, images or place(path.parent), where),
            "label": _labels(columns["class"], where),
            "gender": _whole(columns["gender"], where, "gender", {-1, 1}, "-1 (woman) or 1 (man)"),
            "identity": _identities(columns["identity"], where),
            "split": _splits(columns["split"], where),
        }
    )
    return make_source(folder_name(path), table, where)


def _read(path: Anywhere) -> dict[str, list[Any]]:
    """Return the columns as lists; an optional one that is missing is all None."""
    try:
        with path.open("rb") as file:
            table = _read_parquet(file) if path.suffix == ".parquet" else _read_csv(file)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
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
    missing = [None] * len(table)
    return {
        name: table[name].to_pylist() if name in table.column_names else missing
        for name in (*REQUIRED, *OPTIONAL)
    }


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
    present = [name for name in parquet.schema_arrow.names if name in (*REQUIRED, *OPTIONAL)]
    return parquet.read(columns=present)


def _explain(error: pa.ArrowException) -> str:
    text = " ".join(str(error).split())
    # Arrow counts the header.
    return re.sub(r"Row #(\d+)", lambda found: f"row {int(found[1]) - 1}", text)


def _text(values: list[Any]) -> list[str]:
    return ["" if value is None else str(value).strip() for value in values]


def _labels(values: list[Any], where: str) -> NDArray[np.int8]:
    classes = _whole(values, where, "class", {-1, 0, 1}, "0 or 1 (or -1 or 1 throughout)")
    zeros, negatives = np.flatnonzero(classes == 0), np.flatnonzero(classes == -1)
    if len(zeros) and len(negatives):
        raise InputError(
            f"{where}: row {zeros[0] + 1} has class 0 and row {negatives[0] + 1} has class -1; "
            "write the other class as 0 or as -1, the same in all rows"
        )
    return np.equal(classes, 1).astype(np.int8)


def _whole(
    values: list[Any], where: str, column: str, allowed: set[int], expected: str
) -> NDArray[np.int8]:
    numbers: NDArray[np.float64] = np.asarray(
        pd.to_numeric(pd.Series(values, dtype=object), errors="coerce"), float
    )
    wrong = np.flatnonzero(~np.isin(numbers, list(allowed)))
    if len(wrong):
        raise InputError(
            f"{where}: row {wrong[0] + 1}: {column} is {_shown(values[wrong[0]])}; "
            f"it must be {expected}"
        )
    return numbers.astype(np.int8)


def _identities(values: list[Any], where: str) -> "pd.Series[Any]":
    given = pd.Series([None if value in ("", None) else value for value in values], dtype=object)
    numbers = pd.to_numeric(given, errors="coerce").astype(float)
    fits = (numbers >= 0) & (numbers < 2**31) & (numbers % 1 == 0)
    wrong = np.flatnonzero((given.notna() & ~fits).to_numpy())
    if len(wrong):
        raise InputError(
            f"{where}: row {wrong[0] + 1}: identity is {_shown(values[wrong[0]])}; "
            "it must be a whole number from 0, one a person, or empty"
        )
    return numbers.astype("Int32")


def _splits(values: list[Any], where: str) -> "pd.Series[Any]":
    names = _text(values)
    for row, name in enumerate(names, start=1):
        if name and name not in SPLITS:
            raise InputError(
                f"{where}: row {row}: split is {_shown(name)}; it must be one of "
                f"{', '.join(SPLITS)}, or empty"
            )
    return pd.Series([name or None for name in names], dtype=object)


def _shown(value: Any) -> str:
    return "empty" if value in ("", None) else str(value)
