"""Parquet and Arrow files that hold the images themselves, as Hugging Face has data sets.

Beside the images (see `orchestrator.data.reading.parquet_images`), in the column ``image`` or in
another where only one has some, they have ``class`` and ``gender``, as in a manifest, or attributes
of two values (0/1, -1/1, true/false), as in the copies of CelebA, to make them of by a rule.
Optional are ``identity`` or ``celeb_id``, and ``split``.

A face is called by the column ``filename``, or else by ``image.path``, where that is given for all
faces and different for each; else by its file and its row there, from 0, as in
``data/train-00000-of-00010/17``. Without a column ``split`` the file's name tells it, as in
``train-00000-of-00010.parquet``, or that of a folder it lies in.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import pandas as pd
import pyarrow as pa

from orchestrator.base.errors import InputError
from orchestrator.base.files import Anywhere, one_line
from orchestrator.data.reading import columnar, parquet_images
from orchestrator.data.sources.chosen_columns import (
    KEYS,
    Chosen,
    Given,
    choose_columns,
    given_column,
    read_columns,
    refuse_unused,
)
from orchestrator.data.sources.facts import Facts
from orchestrator.data.sources.label_rules import classify, find_attributes, is_numeric
from orchestrator.data.sources.manifest_columns import (
    holds_words,
    parse_identities,
    parse_texts,
    split_of,
)
from orchestrator.data.sources.source import Source, make_source
from orchestrator.data.sources.tables import describe_names, names_to_write_out

PATTERNS = ("*.[pP][aA][rR][qQ][uU][eE][tT]", "*.arrow", "*.feather")
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
    """Those that are `KNOWN` or asked for, the numeric ones, and the names of the images."""
    written_out: Mapping[str, Sequence[str]]
    """What numbers meant, by columns."""

    def column(self, name: str | None) -> list[Any]:
        """Return a column as a list; all None where there is none."""
        here = name in self.table.column_names
        return self.table[name].to_pylist() if here else [None] * len(self.table)


def open_embedded(path: Anywhere, given: Given, files: dict[str, Anywhere] | None = None) -> Source:
    """Read a file, or a folder of them, that hold their images; these are not read yet.

    Parameters
    ----------
    path
        The file or folder. Rows keep their order, since neighbours are read together.
    given
        What the user says of the columns.
    files
        The files, by their paths in the folder; None: `path`, or those in it.

    Raises
    ------
    InputError
        A file that cannot be read, or whose columns are others than those of the first; nothing to
        tell class or gender by; a value that is not allowed.
    """
    where = str(path)
    refuse_unused(given, KEYS, where, "has no such column")
    files = files or (find_shards(path) if path.is_dir() else {path.name: path})
    image = _image_column(next(iter(files.values())), given)
    shards = _read_shards(files, image, given)
    joined = _join(shards, where)
    chosen = choose_columns(joined, given, where)
    people = chosen.columns.get("identity", "celeb_id")
    faces = pd.concat([_faces(shard, chosen, image) for shard in shards], ignore_index=True)
    faces["identity"] = _identities(shards, people)
    faces["filename"] = _filenames(shards, chosen.columns.get("filename"), image)
    other = (image, people, *(chosen.columns.get(key, "") for key in ("filename", "split")))
    attributes = find_attributes(joined, besides=(*KNOWN, *other))
    notes = [f"{where}: images: {image}"] if image != parquet_images.COLUMN else []
    notes += [f"{where}: {said}" for said in describe_names(shards[0].written_out)]
    notes += chosen.notes
    notes += classify(faces, Facts(attributes, joined), chosen.rules, where, shards[0].columns)
    name = path.name + chosen.name()
    return make_source(
        name,
        faces,
        where,
        attributes=attributes,
        in_order=True,
        notes=tuple(notes),
        columns=chosen.described(image=image),
    )


def list_images(
    path: Anywhere, given: Given, files: dict[str, Anywhere] | None, *, keep: bool
) -> tuple[list[str], list[str], pa.Table]:
    """List the images of a file, or of a folder of them, as `open_embedded` takes them.

    Returns
    -------
    tuple
        What the images are called, their paths, and the columns beside them: with `keep` all,
        save for others of images.
    """
    where = str(path)
    files = files or (find_shards(path) if path.is_dir() else {path.name: path})
    first = next(iter(files.values()))
    image = _image_column(first, given)
    more = columnar.read_schema(first).names if keep else ()
    shards = _read_shards(files, image, given, more)
    joined = _join(shards, where)
    column = given_column("filename", joined.column_names, given, where)
    names = _filenames(shards, column, image)
    besides = [at for at, name in enumerate(joined.column_names) if name not in (column, image)]
    return (
        names,
        [path for shard in shards for path in _paths(shard, image)],
        joined.select(besides),
    )


def holds_images(file: Anywhere) -> bool:
    """Tell whether a file is Parquet or Arrow with images in it."""
    try:
        schema = columnar.read_schema(file)
        if parquet_images.holds_bytes(schema) and not parquet_images.holds_names(file, schema):
            return True
        return bool(parquet_images.image_columns(file, schema))
    except (OSError, pa.ArrowException):
        return False


def find_shards(folder: Anywhere) -> dict[str, Anywhere]:
    """Return the Parquet files in a folder and below, else those of Arrow, by their paths in it."""
    some = (_find_files(folder, pattern) for pattern in PATTERNS)
    return next(filter(None, some), {})


def _find_files(folder: Anywhere, pattern: str) -> dict[str, Anywhere]:
    prefix = len(str(folder).rstrip("/")) + 1
    found = {str(file)[prefix:]: file for file in folder.rglob(pattern)}
    hidden = re.compile(r"(^|/)[._]")  # caches, for example
    # Spark names folders so too. They are told by what lies in them: to a web server all is a file.
    folders = {str(parent) for name in found for parent in PurePosixPath(name).parents}
    return {
        name: found[name]
        for name in sorted(found)
        if name not in folders and not hidden.search(name)
    }


def _image_column(file: Anywhere, given: Given) -> str:
    """Return the column that holds the images.

    Raises
    ------
    InputError
        None does, or several.
    """
    with _naming_damage(file):
        schema = columnar.read_schema(file)
        wanted = given.columns.get("image", parquet_images.COLUMN)
        if parquet_images.holds_bytes(schema, wanted):
            return wanted
        found = [] if "image" in given.columns else parquet_images.image_columns(file, schema)
    if len(found) > 1:
        raise InputError(
            f"{file}: {' and '.join(found)} each hold images; say which, as --column "
            f"image={found[0]}"
        )
    if not found:
        raise InputError(_no_images(file, schema, wanted))
    return found[0]


def _read_shards(
    files: dict[str, Anywhere], image: str, given: Given, more: Sequence[str] = ()
) -> list[_Shard]:
    """Read the files side by side, and check that they are of one kind."""
    names = (*KNOWN, *given.mentioned(), *more)
    needed = {name.casefold() for name in names} - {image.casefold()}
    with ThreadPoolExecutor(16) as pool:  # over a network each is a wait
        shards = list(pool.map(lambda name: _read(files[name], name, image, needed), files))
    for shard in shards:
        differing = sorted(set(shard.columns) ^ set(shards[0].columns))
        if differing:
            raise InputError(
                f"{shard.file}: its columns are not those of {shards[0].file}: only one of them "
                f"has {', '.join(differing)}; prepare files of one kind together"
            )
    return shards


def _read(file: Anywhere, name: str, image: str, needed: set[str]) -> _Shard:
    with _naming_damage(file):
        schema = columnar.read_schema(file)
        if not parquet_images.holds_bytes(schema, image):
            raise InputError(_no_images(file, schema, image))
        small = [f.name for f in schema if is_numeric(f.type) or f.name.casefold() in needed]
        small = [name for name in small if not parquet_images.holds_bytes(schema, name)]
        named = parquet_images.has_names(schema, image)
        table = columnar.read_columns(file, small, (image, "path") if named else None)
        written_out = names_to_write_out(schema, needed)
        table = columnar.write_out(table, written_out)
    stem = name.removesuffix(file.suffix)
    return _Shard(file, stem, schema.names, table, written_out)


@contextmanager
def _naming_damage(file: Anywhere) -> Iterator[None]:
    """Put into a line what Arrow says of a damaged file."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        if isinstance(error, OSError) and error.errno:
            raise  # of the disk, not of what is in the file
        kind = "a Parquet" if columnar.is_parquet(file) else "an Arrow"
        raise InputError(
            f"{file}: not {kind} file, or a damaged one ({one_line(error)}); get it again"
        ) from None


def _no_images(file: Anywhere, schema: pa.Schema, column: str) -> str:
    return (
        f"{file}: no column {column} with the bytes of image files, as binary or as a struct with "
        f"a field bytes; its columns are {', '.join(schema.names)}"
    )


def _join(shards: Sequence[_Shard], where: str) -> pa.Table:
    try:
        return pa.concat_tables([shard.table for shard in shards], promote_options="permissive")
    except pa.ArrowException as error:
        raise InputError(
            f"{where}: a column is not of one type in all files ({one_line(error)}); "
            "prepare files of one kind together"
        ) from None


def _faces(shard: _Shard, chosen: Chosen, image: str) -> pd.DataFrame:
    """Return the columns of a source that a file has; a complaint names the file and the row."""
    faces = read_columns(shard.table, chosen, str(shard.file))
    faces["path"] = _paths(shard, image)
    if "split" not in chosen.columns:
        faces["split"] = pd.Series([split_of(shard.name)] * len(faces), dtype=object)
    return faces


def _paths(shard: _Shard, image: str) -> list[str]:
    return [parquet_images.uri(row, shard.file, image) for row in range(len(shard.table))]


def _identities(shards: Sequence[_Shard], column: str) -> "pd.Series[Any]":
    """Return the number of each person; a word is one person in all files."""
    cells = [shard.column(column) for shard in shards]
    if any(map(holds_words, cells)):
        return parse_identities([cell for some in cells for cell in some], str(shards[0].file))
    parsed = [
        parse_identities(some, str(shard.file), column)
        for some, shard in zip(cells, shards, strict=True)
    ]
    return pd.concat(parsed, ignore_index=True)


def _filenames(shards: Sequence[_Shard], column: str | None, image: str) -> list[str]:
    for known in filter(None, (column, image)):
        names = parse_texts([name for shard in shards for name in shard.column(known)])
        if all(names) and len(set(names)) == len(names):
            return names
    return [f"{shard.name}/{row}" for shard in shards for row in range(len(shard.table))]
