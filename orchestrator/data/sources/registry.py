"""Where faces come from: each entry of `SOURCES` opens one kind as a `Source`."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from orchestrator.base.errors import InputError, ReadingError
from orchestrator.base.files import Anywhere, parse_uri, reason_of
from orchestrator.data.reading import columnar, zip_members
from orchestrator.data.reading.file_kinds import is_junk
from orchestrator.data.reading.zip_members import open_archive
from orchestrator.data.sources.celeba import open_celeba
from orchestrator.data.sources.celeba_layout import ATTRIBUTES, find_layout
from orchestrator.data.sources.chosen_columns import parse_given
from orchestrator.data.sources.embedded_parquet import find_shards, holds_images, open_embedded
from orchestrator.data.sources.hugging_face import (
    METADATA,
    find_metadata,
    find_saved,
    open_saved,
    open_tables,
)
from orchestrator.data.sources.image_folders import is_utkface, open_layout, open_utkface
from orchestrator.data.sources.lfw import LIST as LFW
from orchestrator.data.sources.lfw import open_lfw
from orchestrator.data.sources.manifest import open_manifest
from orchestrator.data.sources.source import Source, drop_missing, open_images
from orchestrator.data.sources.synthetic.source import open_synthetic
from orchestrator.data.sources.tables import SUFFIXES


def open_source(
    spec: str,
    *,
    images: str | None = None,
    label: str | None = None,
    group: str | None = None,
    columns: Sequence[str] = (),
    layout: str | None = None,
    seed: int = 0,
    missing: Literal["refuse", "drop"] = "refuse",
) -> Source:
    """Open the faces that `spec` names.

    Parameters
    ----------
    spec
        A manifest, with one of `SUFFIXES`; a folder of CelebA, LFW, UTKFace, of Hugging Face or,
        with `layout`, of images; Parquet with the images in it (a file or a folder); or
        ``synthetic[:N]``.
    images
        The folder or zip archive of the images, where it is not the source's own.
    label, group
        Rules over attributes, for class 1 and for men; None: the columns of the source, or else
        the rules that are usual.
    columns
        Which columns are what, each as ``KEY=COLUMN`` (`parse_given`).
    layout
        What the folders of a folder of images say, as `open_layout` takes it.
    seed
        Of synthetic faces.
    missing
        drop: leave out the faces whose images are not there.

    Raises
    ------
    InputError
        No such source, something wrong in it, or no way to reach it.
    """
    told = parse_given(columns, label, group)
    with naming(spec):
        kind = _kind(spec, layout)
    given = {"--images": images, "--missing": missing if missing == "drop" else None}
    if kind == "synthetic":
        given |= {"--label": label, "--group": group, "--column": " ".join(columns)}
    if layout and kind != "layout":
        raise InputError(f"--layout {layout}: {spec} is no folder of images; leave it out")
    for option, value in given.items():
        if value and kind in OWN_IMAGES:
            raise InputError(f"{option} {value}: {spec} {OWN_IMAGES[kind]}; leave {option} out")
    with naming(f"--images {images}"):
        root = open_images(parse_uri(images)) if images else None
    with naming(spec):
        options = {"images": root, "given": told, "layout": layout, "seed": seed}
        source = SOURCES[kind](spec, options)
        return drop_missing(source, spec) if missing == "drop" else source


@contextmanager
def naming(where: str) -> Iterator[None]:
    """Turn a failure of the place where files lie into one line that names them and the cause."""
    try:
        yield
    except ReadingError as error:
        raise InputError(str(error)) from None
    except OSError as error:
        named = error.filename if isinstance(error.filename, str) else where
        raise InputError(f"{named}: {reason_of(error)}") from None
    except Exception as error:
        # The libraries that speak to other machines raise errors of their own, of no common kind;
        # faults of this program are mostly of Python's kinds.
        ours = isinstance(error, InputError) or type(error).__module__ == "builtins"
        if ours or "://" not in where:
            raise
        raise InputError(f"{where}: {reason_of(error)}") from None


def _kind(spec: str, layout: str | None) -> str:
    if spec.partition(":")[0] == "synthetic":
        return "synthetic"
    path = parse_uri(spec)
    suffix = path.suffix.lower()
    if suffix in SUFFIXES and suffix not in columnar.SUFFIXES:
        return "manifest"
    if path.is_dir():
        return "layout" if layout else _kind_of_folder(path)
    if suffix in columnar.SUFFIXES:
        return "embedded" if holds_images(path) else "manifest"
    if path.name == LFW:
        return "lfw"
    if suffix == zip_members.SUFFIX and path.exists():
        return "layout" if layout else _kind_of_zip(path, spec)
    fault = "no source of faces" if path.exists() else "no such file or folder"
    raise InputError(
        f"{spec}: {fault}; give a table ({', '.join(SUFFIXES)}), a CelebA folder, a folder of "
        ".parquet files with images, or synthetic[:N]"
    )


def _kind_of_zip(path: Anywhere, spec: str) -> str:
    if is_utkface(path):
        return "utkface"
    lists = [name for name in open_archive(path).members if name.rpartition("/")[2] in LISTS]
    if lists:
        raise InputError(
            f"{spec}: holds {min(lists)} beside the images; unpack it, and give the folder"
        )
    raise InputError(
        f"{spec}: a zip archive of images has no labels; give the CelebA folder that it lies in, "
        f"a manifest with --images {spec}, or --layout class/gender if its folders say so"
    )


def _kind_of_folder(path: Anywhere) -> str:
    if find_layout(path):
        return "celeba"
    if (path / LFW).exists():
        return "lfw"
    if kind := kind_of_tables(path):
        return kind
    if is_utkface(path):
        return "utkface"
    if elsewhere := _find_near(path):
        raise InputError(
            f"{path}: no source of faces by itself; give {elsewhere}, or --layout class/gender for "
            "folders that say so"
        )
    return "celeba"


def _find_near(folder: Anywhere) -> str | None:
    """Return what may be meant by a folder that is no source: one above or below, or a table."""
    below = [file.parent for name in LISTS for file in folder.glob(f"*/{name}")]
    for other in (*below, folder.parent, folder.parent.parent):
        if find_layout(other) or (other / LFW).exists():
            return str(other)
    tables = sorted(
        file.name
        for suffix in (".csv", ".tsv", ".jsonl")
        for file in folder.glob(f"*{suffix}")
        if not is_junk(file.name)
    )
    more = f", or another of the {len(tables)} tables there" if len(tables) > 1 else ""
    return str(folder / tables[0]) + more if tables else None


def kind_of_tables(folder: Anywhere) -> str | None:
    """Return which of `SOURCES` opens a folder for the tables in it; None: there is none."""
    for file in find_saved(folder).values():
        return "saved" if holds_images(file) else "tables"
    shards = [name for name in find_shards(folder) if name.rpartition("/")[2] not in METADATA]
    if shards:
        return "embedded"
    return "tables" if find_metadata(folder) else None


LISTS = (*ATTRIBUTES, LFW)
"""Files that say what is in the images beside them."""
OWN_IMAGES = {
    "embedded": "holds its images itself",
    "saved": "holds its images itself",
    "layout": "is the folder of the images",
    "utkface": "is the folder of the images",
    "synthetic": "is drawn",
}
"""The sources that have their images, and why."""
SOURCES: dict[str, Callable[[str, dict[str, Any]], Source]] = {
    "manifest": lambda spec, o: open_manifest(parse_uri(spec), o["images"], o["given"]),
    "celeba": lambda spec, o: open_celeba(parse_uri(spec), o["images"], o["given"]),
    "embedded": lambda spec, o: open_embedded(parse_uri(spec), o["given"]),
    "saved": lambda spec, o: open_saved(parse_uri(spec), o["given"]),
    "tables": lambda spec, o: open_tables(parse_uri(spec), o["images"], o["given"]),
    "lfw": lambda spec, o: open_lfw(parse_uri(spec), o["images"], o["given"]),
    "utkface": lambda spec, o: open_utkface(parse_uri(spec), o["given"]),
    "layout": lambda spec, o: open_layout(parse_uri(spec), o["layout"], o["given"]),
    "synthetic": lambda spec, o: open_synthetic(spec, o["seed"]),
}
