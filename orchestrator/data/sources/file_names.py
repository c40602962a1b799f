"""Which file a name in a table means, also where it is not spelt as the file is.

A name that is no file is looked for by what lies in the folder or archive of the images: with
slashes for backslashes, in the other form of Unicode, in another case, with another suffix or
without one; with ``--images`` also by its last parts alone; and where none of the names is a file,
in the folders below. One file that fits is taken, several are refused.
"""

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple
from unicodedata import normalize

from orchestrator.base.errors import InputError
from orchestrator.base.files import Anywhere, is_local
from orchestrator.data.reading import zip_members
from orchestrator.data.reading.file_kinds import IMAGE_SUFFIXES, is_junk
from orchestrator.data.reading.zip_members import Archive
from orchestrator.data.sources.source import ImageRoot, collapse

DRIVE = re.compile(r"[A-Za-z]:[\\/]|\\\\")
SHOWN = 3


class Located(NamedTuple):
    """Where the files lie that names mean."""

    paths: list[str]
    notes: tuple[str, ...]
    """For the user."""


def locate(names: Sequence[str], images: ImageRoot, where: str, *, by_tail: bool) -> Located:
    """Resolve file names against the folder or the archive of the images.

    Parameters
    ----------
    names
        As they are in the table.
    images
        The folder or archive; a remote folder is not looked through.
    where
        The table, for a message.
    by_tail
        Names may lead through folders that are not there, as those of another machine do.

    Raises
    ------
    InputError
        A name is empty, leads out, or means several files; the row is counted from 1.
    """
    find = _in_archive(images) if isinstance(images, Archive) else _in_folder(images)
    looked_through = isinstance(images, Archive) or is_local(images)
    paths: list[str] = []
    odd: list[int] = []
    for row, name in enumerate(names):
        path = find(name) if name else None
        if path is None and not (name and by_tail and looked_through and _is_absolute(name)):
            raise InputError(_outside(name, row, images, where))
        paths.append(path or "")
        if looked_through and not (path and _exists(path, images)):
            odd.append(row)
    if not odd:
        return Located(paths, ())
    known = _Files(list(files_in(images)), by_tail, anywhere=len(odd) == len(names))
    others = {*paths}.difference(paths[row] for row in odd)
    meant: dict[int, _Match] = {}
    for row in odd:
        match = known.match(names[row], row, where)
        path = match and find(match.file)
        if match and path and path not in others:
            meant[row], paths[row] = match, path
        elif not paths[row] or (DRIVE.match(names[row]) and not by_tail):
            raise InputError(_outside(names[row], row, images, where))
    return Located(paths, _describe(meant, names, where))


class _Match(NamedTuple):
    file: str
    how: str
    """In which way it is spelt otherwise."""


def _nfc(name: str) -> str:
    return normalize("NFC", name)


def _any_case(name: str) -> str:
    return _nfc(name).casefold()


def _any_suffix(name: str) -> str:
    spelt = _any_case(name)
    stem, dot, suffix = spelt.rpartition(".")
    return stem if dot + suffix in IMAGE_SUFFIXES else spelt


SPELLINGS: dict[str, Callable[[str], str]] = {
    "": str,
    "Unicode form": _nfc,
    "case": _any_case,
    "suffix": _any_suffix,
}
"""What may differ, the least first."""


@dataclass(frozen=True)
class _Files:
    """The files in a folder or archive."""

    names: list[str]
    by_tail: bool
    anywhere: bool
    """In folders below as well."""

    @cached_property
    def _by_spelling(self) -> dict[str, dict[str, list[str]]]:
        found: dict[str, dict[str, list[str]]] = {}
        for how, spell in SPELLINGS.items():
            found[how] = defaultdict(list)
            for name in self.names:
                spelt = spell(name)
                found[how][spelt.rpartition("/")[2] if self.anywhere else spelt].append(name)
        return found

    def match(self, name: str, row: int, where: str) -> _Match | None:
        """Return the one file that a name means; None if there is none."""
        slashed = name.replace("\\", "/")
        parts = collapse(re.sub(r"^[A-Za-z]:", "", slashed)).strip("/").split("/")
        for start in range(len(parts) if self.by_tail else 1):
            tail = "/".join(parts[start:])
            for how, spell in SPELLINGS.items():
                files = sorted(self._spelt(tail, how, spell))
                if len(files) > 1:
                    raise InputError(
                        f"{where}: row {row + 1}: {name} may be {', '.join(files[:SHOWN])}"
                        f"{', …' if len(files) > SHOWN else ''}; write it as the file is called, "
                        "or give --images the folder it is in"
                    )
                if files:
                    nested = files[0].count("/") > tail.count("/")
                    folder, slashes = start or nested, "\\" in name
                    ways = [how, "folder" * bool(folder), "backslashes" * slashes]
                    return _Match(files[0], " and ".join(filter(None, ways)))
        return None

    def _spelt(self, tail: str, how: str, spell: Callable[[str], str]) -> list[str]:
        spelt = spell(tail)
        if not self.anywhere:
            return self._by_spelling[how].get(spelt, [])
        alike = self._by_spelling[how].get(spelt.rpartition("/")[2], [])
        return [file for file in alike if f"/{spell(file)}".endswith(f"/{spelt}")]


def _describe(meant: dict[int, _Match], names: Sequence[str], where: str) -> tuple[str, ...]:
    if not meant:
        return ()
    row, match = next(iter(meant.items()))
    ways = ", ".join(dict.fromkeys(match.how for match in meant.values()))
    return (
        f"{where}: {len(meant):,} of {len(names):,} names are spelt otherwise than the files "
        f"({ways}): {names[row]} is {match.file}",
    )


def _outside(name: str, row: int, images: ImageRoot, where: str) -> str:
    root = f"archive {images.path}" if isinstance(images, Archive) else f"folder {images}"
    reason = f"{name} is outside the image {root}" if name else "the filename is empty"
    mend = "another --images" if isinstance(images, Archive) else "--images the folder they are in"
    return f"{where}: row {row + 1}: {reason}; give names inside it, or {mend}"


def _is_absolute(name: str) -> bool:
    return name.startswith("/") or bool(DRIVE.match(name))


def _exists(path: str, images: ImageRoot) -> bool:
    if isinstance(images, Archive):
        return zip_members.split(path)[0] in images.members
    return os.path.isfile(path)  # noqa: PTH113  # a third of the time of Path.is_file


def files_in(images: ImageRoot) -> Iterator[str]:
    """Give the names of all files that may be images, from the folder or the archive on."""
    if isinstance(images, Archive):
        yield from (name.removeprefix(images.top) for name in images.members)
        return
    seen = set()
    for folder, below, names in os.walk(str(images), followlinks=True):
        place = Path(folder).stat()
        if (place.st_dev, place.st_ino) in seen:  # a link to a folder above
            below.clear()
            continue
        seen.add((place.st_dev, place.st_ino))
        below[:] = [name for name in below if not is_junk(name) and not name.startswith(".")]
        within = Path(folder).relative_to(str(images)).as_posix()
        for name in names:
            if not is_junk(name):
                yield name if within == "." else f"{within}/{name}"


def _in_folder(folder: Anywhere) -> Callable[[str], str | None]:
    root = folder.as_posix().rstrip("/") if is_local(folder) else str(folder).rstrip("/")

    def find(name: str) -> str | None:
        # Names as plain as most are need no closer look, and there may be 200,000 of them.
        plain = not name.startswith("/") and ".." not in name and ":" not in name
        return f"{root}/{name}" if plain else _resolve(name, root)

    return find


def _in_archive(archive: Archive) -> Callable[[str], str | None]:
    def find(name: str) -> str | None:
        member = name
        if name not in archive.members:
            inside = _resolve(name, "/archive")
            if inside is None:
                return None
            member = inside.removeprefix("/archive/")
        return archive.find(member)

    return find


def _resolve(name: str, root: str) -> str | None:
    """Join by spelling alone, as links are the user's own; None if it leads out of `root`."""
    if "://" in name:
        return None
    scheme, _, start = root.rpartition("://")
    path = collapse(name if name.startswith("/") else f"{start}/{name}")
    if not path.startswith(collapse(start).rstrip("/") + "/"):
        return None
    return f"{scheme}://{path}" if scheme else path
