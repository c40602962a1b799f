"""Images that are at hand when their turn comes, though the disk or the network is slow."""

import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from orchestrator.data.reading.image_bytes import read_many

HINT_BYTES = 2**20
"""Of a local file, read ahead; the system itself sees to the rest of a longer one."""


def read_ahead(pieces: Iterable[Sequence[str]]) -> Iterator[bytes | Exception]:
    """Give what `read_many` does of each piece, while a thread sees to the next one.

    Remote files, and images in archives and Parquet files, are read by that thread and wait in
    memory. Local files are only brought into the system's cache: reading them in threads took a
    tenth of the speed where they were there already.

    Parameters
    ----------
    pieces
        Paths, as `read_many` takes them; two pieces are in memory at a time.

    Raises
    ------
    ReadingError
        The place of the images failed; raised in the turn of its piece.
    """
    reader = ThreadPoolExecutor(1)  # one, since archives and Parquet files are read in order
    waiting: deque[Iterator[bytes | Exception]] = deque()
    try:
        for paths in pieces:
            if "://" in paths[0]:
                waiting.append(_once_read(reader.submit(lambda these: [*read_many(these)], paths)))
            else:
                reader.submit(_bring_near, paths)
                waiting.append(read_many(paths))
            if len(waiting) > 1:
                yield from waiting.popleft()
        for last in waiting:
            yield from last
    finally:
        reader.shutdown(cancel_futures=True)


def _once_read(read: "Future[list[bytes | Exception]]") -> Iterator[bytes | Exception]:
    yield from read.result()


def _bring_near(paths: Sequence[str]) -> None:
    """Have the system read local files into its cache, unless the first is there already.

    A hint, and no more: whatever is wrong with a file shows when it is read.
    """
    if sys.platform != "linux":
        return
    for number, path in enumerate(paths):
        try:
            file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            try:
                if number == 0 and _is_cached(file):
                    return
                os.posix_fadvise(file, 0, HINT_BYTES, os.POSIX_FADV_WILLNEED)
            finally:
                os.close(file)
        except (OSError, ValueError):
            continue


def _is_cached(file: int) -> bool:
    try:
        return bool(os.preadv(file, [bytearray(1)], 0, os.RWF_NOWAIT))
    except OSError:  # it would have to wait, or the file system cannot tell
        return False
