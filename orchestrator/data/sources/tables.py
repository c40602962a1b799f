"""Tables as people have them: text with separators, JSON lines, Parquet and Arrow.

Cells of text stay text, without the space around them, so that 007 is a name. A column without a
name, or one that pandas or Arrow made of an index, is none.
"""

import csv
import io
import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from orchestrator.base.errors import InputError
from orchestrator.base.files import Anywhere, one_line, reason_of
from orchestrator.data.reading import columnar, parquet_images
from orchestrator.data.sources.label_rules import is_numeric

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
TEXT = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
"""The separator that a suffix stands for, where others would do as well."""
JSON = (".jsonl", ".ndjson", ".json")
SUFFIXES = (*TEXT, *JSON, *columnar.SUFFIXES)
BOMS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
INDEX = re.compile(r"|Unnamed: \d+|__index_level_\d+__")
LOOKED_AT = 2**17
"""Characters that tell which separator a table has."""


def read_table(
    path: Anywhere, needed: Collection[str] | None = ()
) -> tuple[pa.Table, tuple[str, ...]]:
    """Read a table, and say what was not as usual in it.

    Parameters
    ----------
    path
        A file with one of `SUFFIXES`.
    needed
        Of Parquet and Arrow the columns to read, whatever their case, beside the numeric ones;
        None: all.

    Raises
    ------
    InputError
        A missing file, or one that is not what its name says.
    """
    notes: list[str] = []
    suffix = path.suffix.lower()
    try:
        if suffix in columnar.SUFFIXES:
            path.open("rb").close()  # Arrow would not say in a few words why it cannot be
            table = _read_columnar(path, needed, notes)
        else:
            text = _decode(path.read_bytes(), str(path), notes)
            table = (
                _read_json(text, str(path))
                if suffix in JSON
                else _read_text(text, TEXT.get(suffix, ","), str(path), notes)
            )
    except FileNotFoundError as error:
        raise InputError(f"{path}: {reason_of(error)}") from None
    except IsADirectoryError:
        raise InputError(f"{path}: a folder, not a manifest file") from None
    except pa.ArrowException as error:
        raise InputError(f"{path}: {one_line(error)}") from None
    table = table.rename_columns([name.strip() for name in table.column_names])
    kept = [i for i, name in enumerate(table.column_names) if not INDEX.fullmatch(name)]
    said = (f"{path}: {', '.join(notes)}",) if notes else ()
    return table.select(kept), said


def _read_columnar(path: Anywhere, wanted: Collection[str] | None, notes: list[str]) -> pa.Table:
    schema = columnar.read_schema(path)
    needed = {name.casefold().strip() for name in (schema.names if wanted is None else wanted)}
    names = [
        field.name
        for field in schema
        if field.name.strip().casefold() in needed or is_numeric(field.type)
    ]
    written_out = names_to_write_out(schema, needed)
    notes += describe_names(written_out)
    table = columnar.read_columns(path, names)
    for index, name in enumerate(table.column_names):
        if parquet_images.has_names(table.schema, name):  # and no bytes, or it were no table
            table = table.set_column(index, name, pc.struct_field(table[index], "path"))
    return columnar.write_out(table, written_out)


def names_to_write_out(schema: pa.Schema, needed: Collection[str]) -> dict[str, list[str]]:
    """Return the names that Hugging Face gives to numbers which say nothing themselves.

    Those are genders, and what is to be compared; of two values others are attributes, and people
    are numbers.
    """
    return {
        column: names
        for column, names in columnar.class_names(schema).items()
        if column.casefold() == "gender"
        or (len(names) > 2 and column.casefold() in {*needed} - {"identity", "celeb_id"})
    }


def describe_names(names: Mapping[str, Sequence[str]]) -> list[str]:
    """Say what numbers mean."""
    return [
        f"{column}: " + ", ".join(f"{number} is {name}" for number, name in enumerate(called))
        for column, called in names.items()
    ]


def _decode(data: bytes, where: str, notes: list[str]) -> str:
    """Return the text of a file, in UTF-8, in UTF-16 or, which is said, in Latin-1."""
    encoding = next((BOMS[bom] for bom in BOMS if data.startswith(bom)), "utf-8")
    if encoding == "utf-8" and b"\0" in data[:4]:
        encoding = "utf-16-be" if data.startswith(b"\0") else "utf-16-le"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        if encoding != "utf-8":
            raise InputError(f"{where}: damaged UTF-16; save it as UTF-8") from None
        try:
            # Latin-1 as Windows has it: the same, save for signs in place of controls.
            text = data.decode("cp1252")
        except UnicodeDecodeError:
            raise InputError(f"{where}: neither UTF-8 nor Latin-1; save it as UTF-8") from None
        notes.append("in Latin-1, as it is no UTF-8")
    if "\0" in text:
        raise InputError(f"{where}: not a text file")
    if encoding.startswith("utf-16"):
        notes.append("in UTF-16")
    return text


def _read_text(text: str, usual: str, where: str, notes: list[str]) -> pa.Table:
    told = re.match(r'"?sep=(.)"?\r?\n', text)  # so Excel is told which separator to use
    text = text[told.end() :] if told else text
    if not text.strip():
        raise InputError(f"{where}: Empty CSV file")
    text = text.lstrip("\r\n")
    separator = told[1] if told else _separator(text, usual, where)
    if separator != usual:
        notes.append(f"separated by {SEPARATORS.get(separator, separator)}")
    records = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        names = next(records)
    except csv.Error as error:
        raise InputError(f"{where}: row of names: {one_line(error)}") from None
    # Two columns may have one name; they are told apart by their places.
    places = [str(place) for place in range(len(names))]
    try:
        table = pyarrow.csv.read_csv(
            pa.py_buffer(text.encode()),
            # One thread, so that a complaint can name its row; text only.
            read_options=pyarrow.csv.ReadOptions(
                use_threads=False, column_names=places, skip_rows=records.line_num
            ),
            parse_options=pyarrow.csv.ParseOptions(delimiter=separator, newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(places, pa.string())
            ),
        )
    except pa.ArrowException as error:
        raise InputError(f"{where}: {_explain(error, records.line_num)}") from None
    return table.rename_columns(names)


def _separator(text: str, usual: str, where: str) -> str:
    """Return the separator that makes as many fields of every line; of several, the usual one."""
    head = text if len(text) <= LOOKED_AT else text[: text.rfind("\n", 0, LOOKED_AT) + 1]
    splitting = {sign: _widths(head, sign) for sign in SEPARATORS}
    several = [sign for sign, widths in splitting.items() if widths and widths[0] > 1]
    found = [sign for sign in several if len(set(splitting[sign])) == 1] or several
    if usual in found or not found:
        return usual
    if len(found) > 1:
        ways = " or by ".join(SEPARATORS[sign] for sign in found)
        raise InputError(f"{where}: may be separated by {ways}; save it with commas")
    return found[0]


def _widths(text: str, separator: str) -> list[int]:
    """Return how many fields each line has that is not blank; none where it cannot be told."""
    try:
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        return [len(fields) for fields in rows if fields]
    except csv.Error:
        return []


def _explain(error: pa.ArrowException, header: int) -> str:
    # Arrow counts the lines of the header.
    return re.sub(r"Row #(\d+)", lambda found: f"row {int(found[1]) - header}", one_line(error))


def _read_json(text: str, where: str) -> pa.Table:
    """Read an object a line, or an array of objects."""
    whole = text.lstrip().startswith("[")
    pieces = [text] if whole else text.split("\n")
    rows: list[Any] = []
    for number, piece in enumerate(pieces, start=1):
        try:
            found = json.loads(piece) if piece.strip() else []
        except (ValueError, RecursionError) as error:
            at = "" if whole else f"line {number}: "
            raise InputError(f"{where}: {at}not JSON ({one_line(error)})") from None
        rows += found if isinstance(found, list) else [found]
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise InputError(f"{where}: row {number}: no object; write {{...}} for each face")
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[_cell(row.get(name)) for row in rows] for name in names]
    try:
        return pa.table([pa.array(column, pa.string()) for column in cells], names=names)
    except UnicodeError as error:  # half of a pair of UTF-16, written as an escape
        raise InputError(f"{where}: {one_line(error)}; write it as text") from None


def _cell(value: Any) -> str | None:
    """Return a value as the text of it that a CSV would have."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value)
