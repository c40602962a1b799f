"""Ways to keep images: in a zip archive, and in the cells of a Parquet file."""

import zipfile
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.base.files import Anywhere


def write_zip(
    path: Anywhere, files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED
) -> Anywhere:
    """Write an archive of these files."""
    whole = BytesIO()
    with zipfile.ZipFile(whole, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(whole.getvalue())
    return path


def write_parquet(
    path: Anywhere,
    images: Sequence[bytes | None],
    names: Sequence[str | None] | None = None,
    row_group: int = 4,
    **columns: Any,
) -> Anywhere:
    """Write images with their names, as Hugging Face does, or without, and other columns."""
    column = pa.array(images, pa.binary())
    if names is not None:
        path_field = pa.array(names, pa.string())
        column = pa.StructArray.from_arrays([column, path_field], ["bytes", "path"])
    whole = BytesIO()
    table = pa.table({"image": column, **columns})
    pq.write_table(table, whole, row_group_size=row_group, compression="none")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(whole.getvalue())
    return path
