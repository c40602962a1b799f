"""The one way in which the bytes of images are read, wherever they lie."""

import errno
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import fsspec

from orchestrator.base.errors import ReadingError
from orchestrator.base.files import cause_of, reason_of
from orchestrator.data.reading import parquet_images, zip_members

__all__ = ["ReadingError", "read_many"]

FETCH_TOGETHER = 64
"""Files of a remote file system fetched at a time."""
PAUSES = (0.2, 1.0)
"""Seconds before what could not be fetched is asked for again."""
NO_FILE = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
NAME_ERRORS = (errno.ELOOP, errno.ENAMETOOLONG)


def read_many(paths: Sequence[str]) -> Iterator[bytes | Exception]:
    """Read small files; for one that is missing or damaged, give the exception in its place.

    Parameters
    ----------
    paths
        All of one kind: local paths; URIs of one file system, whose files are then fetched many at
        a time; members of zip archives, as `zip_members.uri` names them; or cells of Parquet files,
        as `parquet_images.uri` does.

    Raises
    ------
    ReadingError
        The place of the images failed. Images that are there would be missing without a word if
        that were taken for a fault of theirs.
    """
    done = 0
    try:
        for read in _reader(paths[0])(paths) if paths else ():
            yield read
            done += 1
    except ReadingError:
        raise
    # File systems raise what the libraries beneath them do, of no common kind.
    except Exception as error:
        raise ReadingError(f"{paths[done]}: {reason_of(error)}") from error


def _reader(path: str) -> Callable[[Sequence[str]], Iterator[bytes | Exception]]:
    if path.startswith(zip_members.SCHEME):
        return zip_members.read_members
    if path.startswith(parquet_images.SCHEME):
        return parquet_images.read_cells
    return _fetch if "://" in path else partial(map, _read_local)


def _fetch(paths: Sequence[str]) -> Iterator[bytes | Exception]:
    files, _ = fsspec.core.url_to_fs(paths[0])
    for start in range(0, len(paths), FETCH_TOGETHER):
        together = [files._strip_protocol(path) for path in paths[start : start + FETCH_TOGETHER]]
        # Unlike `cat`, this takes no name for a pattern.
        fetched = files.cat_ranges(together, None, None, on_error="return")
        for pause in PAUSES:
            failed = [i for i, data in enumerate(fetched) if _has_failed(data)]
            if not failed:
                break
            time.sleep(pause)
            again = files.cat_ranges([together[i] for i in failed], None, None, on_error="return")
            for i, data in zip(failed, again, strict=True):
                fetched[i] = data
        for data in fetched:
            if _has_failed(data):
                raise data
            yield data


def _has_failed(data: bytes | Exception) -> bool:
    return isinstance(data, BaseException) and not isinstance(cause_of(data), NO_FILE)


def _read_local(path: str) -> bytes | Exception:
    try:
        with open(path, "rb") as file:  # noqa: PTH123  # a third of the time of Path.read_bytes
            return file.read()
    except (*NO_FILE, PermissionError, ValueError) as error:  # ValueError: a NUL in the name
        return error
    except OSError as error:
        if error.errno in NAME_ERRORS:
            return error
        raise
