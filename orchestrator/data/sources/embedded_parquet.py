"""Parquet files that hold the images themselves, as Hugging Face has data sets.

Beside the column ``image`` (see `orchestrator.data.reading.parquet_images`) they have ``class`` and
``gender``, as in a manifest, or attributes of two values (0/1, -1/1, true/false), as in the copies
of CelebA, to make them of by a rule. Optional are ``identity`` or ``celeb_id``, and ``split``.

A face is called by the column ``filename``, or else by ``image.path``, where that is given for all
faces and different for each; else by its file and its row there, from 0, as in
``data/train-00000-of-00010/17``. Without a column ``split`` the file's name tells it, as in
``train-00000-of-00010.parquet``, or that of a folder it lies in.
"""

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestrator.base.errors import InputError
from orchestrator.base.files import Anywhere, one_line, source_of
from orchestrator.data.reading import parquet_images
from orchestrator.data.sources.label_rules import classify, find_attributes, is_numeric
from orchestrator.data.sources.manifest_columns import (
    SYNONYMS,
    parse_genders,
    parse_identities,
    parse_labels,
    parse_splits,
    parse_texts,
)
from orchestrator.data.sources.source import Source, make_source
from orchestrator.data.splits import SPLITS

SUFFIX = ".parquet"
KNOWN = ("filename", "class", "gender", "identity", "celeb_id", "split", parquet_images.COLUMN)


@dataclass(frozen=True)
class _Shard:
    """A file, read save for its images."""

    file: Anywhere
    name: str
    """Its path in the source's folder, without the suffix."""
    columns: list[str]
    """The names of all its columns."""
    table: pa.Table
    """Those that are `KNOWN`, of the images the names alone, and the numeric ones."""

    def column(self, *names: str) -> list[Any]:
        """Return the first of some columns that is there, as a list; else all None."""
        present = [name for name in names if name in self.table.column_names]
        return self.table[present[0]].to_pylist() if present else [None] * len(self.table)


def open_embedded(path: Anywhere, label: str | None = None, group: str | None = None) -> Source:
    """Read a Parquet file, or a folder of them, that hold their images; these are not read yet.

    Parameters
    ----------
    path
        The file or folder. Rows keep their order, since neighbours are read together.
    label, group
        Rules over attributes, as `classify` takes them.

    Raises
    ------
    InputError
        A file that cannot be read, or whose columns are others than those of the first; nothing to
        tell class or gender by; a value that is not allowed.
    """
    where = str(path)
    shards = _read_shards(path)
    columns = shards[0].columns
    attributes = find_attributes(_join(shards, where), besides=KNOWN)
    faces = pd.concat([_faces(shard) for shard in shards], ignore_index=True)
    faces["filename"] = _filenames(shards)
    rules = classify(faces, attributes, (label, group), where, columns)
    return make_source(
        path.name + rules.name,
        faces,
        where,
        attributes=attributes,
        in_order=True,
        notes=rules.notes,
    )


def holds_images(file: Anywhere) -> bool:
    """Tell whether a file is Parquet with images in it."""
    try:
        return parquet_images.image_leaf(pq.read_schema(source_of(file))) is not None
    except (OSError, pa.ArrowException):
        return False


def find_shards(folder: Anywhere) -> dict[str, Anywhere]:
    """Return the Parquet files in a folder and below, in order, by their paths in it."""
    prefix = len(str(folder).rstrip("/")) + 1
    found = {str(file)[prefix:]: file for file in folder.rglob(f"*{SUFFIX}")}
    hidden = re.compile(r"(^|/)[._]")  # caches, for example
    # Spark names folders so too. They are told by what lies in them: to a web server all is a file.
    folders = {str(parent) for name in found for parent in PurePosixPath(name).parents}
    return {
        name: found[name]
        for name in sorted(found)
        if name not in folders and not hidden.search(name)
    }


def _read_shards(path: Anywhere) -> list[_Shard]:
    """Read the files side by side, and check that they are of one kind."""
    files = find_shards(path) if path.is_dir() else {path.name: path}
    with ThreadPoolExecutor(16) as pool:  # over a network each is a wait
        shards = list(pool.map(_read, files.values(), files))
    for shard in shards:
        differing = sorted(set(shard.columns) ^ set(shards[0].columns))
        if differing:
            raise InputError(
                f"{shard.file}: its columns are not those of {shards[0].file}: only one of them "
                f"has {', '.join(differing)}; prepare files of one kind together"
            )
    return shards


def _read(file: Anywhere, name: str) -> _Shard:
    try:
        parquet = pq.ParquetFile(source_of(file), pre_buffer=True)
        schema = parquet.schema_arrow
        _refuse_without_images(schema, file)
        small = [f.name for f in schema if is_numeric(f.type) or f.name in KNOWN[:-1]]
        named = parquet_images.has_names(schema)
        table = parquet.read(columns=[*small, parquet_images.NAMES] if named else small)
    except (OSError, pa.ArrowException) as error:
        if isinstance(error, OSError) and error.errno:
            raise  # of the disk, not of what is in the file
        raise InputError(
            f"{file}: not a Parquet file, or a damaged one ({one_line(error)}); get it again"
        ) from None
    if named:
        names = pc.struct_field(table[parquet_images.COLUMN], "path")
        table = table.drop_columns(parquet_images.COLUMN).append_column(
            parquet_images.COLUMN, names
        )
    return _Shard(file, name.removesuffix(SUFFIX), schema.names, table)


def _refuse_without_images(schema: pa.Schema, file: Anywhere) -> None:
    if parquet_images.image_leaf(schema) is None:
        raise InputError(
            f"{file}: no column {parquet_images.COLUMN} with the bytes of image files, as binary "
            f"or as a struct with a field bytes; its columns are {', '.join(schema.names)}"
        )


def _join(shards: Sequence[_Shard], where: str) -> pa.Table:
    try:
        return pa.concat_tables([shard.table for shard in shards], promote_options="permissive")
    except pa.ArrowException as error:
        raise InputError(
            f"{where}: a column is not of one type in all files ({one_line(error)}); "
            "prepare files of one kind together"
        ) from None


def _faces(shard: _Shard) -> pd.DataFrame:
    """Return the columns of a source that a file has; a complaint names the file and the row."""
    where, rows = str(shard.file), len(shard.table)
    faces: dict[str, Any] = {
        "path": [parquet_images.uri(row, shard.file) for row in range(rows)],
        "identity": parse_identities(shard.column("identity", "celeb_id"), where),
        "split": parse_splits(shard.column("split"), where),
    }
    if "split" not in shard.columns:
        faces["split"] = pd.Series([_split_of(shard.name)] * rows, dtype=object)
    if "class" in shard.columns:
        faces["label"] = parse_labels(shard.column("class"), where)
    if "gender" in shard.columns:
        faces["gender"] = parse_genders(shard.column("gender"), where)
    return pd.DataFrame(faces)


def _split_of(name: str) -> str | None:
    """Return the split that the name of a file tells, or that of the nearest folder."""
    for part in reversed(name.split("/")):
        word = re.split(r"[-_.]", part, maxsplit=1)[0].lower()
        split = SYNONYMS.get(word, word)
        if split in SPLITS:
            return split
    return None


def _filenames(shards: Sequence[_Shard]) -> list[str]:
    for column in ("filename", parquet_images.COLUMN):
        names = parse_texts([name for shard in shards for name in shard.column(column)])
        if all(names) and len(set(names)) == len(names):
            return names
    return [f"{shard.name}/{row}" for shard in shards for row in range(len(shard.table))]
