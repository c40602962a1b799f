"""Members of zip archives, read where they lie; nothing is ever unpacked to a disk.

A member's path is written as fsspec writes it, ``zip://MEMBER::ARCHIVE``.
"""

import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

from orchestrator.base.errors import InputError
from orchestrator.base.files import Anywhere, one_line, parse_uri, reason_of, version_of
from orchestrator.base.source_files import source_of
from orchestrator.data.reading.file_kinds import is_junk

SCHEME = "zip://"
SUFFIX = ".zip"
MAX_BYTES = 2**28
"""A member that unpacks to more is taken for a decompression bomb."""
READ_AHEAD = 2**20
"""Bytes of a remote archive fetched at a time: some 140 faces of CelebA."""
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""The only ones that zipfile unpacks no further than it is told to."""
DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, ValueError)
"""What zipfile raises on the bytes of a damaged archive."""


class _RefusedError(Exception):
    """A member is not read; the message is a few words on why."""


@dataclass(frozen=True)
class Archive:
    """A zip archive of images that has been looked through."""

    path: Anywhere
    members: frozenset[str]
    """The names of its files."""
    top: str
    """The folder that all of them lie in, with a slash at its end; empty if there is none."""

    def find(self, name: str) -> str:
        """Return the path of an image by its name in the archive, or in the folder `top`.

        A name that the archive has not gets a path too, which cannot be read.
        """
        return uri(name if name in self.members else self.top + name, self.path)


def uri(member: str, archive: Anywhere) -> str:
    """Return the path of a member, for `read_members`."""
    return f"{SCHEME}{member}::{archive}"


def split(path: str) -> tuple[str, str]:
    """Return the member and the archive of a path that `uri` made."""
    member, _, archive = path.removeprefix(SCHEME).rpartition("::")
    return member, archive


def open_archive(path: Anywhere) -> Archive:
    """Look through a zip archive.

    Raises
    ------
    InputError
        No archive, or one that is cut short, empty or has a member whose name leads out of it.
    """
    try:
        names = _open(str(path), version_of(path)).namelist()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except DAMAGE as error:
        raise InputError(
            f"{path}: not a zip archive, or a damaged one ({one_line(error)}); get it again"
        ) from None
    except OSError as error:
        raise InputError(f"{path}: {reason_of(error)}") from None
    for name in names:
        if _leads_out(name):
            raise InputError(
                f"{path}: unsafe: its member {name!r} leads out of the archive; pack it again "
                "with names that do not"
            )
    members = frozenset(name for name in names if _is_image(name))
    if not members:
        raise InputError(f"{path}: no files in this archive; give one that holds images")
    tops = {name.partition("/")[0] if "/" in name else "" for name in members}
    top = tops.pop()
    return Archive(path, members, f"{top}/" if top and not tops else "")


def read_members(paths: Sequence[str]) -> Iterator[bytes | Exception]:
    """Read members of archives; for one that cannot be read, give the exception in its place.

    Parameters
    ----------
    paths
        As `uri` makes them. Those of one archive are best together.

    Raises
    ------
    Exception
        Whatever the file system raises, where an archive cannot be reached.
    """
    for archive, members in groupby(map(split, paths), key=lambda parts: parts[1]):
        try:
            opened: zipfile.ZipFile | Exception = _open(archive, version_of(parse_uri(archive)))
        except DAMAGE as error:
            opened = error
        for member, _ in members:
            yield opened if isinstance(opened, Exception) else _read(opened, member)


@lru_cache(maxsize=2)  # the list of 200,000 members takes a second and 100 MB
def _open(path: str, _version: str) -> zipfile.ZipFile:
    return zipfile.ZipFile(source_of(parse_uri(path), READ_AHEAD))


def _read(archive: zipfile.ZipFile, member: str) -> bytes | Exception:
    """Return a member's bytes, or why they could not be read."""
    try:
        return _unpack(archive, archive.getinfo(member))
    except KeyError:
        return FileNotFoundError(member)
    except _RefusedError as error:
        return error
    except DAMAGE as error:
        return ValueError("damaged in the archive" + ": wrong checksum" * ("CRC" in str(error)))


def _unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    if member.flag_bits & 1:
        raise _RefusedError("encrypted in the archive")
    if member.compress_type not in METHODS:
        raise _RefusedError("packed in the archive by a method that is not read")
    if member.file_size > MAX_BYTES:
        raise _RefusedError(f"more than {MAX_BYTES >> 20} MiB when unpacked")
    with archive.open(member) as file:
        # With a limit, no more is unpacked than the archive says, whatever lies in it.
        return file.read(member.file_size + 1)


def _leads_out(name: str) -> bool:
    slashed = name.replace("\\", "/")
    outside = slashed.startswith("/") or re.match(r"[A-Za-z]:", slashed)
    return bool(outside) or ".." in slashed.split("/")


def _is_image(name: str) -> bool:
    """Tell files from folders, and from what systems add."""
    return not name.endswith("/") and not is_junk(name)
