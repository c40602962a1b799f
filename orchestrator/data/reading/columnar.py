"""Parquet and Arrow files, read by columns."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestrator.base.files import Anywhere
from orchestrator.base.source_files import source_of

PARQUET = (".parquet", ".pq")
ARROW = (".arrow", ".feather", ".ipc")
SUFFIXES = (*PARQUET, *ARROW)


def read_schema(path: Anywhere) -> pa.Schema:
    """Return the columns of a file and their types."""
    return pq.read_schema(source_of(path)) if is_parquet(path) else _open(path).schema


def read_columns(
    path: Anywhere, names: Sequence[str], field: tuple[str, str] | None = None
) -> pa.Table:
    """Read some columns of a file.

    Parameters
    ----------
    path
        The file.
    names
        The columns.
    field
        A column of structs and a field of it: the last column is that field, by the column's name.
    """
    column, inner = field or ("", "")
    if is_parquet(path):
        more = [f"{column}.{inner}"] if field else []
        table = pq.ParquetFile(source_of(path), pre_buffer=True).read(columns=[*names, *more])
    else:
        wanted = {*names, *([column] if field else [])}
        types = pa.schema([kind for kind in read_schema(path) if kind.name in wanted])
        table = pa.Table.from_batches(read_batches(path, wanted), types)
    if not field:
        return table
    values = pc.struct_field(table[column], inner)
    return table.drop_columns(column).append_column(column, values)


def class_names(schema: pa.Schema) -> dict[str, list[str]]:
    """Return what the numbers of columns mean, from 0, where Hugging Face has written it."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {
            column: [str(name) for name in feature["names"]]
            for column, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}


def write_out(table: pa.Table, names: Mapping[str, Sequence[str]]) -> pa.Table:
    """Put names for the numbers of some columns; a number without one, as -1, is missing."""
    for column, called in names.items():
        if table.column_names.count(column) == 1:
            known = dict(enumerate(called))
            cells = [known.get(number) for number in table[column].to_pylist()]
            index = table.column_names.index(column)
            table = table.set_column(index, column, pa.array(cells, pa.string()))
    return table


def read_batches(path: Anywhere, names: Collection[str]) -> Iterator[pa.RecordBatch]:
    """Give the rows of an Arrow file, as many together as there, of some columns, in its order."""
    # By their places, as two columns may have one name.
    fields = [place for place, name in enumerate(read_schema(path).names) if name in names]
    if not fields:
        return
    reader = _open(path, pa.ipc.IpcReadOptions(included_fields=fields))
    if isinstance(reader, pa.ipc.RecordBatchFileReader):
        yield from (reader.get_batch(number) for number in range(reader.num_record_batches))
    else:
        yield from reader


def is_parquet(path: Anywhere) -> bool:
    """Tell Parquet from Arrow's own formats."""
    return path.suffix.lower() not in ARROW


def _open(path: Anywhere, options: pa.ipc.IpcReadOptions | None = None) -> pa.ipc.RecordBatchReader:
    """Open an Arrow file, or a stream of one, as Hugging Face saves it."""
    source = source_of(path)
    # A local file is mapped, so that what is passed over is not read.
    file = pa.memory_map(source) if isinstance(source, str) else pa.PythonFile(source, "r")
    with path.open("rb") as start:
        streamed = start.read(6) != b"ARROW1"
    return (pa.ipc.open_stream if streamed else pa.ipc.open_file)(file, options=options)
