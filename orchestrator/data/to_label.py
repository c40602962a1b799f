"""What `predict` labels: images in each form that `prepare` takes, of no class or gender yet."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from orchestrator.base.errors import InputError
from orchestrator.base.files import Anywhere, parse_uri
from orchestrator.data.reading import columnar, zip_members
from orchestrator.data.reading.file_kinds import IMAGE_SUFFIXES
from orchestrator.data.reading.zip_members import Archive
from orchestrator.data.sources.chosen_columns import Given, parse_given, refuse_unused
from orchestrator.data.sources.embedded_parquet import find_shards, holds_images, list_images
from orchestrator.data.sources.file_names import locate
from orchestrator.data.sources.hugging_face import find_saved, join_tables
from orchestrator.data.sources.image_folders import images_in
from orchestrator.data.sources.manifest import find_files, find_genders, needed_columns
from orchestrator.data.sources.manifest_columns import parse_texts
from orchestrator.data.sources.registry import kind_of_tables, naming
from orchestrator.data.sources.source import ImageRoot, open_images, refuse_none_there
from orchestrator.data.sources.tables import SUFFIXES, read_table
from orchestrator.data.splits import SPLITS
from orchestrator.data.store.store import Store

OURS = ("filename", "label", "probability", "logit", "trial", "threshold")
"""The columns of the labels; a table's own of these names are kept under others."""


@dataclass(frozen=True)
class ToLabel:
    """Images, in the order of the table, or else of their names."""

    images: pd.DataFrame
    """Columns filename and path, of objects: a name on a disk need not be UTF-8, which pandas'
    text is. path is as `read_many` takes it, or, with a store, as `read_faces` does."""
    kept: pd.DataFrame | None = None
    """What else the table has of them, a row for each, in columns of objects."""
    store: Store | None = None
    """The prepared data set that they are in."""
    notes: tuple[str, ...] = ()
    """For the user."""
    gender: NDArray[np.int8] | None = None
    """-1 woman, 1 man; where that was asked for."""


@dataclass(frozen=True)
class _Asked:
    """What the user says of the images."""

    root: ImageRoot | None
    given: Given
    split: str | None
    keep: bool
    gender: bool

    def gender_in(self, table: pa.Table, where: str) -> NDArray[np.int8] | None:
        """Return the genders that a table has, if they were asked for."""
        return find_genders(table, self.given, where) if self.gender else None


def open_to_label(
    spec: str,
    images: str | None = None,
    columns: Sequence[str] = (),
    split: str | None = None,
    *,
    keep: bool = False,
    gender: bool = False,
) -> ToLabel:
    """List the images that `spec` names.

    Parameters
    ----------
    spec
        An image; a folder, searched through, or zip archive of images; a table, a folder of Hugging
        Face's or Parquet with the images in it, as `open_source` takes them; or a data set of
        `prepare`.
    images
        The folder or zip archive of the images that a table names, where it is not its own folder.
    columns
        Which column of a table is filename, image or (with `gender`) gender, each as
        ``KEY=COLUMN``.
    split
        The one split of a data set to label; None: all.
    keep
        Keep the table's other columns.
    gender
        Read everybody's gender, which `spec` has to say.

    Raises
    ------
    InputError
        No such place, nothing to label in it, no way to reach it, or an option that it has no use
        for.
    """
    given = parse_given(columns)
    used = ("filename", "image", *["gender"] * gender)
    refuse_unused(given, used, spec, "is to be labelled, which needs the images")
    with naming(spec):
        kind = _kind(parse_uri(spec), spec)
    options = {"--images": images, "--split": split, "--column": columns, "--keep-columns": keep}
    for option, value in options.items():
        if value and option not in USED[kind]:
            raise InputError(f"{option}: {spec} is {CALLED[kind]}; leave {option} out")
    if gender and kind in ("image", "images"):
        raise InputError(
            f"{spec}: {CALLED[kind]}, which does not tell anybody's gender; give a table with a "
            "column gender, or another --threshold"
        )
    with naming(f"--images {images}"):
        root = open_images(parse_uri(images)) if images else None
    with naming(spec):
        found = KINDS[kind](parse_uri(spec), _Asked(root, given, split, keep, gender))
    names = found.images["filename"].tolist()
    if not names:
        raise InputError(f"{spec}: no rows; give at least one image")
    if found.store is None:
        mend = f"give them as --table {spec} --images DIR, the folder or .zip that they lie in"
        refuse_none_there(names, found.images["path"].tolist(), spec, mend)
    return found


def read_faces(store: Store, paths: Sequence[str]) -> NDArray[np.uint8]:
    """Read faces of a data set, as `ToLabel` names them; neighbours are read together.

    Returns
    -------
    ndarray of uint8, shape (n, H, W, 3)

    Raises
    ------
    InputError
        A shard is damaged.
    """
    found = []
    cells = [path.partition("@")[::2] for path in paths]
    for file, some in groupby(cells, key=lambda cell: cell[1]):
        rows = np.array([int(row) for row, _ in some])
        blocks, place = np.unique(rows // store.meta.block_rows, return_inverse=True)
        images = store.read_blocks(file, blocks.tolist())
        found.append(images[place * store.meta.block_rows + rows % store.meta.block_rows])
    return np.concatenate(found)


def _kind(path: Anywhere, spec: str) -> str:
    suffix = path.suffix.lower()
    if path.is_dir():
        return _kind_of_folder(path)
    if not path.exists():
        raise InputError(f"{spec}: no such file or folder; {FORMS}")
    if suffix in columnar.SUFFIXES and holds_images(path):
        return "embedded"
    if suffix in SUFFIXES:
        return "table"
    if suffix == zip_members.SUFFIX:
        return "images"
    if suffix in IMAGE_SUFFIXES:
        return "image"
    raise InputError(f"{spec}: no image, and no table or folder of images; {FORMS}")


def _kind_of_folder(path: Anywhere) -> str:
    if (path / "meta.json").exists() and (path / SPLITS[0]).is_dir():
        return "store"
    kind = kind_of_tables(path) or "images"
    # A table may lie among the images.
    holds = kind != "embedded" or holds_images(next(iter(find_shards(path).values())))
    return kind if holds else "images"


def _list_images(path: Anywhere, _asked: _Asked) -> ToLabel:
    root = open_images(path)
    names = sorted(images_in(root, str(path)), key=lambda name: name.split("/"))
    if isinstance(root, Archive):
        return ToLabel(_listed(names, [root.find(name) for name in names]))
    folder = str(path).rstrip("/")
    return ToLabel(_listed(names, [f"{folder}/{name}" for name in names]))


def _list_table(path: Anywhere, asked: _Asked) -> ToLabel:
    table, notes = read_table(path, None if asked.keep else needed_columns(asked.given))
    return _of_table(table, asked.root or parse_uri(path.parent), asked, str(path), notes)


def _list_tables(path: Anywhere, asked: _Asked) -> ToLabel:
    joined = join_tables(path, asked.given, None if asked.keep else needed_columns(asked.given))
    return _of_table(joined.table, asked.root or path, asked, joined.where, joined.notes)


def _list_embedded(path: Anywhere, asked: _Asked) -> ToLabel:
    files = find_saved(path) if path.is_dir() else None
    names, paths, others = list_images(path, asked.given, files or None, keep=asked.keep)
    kept, notes = _kept(others, str(path)) if asked.keep else (None, [])
    gender = asked.gender_in(others, str(path))
    return ToLabel(_listed(names, paths), kept, notes=tuple(notes), gender=gender)


def _list_store(path: Anywhere, asked: _Asked) -> ToLabel:
    store = Store.open(path)
    splits = [asked.split] if asked.split else list(SPLITS)
    shards = [(split, shard) for split in splits for shard in store.meta.shards[split]]
    columns = ["filename", *(["label", "gender", "identity"] if asked.keep or asked.gender else [])]
    tables = [store.read_shard(shard, columns) for _, shard in shards]
    table = pa.concat_tables(tables)
    places = [f"{row}@{shard.file}" for _, shard in shards for row in range(shard.rows)]
    kept = None
    if asked.keep:
        others = table.drop_columns("filename").rename_columns(["class", "gender", "identity"])
        kept = _cells(others).assign(split=[s for s, shard in shards for _ in range(shard.rows)])
    note = f"{path}: {len(table):,} faces of {', '.join(splits)}, as they were prepared"
    gender = table["gender"].to_numpy() if asked.gender else None
    return ToLabel(_listed(table["filename"].to_pylist(), places), kept, store, (note,), gender)


def _of_table(
    table: pa.Table, root: ImageRoot, asked: _Asked, where: str, notes: Sequence[str]
) -> ToLabel:
    """List the images that a table names, in its order."""
    column = find_files(table, asked.given, where)
    names = parse_texts(table[column].to_pylist())
    located = locate(names, root, where, by_tail=asked.root is not None)
    kept, said = None, [f"{where}: files: {column}"] if column != OURS[0] else []
    if asked.keep:
        kept, renamed = _kept(table.drop_columns(column), where)
        said += renamed
    said = [*notes, *said, *located.notes]
    gender = asked.gender_in(table, where)
    return ToLabel(_listed(names, located.paths), kept, notes=tuple(said), gender=gender)


def _kept(table: pa.Table, where: str) -> tuple[pd.DataFrame, list[str]]:
    """Return the columns of a table, and say which have another name among the labels."""
    taken = [name for name in table.column_names if name.casefold() in OURS]
    names = [f"given_{name}" if name in taken else name for name in table.column_names]
    notes = [f"{where}: its column {name} is kept as given_{name}" for name in taken]
    return _cells(table.rename_columns(names)), notes


def _cells(table: pa.Table) -> pd.DataFrame:
    """Return the values as they are: with pandas' types a whole number may get a fraction."""
    columns = enumerate(table.columns)  # of which two may have one name
    cells = {at: pd.Series(column.to_pylist(), dtype=object) for at, column in columns}
    return pd.DataFrame(cells, index=range(len(table))).set_axis(table.column_names, axis="columns")


def _listed(names: Sequence[str], paths: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame({"filename": names, "path": paths}, dtype=object)


FORMS = (
    "give a folder or .zip of images, an image, a table "
    f"({', '.join(SUFFIXES)}), Parquet with images or a data set of prepare"
)
KINDS: dict[str, Callable[[Anywhere, _Asked], ToLabel]] = {
    "images": _list_images,
    "image": lambda path, _: ToLabel(_listed([path.name], [str(path)])),
    "table": _list_table,
    "tables": _list_tables,
    "embedded": _list_embedded,
    "saved": _list_embedded,
    "store": _list_store,
}
CALLED = {
    "images": "a folder or archive of images",
    "image": "an image",
    "embedded": "Parquet or Arrow with the images in it",
    "saved": "Parquet or Arrow with the images in it",
    "store": "a prepared data set",
    "table": "a table",
    "tables": "a folder of tables",
}
USED: dict[str, tuple[str, ...]] = {
    "images": (),
    "image": (),
    "embedded": ("--column", "--keep-columns"),
    "saved": ("--column", "--keep-columns"),
    "store": ("--split", "--keep-columns"),
    "table": ("--images", "--column", "--keep-columns"),
    "tables": ("--images", "--column", "--keep-columns"),
}
"""The options that each kind has a use for."""
