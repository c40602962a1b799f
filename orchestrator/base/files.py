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

import fsspec
from upath import UPath

from orchestrator.base.errors import InputError, StorageError

for _name in ("s3", "s3a"):  # by name: it is imported where it is used
    fsspec.register_implementation(
        _name, "orchestrator.base.s3.S3", clobber=True, errtxt="pip install 'fairfront[s3]'"
    )

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


def refuse_unreachable(path: Anywhere) -> None:
    """Raise `InputError` where a place on a server cannot be had now, before work is done there."""
    if isinstance(path, Path):
        return
    patient = getattr(path.fs, "patience", None)
    try:
        if patient is not None:
            path.fs.patience = 0  # at the start somebody is there to mend it
        path.exists()
    except Exception as error:  # file systems raise what the libraries beneath them do
        raise InputError(f"{path}: {reason_of(error)}") from None
    finally:
        if patient is not None:
            path.fs.patience = patient


def make_folder(path: Anywhere) -> None:
    """Make a folder and those above it; `InputError` where none can be.

    An object store has none: there a folder is the names in it.
    """
    if not isinstance(path, Path):
        return
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
        text = None if "b" in mode else io.TextIOWrapper(whole, write_through=True, **options)
        yield text or whole  # held here, too: a wrapper that goes closes what it wraps
        path.fs.pipe_file(path.path, whole.getvalue())
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


def read_bytes(path: Anywhere) -> bytes:
    """Read a file in one request, so that one which is replaced meanwhile is the old or the new."""
    if isinstance(path, Path):
        return path.read_bytes()
    content: bytes = path.fs.cat_file(path.path)
    return content


def read_text(path: Anywhere) -> str:
    """Read a text file, UTF-8, as `read_bytes` does."""
    return read_bytes(path).decode()


def append_line(path: Anywhere, line: str) -> None:
    """Add a line to a text file that nobody else writes to; make it where it is missing."""
    if isinstance(path, Path):
        with path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        return
    try:
        before = read_text(path)
    except FileNotFoundError:
        before = ""
    write_text(path, f"{before}{line}\n")


def children(folder: Anywhere) -> list[Anywhere]:
    """List what is in a folder, by name; nothing where it is missing."""
    try:
        if isinstance(folder, Path):
            names = [path.name for path in folder.iterdir()]
        else:  # pathlib's way asks twice more
            found = folder.fs.ls(folder.path, detail=False)
            names = [path.rstrip("/").rpartition("/")[2] for path in found if path != folder.path]
    except FileNotFoundError:
        return []
    return [folder / name for name in sorted(names)]


def listed_sizes(folder: Anywhere) -> dict[str, int]:
    """Return the bytes of the files in a folder, by name, as far as its file system lists them.

    An object store says them of a thousand files in a request. A web server says none, and one that
    fails is better asked for a file, whose name its error then has.
    """
    try:
        if isinstance(folder, Path):
            with os.scandir(folder) as entries:
                return {entry.name: entry.stat().st_size for entry in entries}
        folder.fs.invalidate_cache(folder.path)  # others write here, too
        found = folder.fs.ls(folder.path, detail=True)
    except Exception:  # file systems raise what the libraries beneath them do
        return {}
    return {
        entry["name"].rpartition("/")[2]: entry["size"]
        for entry in found
        if entry["type"] == "file" and entry["size"] is not None
    }


def write_json(path: Anywhere, value: Any) -> None:
    """Write JSON with an indent of 2; NaN is refused, since JSON has none."""
    text = json.dumps(value, indent=2, allow_nan=False)
    write_text(path, text + "\n")


def read_json(path: Anywhere) -> Any:
    """Read a JSON file; one that is missing or not JSON raises `InputError`."""
    try:
        content = read_bytes(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    return parse_json(content, path)


def parse_json(content: bytes, path: Anywhere) -> Any:
    """Parse what was read of a JSON file; `InputError`, with the file's name, where it is none."""
    try:
        return json.loads(content.decode())
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON ({error})") from None


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
    if isinstance(error, StorageError):
        return error.reason
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, OSError) and type(error).__module__ == "builtins" and error.strerror:
        return " ".join(error.strerror.split())
    return one_line(error) or type(error).__name__
