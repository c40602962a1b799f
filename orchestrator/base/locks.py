"""Locks on files, which go with the process that holds them."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from orchestrator.base.errors import InputError
from orchestrator.base.files import reason_of


@contextlib.contextmanager
def held(
    path: Path, *, shared: bool = False, wait: bool = False, make: bool = True
) -> Iterator[bool]:
    """Hold a lock while in the ``with`` block.

    The system takes the lock away from a process that dies, also by ``kill -9``, and processes that
    it started do not have it.

    Parameters
    ----------
    path
        A file; only the lock on it is looked at. None is ever removed that several lock by its
        name, or one of them could hold the old file and another the new one.
    shared
        Share it with others that share it, too.
    wait
        Wait until it is free.
    make
        Make the file where it is missing; else that raises `FileNotFoundError`.

    Yields
    ------
    bool
        Whether nobody else holds it.

    Raises
    ------
    InputError
        The file cannot be written, or its file system has no locks: nothing would keep others off.
    """
    descriptor = _opened(path, make=make)
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        ours = True
        try:
            fcntl.flock(descriptor, kind if wait else kind | fcntl.LOCK_NB)
        except BlockingIOError:
            ours = False
        except OSError as error:
            raise InputError(
                f"{path}: its file system gives no locks ({reason_of(error)}), without which two "
                "commands could write over each other; mount it with locks, or choose another --out"
            ) from None
        yield ours
    finally:
        os.close(descriptor)


def _opened(path: Path, *, make: bool) -> int:
    """Open a file for reading and writing: NFS refuses a lock of one's own on any other."""
    try:
        return os.open(path, os.O_RDWR | (os.O_CREAT if make else 0), 0o666)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise InputError(
            f"{path}: cannot be locked ({reason_of(error)}); make it writable"
        ) from None
