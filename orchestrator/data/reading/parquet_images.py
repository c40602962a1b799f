"""Images that lie as bytes in a column of a Parquet or Arrow file, as Hugging Face has them.

The column is a struct with a field ``bytes``, or binary itself. A cell's path is
``parquet://ROW::FILE``, or ``parquet://ROW@COLUMN::FILE`` where the column is not called ``image``.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import groupby
from threading import Lock
from typing import NamedTuple
from urllib.parse import quote, unquote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestrator.base.files import Anywhere, parse_uri, version_of
from orchestrator.base.source_files import source_of
from orchestrator.data.reading import columnar

SCHEME = "parquet://"
COLUMN = "image"
MAGIC = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*")
"""What files of images begin with."""
LOOKED_AT = 100
"""Rows in which an image is looked for."""
BATCH_ROWS = 32
"""Rows in memory at a time."""
BUFFER = 2**20
"""Bytes of a file fetched at a time."""


class Cell(NamedTuple):
    """Where an image lies."""

    row: int
    column: str
    file: str


def uri(row: int, file: Anywhere, column: str = COLUMN) -> str:
    """Return the path of the image in a row, counted from 0, for `read_cells`."""
    named = "" if column == COLUMN else f"@{quote(column, safe='')}"
    return f"{SCHEME}{row}{named}::{file}"


def split(path: str) -> Cell:
    """Return what `uri` made a path of."""
    cell, _, file = path.removeprefix(SCHEME).partition("::")
    row, _, column = cell.partition("@")
    return Cell(int(row), unquote(column) or COLUMN, file)


def holds_bytes(schema: pa.Schema, column: str = COLUMN) -> bool:
    """Tell whether a column is of a type that may hold the bytes of images."""
    index = schema.get_field_index(column)
    type_ = schema.field(index).type if index >= 0 else pa.null()
    return _is_bytes(type_.field("bytes").type if _is_struct_of(type_, "bytes") else type_)


def has_names(schema: pa.Schema, column: str = COLUMN) -> bool:
    """Tell whether the images have names, in a field ``path``."""
    index = schema.get_field_index(column)
    type_ = schema.field(index).type if index >= 0 else pa.null()
    return _is_struct_of(type_, "path") and pa.types.is_string(type_.field("path").type)


def holds_names(path: Anywhere, schema: pa.Schema, column: str = COLUMN) -> bool:
    """Tell whether the images have names, and none of the first has bytes."""
    if not has_names(schema, column):
        return False
    first = read_cells([uri(row, path, column) for row in range(LOOKED_AT)])
    return not any(isinstance(data, bytes) for data in first)


def image_columns(path: Anywhere, schema: pa.Schema) -> list[str]:
    """Return the columns whose first bytes are those of an image."""
    found = []
    for column in schema.names:
        if holds_bytes(schema, column):
            first = read_cells([uri(row, path, column) for row in range(LOOKED_AT)])
            if next((data for data in first if isinstance(data, bytes)), b"").startswith(MAGIC):
                found.append(column)
    return found


def read_cells(paths: Sequence[str]) -> Iterator[bytes | Exception]:
    """Read images out of Parquet files; for one that cannot be read, give the exception instead.

    Parameters
    ----------
    paths
        As `uri` makes them. Neighbouring rows in ascending order are read once each; a step back
        reads a row group again from its start.

    Raises
    ------
    Exception
        Whatever the file system raises, where a file cannot be reached.
    """
    for (column, file), cells in groupby(map(split, paths), key=lambda cell: cell[1:]):
        try:
            opened: _Cells | Exception = _open(file, column, version_of(parse_uri(file)))
        except Exception as error:  # Arrow's, on a damaged file, are of many kinds
            opened = _damage(error)
        for cell in cells:
            yield opened if isinstance(opened, Exception) else opened.read(cell.row)


class _Cells:
    """The images of a Parquet or Arrow file, of which the last few read are kept."""

    def __init__(self, path: Anywhere, column: str) -> None:
        schema = columnar.read_schema(path)
        self._path, self._column = path, column
        self._found = holds_bytes(schema, column)
        self._struct = self._found and pa.types.is_struct(schema.field(column).type)
        self._parquet, self._ends = None, np.array([2**62])  # Arrow's is one group
        if columnar.is_parquet(path):
            # With a buffer a row group is read bit by bit; some writers put a whole file into one.
            self._parquet = pq.ParquetFile(source_of(path), buffer_size=BUFFER, pre_buffer=False)
            metadata = self._parquet.metadata
            rows = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
            self._ends = np.cumsum(rows)
        self._lock = Lock()
        self._batches: Iterator[pa.RecordBatch] = iter(())
        self._group, self._start, self._images = -1, 0, pa.nulls(0)

    def read(self, row: int) -> bytes | Exception:
        """Return the image of a row, or why there is none."""
        with self._lock:
            if not self._found:
                return ValueError("no images in the Parquet file")
            try:
                self._advance(row)
            except Exception as error:
                # What cannot be reached may be there the next time, so the group is begun again;
                # after damage the batches have ended, and nothing more of the group can be read.
                group, self._group, self._images = self._group, -1, pa.nulls(0)
                damage = _damage(error)
                self._group = group
                return damage
            value: bytes | None = self._images[row - self._start].as_py()
        return ValueError("no image in this row") if value is None else value

    def _advance(self, row: int) -> None:
        """Go on to the batch that holds `row`."""
        group = int(np.searchsorted(self._ends, row, side="right"))
        if group != self._group or row < self._start:
            self._batches = self._begin(group)
            self._group, self._images = group, pa.nulls(0)
            self._start = int(self._ends[group - 1]) if group else 0
        while row >= self._start + len(self._images):
            self._start += len(self._images)
            column = next(self._batches).column(0)
            self._images = pc.struct_field(column, "bytes") if self._struct else column

    def _begin(self, group: int) -> Iterator[pa.RecordBatch]:
        if self._parquet is None:
            return columnar.read_batches(self._path, [self._column])
        leaf = f"{self._column}.bytes" if self._struct else self._column
        batches: Iterator[pa.RecordBatch] = self._parquet.iter_batches(
            BATCH_ROWS, row_groups=[group], columns=[leaf], use_threads=False
        )
        return batches


@lru_cache(maxsize=1)
def _open(file: str, column: str, _version: str) -> _Cells:
    return _Cells(parse_uri(file), column)


def _damage(error: Exception) -> ValueError:
    """Put what Arrow says of a damaged file into a few words; other errors are raised again."""
    arrows = isinstance(error, (pa.ArrowException, StopIteration, IndexError))
    unnumbered = type(error) is OSError and error.errno is None
    if isinstance(error, MemoryError) or not (arrows or unnumbered):
        raise error
    return ValueError("damaged in the Parquet file")


def _is_struct_of(type_: pa.DataType, field: str) -> bool:
    return bool(pa.types.is_struct(type_) and type_.get_field_index(field) >= 0)


def _is_bytes(type_: pa.DataType) -> bool:
    return bool(pa.types.is_binary(type_) or pa.types.is_large_binary(type_))
