"""The source tree as a job takes it along: without data, runs, environments and caches.

Ray could pack the tree itself, but it walks every ignored folder twice, follows links, and tells
only after the upload that the package is too large.
"""

import os
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from pathspec import GitIgnoreSpec

from orchestrator.base.errors import InputError

SIZE_LIMIT = 100 * 2**20
"""Bytes; the HTTP server of a Ray head refuses a larger upload (its ``client_max_size``)."""

IGNORE_FILES = (".gitignore", ".rayignore")
"""Of any folder of the tree; what one of them ignores is not sent, as with Ray's own packages."""

NEVER_SENT = (".*", "__pycache__/", "venv*/", "*.egg-info/", "*.partial/")
"""What no job needs, on top of what `IGNORE_FILES` name; ``.*`` takes `.git` and caches."""

MARKS = (
    ("meta.json", "train"),  # a prepared data set
    ("config.yaml", "trials"),  # a run
    ("pyvenv.cfg",),  # a virtual environment
    ("conda-meta",),  # a conda environment
)
"""A folder that holds all the names of one of these is not source code."""

Ignores = tuple[tuple[Path, GitIgnoreSpec], ...]


class SourceTree(NamedTuple):
    """What a job takes along."""

    root: Path
    files: list[str]
    """Relative to `root`, sorted."""


def source_tree(start: Path) -> SourceTree:
    """Find the source tree that `start` lies in, and what a job needs of it.

    Raises
    ------
    InputError
        As `project_root` and `source_files` do.
    """
    root = project_root(start)
    return SourceTree(root, source_files(root))


def project_root(start: Path) -> Path:
    """Return the folder of fairfront's source tree that `start` lies in.

    Raises
    ------
    InputError
        Neither `start` nor a folder above it holds ``pyproject.toml`` and ``orchestrator/``.
    """
    for folder in (start, *start.parents):
        if (folder / "pyproject.toml").is_file() and (folder / "orchestrator").is_dir():
            return folder
    raise InputError(
        f"{start}: no source tree to send (pyproject.toml beside orchestrator/) here or above; "
        "run submit from a checkout of fairfront"
    )


def source_files(root: Path) -> list[str]:
    """Return the files of the tree under `root` that a job needs, relative, sorted.

    Raises
    ------
    InputError
        Together they exceed `SIZE_LIMIT`; the message names the largest.
    """
    rules = ((root, GitIgnoreSpec.from_lines(NEVER_SENT)),)
    files = sorted(path.relative_to(root).as_posix() for path in _walk(root, rules))
    _check_size(root, files)
    return files


def pack(root: Path, files: list[str], target: Path, more: Mapping[str, bytes] = {}) -> Path:
    """Write `files` under `root`, and `more` beside them by name, into the zip file `target`.

    The same contents give the same bytes, so Ray uploads an unchanged tree once per cluster.
    """
    with zipfile.ZipFile(target, "w") as package:

        def add(name: str, content: bytes, mode: int) -> None:
            info = zipfile.ZipInfo(name)  # dated 1980, whenever the file was checked out
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (0o100755 if mode & 0o100 else 0o100644) << 16  # by any umask
            package.writestr(info, content)

        for name in files:
            add(name, (root / name).read_bytes(), (root / name).stat().st_mode)
        for name, content in more.items():
            add(name, content, 0)
    return target


def _walk(folder: Path, rules: Ignores) -> Iterator[Path]:
    for file in map(folder.joinpath, IGNORE_FILES):
        if file.is_file():
            lines = file.read_text(encoding="utf-8").splitlines()
            rules = (*rules, (folder, GitIgnoreSpec.from_lines(lines)))
    with os.scandir(folder) as entries:
        for entry in entries:
            path = Path(entry.path)
            # A link to a folder is not followed: it mostly leads to data.
            is_folder = entry.is_dir(follow_symlinks=False)
            if _ignored(path, is_folder, rules):
                continue
            if is_folder and not _marked(path):
                yield from _walk(path, rules)
            elif path.is_file():
                yield path


def _ignored(path: Path, is_folder: bool, rules: Ignores) -> bool:
    end = "/" if is_folder else ""
    return any(rule.match_file(path.relative_to(base).as_posix() + end) for base, rule in rules)


def _marked(folder: Path) -> bool:
    return any(all((folder / name).exists() for name in mark) for mark in MARKS)


def _check_size(root: Path, files: list[str]) -> None:
    # Judged before packing: data barely shrinks, and to pack gigabytes only to refuse them is slow.
    sizes: Counter[str] = Counter()
    for name in files:
        folder = name.rpartition("/")[0]
        sizes[f"{folder}/" if folder else name] += (root / name).stat().st_size
    if sizes.total() > SIZE_LIMIT:
        largest = ", ".join(f"{name} ({_mebibytes(size)})" for name, size in sizes.most_common(3))
        raise InputError(
            f"{root}: the source tree to send is {_mebibytes(sizes.total())} and Ray takes "
            f"{_mebibytes(SIZE_LIMIT)}; largest: {largest}; add what is not source to "
            ".gitignore or .rayignore"
        )


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:.0f} MiB"
