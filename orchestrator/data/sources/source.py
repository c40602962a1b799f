"""What every source of faces comes down to: a table of images, labels and genders."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from hashlib import sha256
from typing import Protocol

import numpy as np
import pandas as pd

from orchestrator.base.errors import InputError
from orchestrator.base.files import Anywhere, parse_uri
from orchestrator.data.reading import zip_members
from orchestrator.data.reading.zip_members import SUFFIX, Archive, open_archive
from orchestrator.data.splits import GENDERS, absent_genders

COLUMNS = ("filename", "path", "label", "gender", "identity", "split")

ImageRoot = Anywhere | Archive
"""Where a source's images lie: a folder or a zip archive."""


class Drawing(Protocol):
    """Makes the images of a source that has none; it is sent to the workers."""

    def draw(self, folder: Anywhere, filenames: Sequence[str]) -> list[str]:
        """Make some images in `folder`; return their paths, in order."""

    def finish(self, folder: Anywhere, filenames: Sequence[str]) -> None:
        """Write what belongs beside the images, once all of them are made."""


@dataclass(frozen=True)
class Source:
    """Faces before they are prepared."""

    name: str
    """What the data set is called in its ``meta.json``."""
    table: pd.DataFrame
    """A row a face, with the columns `COLUMNS`.

    Sorted by filename, or where images lie together in Parquet files, in the order of these.
    filename is unique; path is absolute and local, or a URI; label (0/1) and gender (-1 woman,
    1 man) are int8; identity is Int32 or missing; split is train, val, test or missing.
    """
    fingerprint: str
    """A SHA-256 of the table, save for where the images lie; their pixels are not in it."""
    drawing: Drawing | None = None
    """Makes the images, for a source that has none yet; paths are then of no account."""
    attributes: pd.DataFrame | None = None
    """What else is known of the faces: bool columns, a row for each of `table`, in its order."""
    notes: tuple[str, ...] = ()
    """For the user: what was found, and how it was understood."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """For the user: the column, or the rule, that each thing known of a face comes from."""


def make_source(
    name: str,
    table: pd.DataFrame,
    where: str,
    drawing: Drawing | None = None,
    attributes: pd.DataFrame | None = None,
    *,
    in_order: bool = False,
    notes: tuple[str, ...] = (),
    columns: Mapping[str, str] | None = None,
) -> Source:
    """Check a table, sort it and take its fingerprint.

    Parameters
    ----------
    name
        What the data set is called.
    table
        The columns `COLUMNS`, in the order of the file they come from.
    where
        The file to blame in a message.
    drawing, attributes
        Of the source; the attributes in the order of `table`.
    in_order
        Leave the rows as they are, for images that are best read in this order.
    notes, columns
        Of the source.

    Raises
    ------
    InputError
        No rows, a file named twice, or one gender or class absent.
    """
    if table.empty:
        raise InputError(f"{where}: no rows; give at least one face")
    _refuse_twins(table["filename"], table["path"], where)
    _refuse_one_gender(table["gender"], where)
    _refuse_one_class(table["label"], where)
    table = table.reset_index(drop=True)[list(COLUMNS)]
    table = table if in_order else table.sort_values("filename")
    if attributes is not None:
        attributes = attributes.iloc[table.index].reset_index(drop=True)
    table = table.reset_index(drop=True)
    notes = tuple(" ".join(note.splitlines()) for note in notes)  # names in them may have several
    return Source(name, table, _fingerprint(table), drawing, attributes, notes, columns or {})


def drop_missing(source: Source, where: str) -> Source:
    """Leave out the faces whose images are not there.

    Raises
    ------
    InputError
        The images lie where it cannot be told, or none of them is there.
    """
    there = np.array([_is_there(path, where) for path in source.table["path"]])
    left, total = int(there.sum()), len(there)
    if not left:
        raise InputError(f"{where}: none of the {total:,} images is there; give --images")
    table = source.table[there].reset_index(drop=True)
    _refuse_one_gender(table["gender"], where)
    known = source.attributes
    return replace(
        source,
        table=table,
        fingerprint=_fingerprint(table),
        attributes=None if known is None else known[there].reset_index(drop=True),
        notes=(*source.notes, f"{where}: {total - left:,} of {total:,} images are not there"),
    )


def refuse_absent(source: Source, where: str) -> None:
    """Raise `InputError` where none of the images is there, which need not wait for a worker."""
    paths = [] if source.drawing is not None else source.table["path"].tolist()
    mend = "give --images the folder or .zip that they lie in"
    refuse_none_there(source.table["filename"].tolist(), paths, where, mend)


def refuse_none_there(names: Sequence[str], paths: Sequence[str], where: str, mend: str) -> None:
    """Raise `InputError`, with a mend, where of images on this machine none is there."""
    local = [path for path in paths if "://" not in path or path.startswith(zip_members.SCHEME)]
    if len(local) == len(paths) > 0 and not any(_is_there(path, where) for path in local):
        raise InputError(
            f"{where}: none of the {len(paths):,} images is there: {names[0]} would be "
            f"{paths[0]}; {mend}"
        )


def _is_there(path: str, where: str) -> bool:
    if path.startswith(zip_members.SCHEME):
        member, archive = zip_members.split(path)
        return member in _members(archive)
    if "://" in path:
        raise InputError(f"--missing drop: {where} is remote; it looks into local folders and zips")
    return os.path.exists(path)  # noqa: PTH110  # a third of the time of Path.exists


@lru_cache(maxsize=1)
def _members(archive: str) -> frozenset[str]:
    return open_archive(parse_uri(archive)).members


def open_images(path: Anywhere) -> ImageRoot:
    """Return the folder of the images, or the archive that `path` is, looked through."""
    return open_archive(path) if path.suffix.lower() == SUFFIX and not path.is_dir() else path


def collapse(path: str) -> str:
    """Take out ``.``, ``..`` and doubled slashes."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == ".." and parts:
            parts.pop()
        elif part not in ("", ".", ".."):
            parts.append(part)
    return ("/" if path.startswith("/") else "") + "/".join(parts)


def _refuse_twins(filename: pd.Series, path: pd.Series, where: str) -> None:
    # Two spellings of one file are twins too.
    spelt = path.map(collapse) if path.str.contains(r"//|\./", regex=True).any() else path
    again = np.flatnonzero(spelt.duplicated().to_numpy())
    if len(again):
        first = np.flatnonzero((spelt == spelt.iloc[again[0]]).to_numpy())[0]
        raise InputError(
            f"{where}: row {again[0] + 1}: {filename.iloc[again[0]]} is already in row "
            f"{first + 1}; keep one row an image"
        )


def _refuse_one_gender(genders: pd.Series, where: str) -> None:
    for gender in absent_genders(genders.to_numpy()):
        raise InputError(
            f"{where}: no {gender} among {len(genders)} faces (gender {GENDERS[gender]}), so the "
            "fair metric is undefined; give faces of both genders"
        )


def _refuse_one_class(labels: pd.Series, where: str) -> None:
    """Always saying the one class there is would be right, and fair, for everybody."""
    if labels.nunique() == 1:
        raise InputError(
            f"{where}: all {len(labels)} faces are of class {labels.iloc[0]}, so there is nothing "
            "to learn; give faces of both classes, or another --label"
        )


def _fingerprint(table: pd.DataFrame) -> str:
    digest = sha256()
    for column in ("filename", "label", "gender", "identity", "split"):
        values = table[column].astype(object).where(table[column].notna(), "")
        digest.update("\n".join(map(str, values)).encode() + b"\0")
    return digest.hexdigest()
