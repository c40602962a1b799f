"""Locks on files and folders, which go with the process that holds them."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def held(path: Path, *, shared: bool = False, wait: bool = False) -> Iterator[bool]:
    """Hold a lock while in the ``with`` block.

    The system takes the lock away from a process that dies, also by ``kill -9``, and processes that
    it started do not have it. Where a file system has no locks, nothing keeps others off.

    Parameters
    ----------
    path
        A file or folder that exists; only the lock on it is looked at.
    shared
        Share it with others that share it, too.
    wait
        Wait until it is free.

    Yields
    ------
    bool
        Whether nobody else holds it.
    """
    descriptor = os.open(path, os.O_RDONLY)
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        ours = True
        try:
            fcntl.flock(descriptor, kind if wait else kind | fcntl.LOCK_NB)
        except BlockingIOError:
            ours = False
        except OSError:  # network file systems without locks
            pass
        yield ours
    finally:
        os.close(descriptor)
