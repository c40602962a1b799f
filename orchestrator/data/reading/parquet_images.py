"""Images that lie as bytes in the column ``image`` of a Parquet file, as Hugging Face has them.

The column is a struct with a field ``bytes``, or binary itself. A cell's path is
``parquet://ROW::FILE``.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import groupby
from threading import Lock

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestrator.base.files import Anywhere, parse_uri, source_of, version_of

SCHEME = "parquet://"
COLUMN, NAMES = "image", "image.path"
BATCH_ROWS = 32
"""Rows in memory at a time."""
BUFFER = 2**20
"""Bytes of a file fetched at a time."""


def uri(row: int, file: Anywhere) -> str:
    """Return the path of the image in a row, counted from 0, for `read_cells`."""
    return f"{SCHEME}{row}::{file}"


def split(path: str) -> tuple[int, str]:
    """Return the row and the file of a path that `uri` made."""
    row, _, file = path.removeprefix(SCHEME).partition("::")
    return int(row), file


def image_leaf(schema: pa.Schema) -> str | None:
    """Return the name by which Parquet knows the bytes of the images; None if it has none."""
    index = schema.get_field_index(COLUMN)
    type_ = schema.field(index).type if index >= 0 else pa.null()
    if pa.types.is_struct(type_) and type_.get_field_index("bytes") >= 0:
        return f"{COLUMN}.bytes" if _is_bytes(type_.field("bytes").type) else None
    return COLUMN if _is_bytes(type_) else None


def has_names(schema: pa.Schema) -> bool:
    """Tell whether the images have names, in a field ``path``."""
    type_ = schema.field(COLUMN).type
    found = pa.types.is_struct(type_) and type_.get_field_index("path") >= 0
    return bool(found and pa.types.is_string(type_.field("path").type))


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
    for file, cells in groupby(map(split, paths), key=lambda parts: parts[1]):
        try:
            opened: _Cells | Exception = _open(file, version_of(parse_uri(file)))
        except Exception as error:  # Arrow's, on a damaged file, are of many kinds
            opened = _damage(error)
        for row, _ in cells:
            yield opened if isinstance(opened, Exception) else opened.read(row)


class _Cells:
    """The images of a Parquet file, of which the last few read are kept."""

    def __init__(self, path: Anywhere) -> None:
        # With a buffer a row group is read bit by bit; some writers put a whole file into one.
        self._file = pq.ParquetFile(source_of(path), buffer_size=BUFFER, pre_buffer=False)
        self._leaf = image_leaf(self._file.schema_arrow) or ""
        metadata = self._file.metadata
        rows = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
        self._ends = np.cumsum(rows)
        self._lock = Lock()
        self._batches: Iterator[pa.RecordBatch] = iter(())
        self._group, self._start, self._images = -1, 0, pa.nulls(0)

    def read(self, row: int) -> bytes | Exception:
        """Return the image of a row, or why there is none."""
        with self._lock:
            if not self._leaf:
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
            self._batches = self._file.iter_batches(
                BATCH_ROWS, row_groups=[group], columns=[self._leaf], use_threads=False
            )
            self._group, self._images = group, pa.nulls(0)
            self._start = int(self._ends[group - 1]) if group else 0
        while row >= self._start + len(self._images):
            self._start += len(self._images)
            column = next(self._batches).column(0)
            self._images = pc.struct_field(column, "bytes") if "." in self._leaf else column


@lru_cache(maxsize=1)
def _open(file: str, _version: str) -> _Cells:
    return _Cells(parse_uri(file))


def _damage(error: Exception) -> ValueError:
    """Put what Arrow says of a damaged file into a few words; other errors are raised again."""
    arrows = isinstance(error, (pa.ArrowException, StopIteration, IndexError))
    unnumbered = type(error) is OSError and error.errno is None
    if isinstance(error, MemoryError) or not (arrows or unnumbered):
        raise error
    return ValueError("damaged in the Parquet file")


def _is_bytes(type_: pa.DataType) -> bool:
    return bool(pa.types.is_binary(type_) or pa.types.is_large_binary(type_))
