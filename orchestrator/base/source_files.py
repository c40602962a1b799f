"""Files that libraries read in places: of this machine, or of a server, of which they get parts."""

import io
from pathlib import Path
from typing import Any

from upath import UPath

from orchestrator.base.errors import ReadingError
from orchestrator.base.files import Anywhere, cause_of, reason_of


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
