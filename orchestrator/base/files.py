"""Files and folders on any file system: a local path, a mount or a URI such as ``s3://``.

Paths are `upath.UPath`: pathlib for a local path, fsspec behind the same methods for a URI.
"""

import errno
import io
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from upath import UPath

from orchestrator.base.errors import InputError, ReadingError

Anywhere = UPath | Path
"""A place on any file system, as `parse_uri` gives it: a `pathlib.Path` when it is local."""


REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
"""What a disk says that does not take what is written: it is full, or not ours to write to."""


def parse_uri(where: str | os.PathLike[str] | Anywhere) -> Anywhere:
    """Turn what the user typed into a path; local ones become absolute, so workers agree on them.

    Raises
    ------
    InputError
        A URI whose file system is unknown, or needs a package that is not installed.
    """
    try:
        path = UPath(where)
        if path.protocol in ("", "file", "local"):
            return Path(path.path).expanduser().absolute()
        _ = path.fs  # the package that speaks the protocol is imported here
    except (ImportError, ValueError) as error:
        raise InputError(f"{where}: no file system for this URI ({one_line(error)})") from None
    return path


def is_local(path: Anywhere) -> bool:
    """Tell whether `path` lies on a mounted file system, where renaming is atomic."""
    return isinstance(path, Path)


def refuse_existing(path: Anywhere, what: str) -> None:
    """Raise `InputError` when `path` is taken; an empty folder is free."""
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise InputError(f"{path}: {what} exists already; choose another --out, or remove it first")


def make_folder(path: Path) -> None:
    """Make a folder and those above it; `InputError` where none can be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{path}: no folder can be made there ({reason_of(error)}); choose another --out"
        ) from None


def refuse_unwritable(folder: Path) -> None:
    """Raise `InputError` where no file can be made in a folder, before work is done for it."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0")
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be written to ({reason_of(error)}); choose another --out"
        ) from None


@contextmanager
def writing(
    path: Anywhere, mode: str = "wb", *, lasting: bool = True, **options: Any
) -> Iterator[IO[Any]]:
    """Open a file beside `path` and put it there only once it is written whole.

    It is there after a power cut, too, unless it is not `lasting`, which spares the wait for the
    disk; without that wait, a file could have its name before its content.
    """
    if not isinstance(path, Path):
        # An object store publishes what it has when a file is closed, even by an exception.
        whole = io.BytesIO()
        yield whole if "b" in mode else io.TextIOWrapper(whole, write_through=True, **options)
        path.write_bytes(whole.getvalue())
        return
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        with beside.open(mode, **options) as file:
            yield file
            if lasting:
                file.flush()
                os.fsync(file.fileno())
        beside.replace(path)
        if lasting:
            _sync_folder(path.parent)
    except OSError as error:
        if error.errno in REFUSALS and error.filename in (None, str(beside)):
            error.filename = str(path)  # a full disk names no file, and the other is none of ours
        raise
    finally:
        beside.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Have the disk know the names in a folder, where its file system takes that."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # FUSE and SMB have no such thing; the file itself is there
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Anywhere, text: str, *, lasting: bool = True) -> None:
    """Write a text file, UTF-8, all of it or nothing; `lasting` as in `writing`."""
    with writing(path, "w", lasting=lasting, encoding="utf-8", newline="\n") as file:
        file.write(text)


def write_json(path: Anywhere, value: Any) -> None:
    """Write JSON with an indent of 2; NaN is refused, since JSON has none."""
    text = json.dumps(value, indent=2, allow_nan=False)
    write_text(path, text + "\n")


def read_json(path: Anywhere) -> Any:
    """Read a JSON file; one that is missing or not JSON raises `InputError`."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON ({error})") from None


def source_of(path: Anywhere, ahead: int = 0) -> str | io.RawIOBase:
    """Return what libraries read a file in places from: a local path, or an open remote file.

    Parameters
    ----------
    path
        The file; of a remote one only what is asked for is fetched.
    ahead
        How many more bytes to fetch each time, for the next reads.

    Raises
    ------
    FileNotFoundError
        A remote file is missing.
    ReadingError
        A remote file cannot be opened, or later on be read.
    """
    if isinstance(path, Path):
        return str(path)
    options = {"block_size": ahead, "cache_type": "readahead"} if ahead else {"cache_type": "none"}
    return _Remote(path, options)


class _Remote(io.RawIOBase):
    """A remote file whose failures are `ReadingError`, which no parser takes for damage."""

    def __init__(self, path: UPath, options: dict[str, Any]) -> None:
        self._path = path
        try:
            self._file = path.fs.open(path.path, "rb", **options)
        except Exception as error:
            if isinstance(cause_of(error), FileNotFoundError):
                raise
            raise self._failure(error) from error

    def read(self, size: int | None = -1) -> bytes:
        try:
            content: bytes = self._file.read(-1 if size is None else size)
        except Exception as error:
            raise self._failure(error) from error
        return content

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._file.seek(offset, whence))  # fetches nothing

    def tell(self) -> int:
        return int(self._file.tell())

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        if not self.closed and hasattr(self, "_file"):
            self._file.close()
        super().close()

    def _failure(self, error: Exception) -> ReadingError:
        return ReadingError(f"{self._path}: {reason_of(error)}")


def version_of(path: Anywhere) -> str:
    """Return a text that is another when the file is, where its file system can tell."""
    if isinstance(path, Path):
        stat = path.stat()
        return f"{stat.st_ino} {stat.st_size} {stat.st_mtime_ns}"
    return str(path.fs.ukey(path.path))


def remove_tree(path: Anywhere) -> None:
    """Delete a folder and all in it; a missing one is fine.

    A local folder leaves its place at once, so that a process still at work there cannot write
    into it while it is being deleted.
    """
    if not isinstance(path, Path):
        if path.exists():
            path.fs.rm(path.path, recursive=True)
        return
    doomed = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.removed")
    try:
        path.replace(doomed)
    except FileNotFoundError:
        return
    shutil.rmtree(doomed, ignore_errors=True)


def one_line(error: BaseException) -> str:
    """Return the message of an error without its line breaks."""
    return " ".join(str(error).split())


def cause_of(error: BaseException) -> BaseException:
    """Return what really happened: fsspec calls a file missing whose web server is out of reach."""
    inner = error.__cause__ if isinstance(error, FileNotFoundError) else None
    web = isinstance(inner, OSError) or type(inner).__module__.startswith("aiohttp.")
    missing = not web or getattr(inner, "status", None) == 404
    return error if inner is None or missing else cause_of(inner)


def reason_of(error: BaseException) -> str:
    """Say in a few words why a file cannot be read, without its path where that is possible."""
    error = cause_of(error)
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, OSError) and type(error).__module__ == "builtins" and error.strerror:
        return " ".join(error.strerror.split())
    return one_line(error) or type(error).__name__
