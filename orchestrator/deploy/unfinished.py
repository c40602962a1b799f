"""What is done of a prediction, kept beside its output until that is whole.

::

    OUT.partial/unfinished.json     what it is of
    OUT.partial/00012.parquet       a section of its images: logit, and why it could not be read
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from orchestrator.base.errors import InputError
from orchestrator.base.files import (
    Anywhere,
    children,
    make_folder,
    read_bytes,
    read_json,
    remove_tree,
    write_json,
    writing,
)
from orchestrator.base.locks import held

MARK, LOCK = "unfinished.json", ".lock"


@dataclass(frozen=True)
class Kept:
    """The folder of a prediction that is being made."""

    folder: Anywhere

    def read(self, section: int, rows: int) -> NDArray[np.float32] | None:
        """Return the logits of a section of so many images.

        None: it is not done, or not wholly on the disk, or some of its images could not be read,
        which may have been mended.
        """
        try:
            table = pq.read_table(pa.BufferReader(read_bytes(self._file(section))))
        except (FileNotFoundError, pa.ArrowException):
            return None
        if len(table) != rows or any(table["reason"].to_pylist()):
            return None
        logit: NDArray[np.float32] = table["logit"].to_numpy()
        return logit

    def write(self, section: int, logit: NDArray[np.float32], reason: NDArray[np.object_]) -> None:
        """Keep a section that is done."""
        table = pa.table({"logit": logit, "reason": pa.array(reason, pa.string())})
        # Not worth a wait for the disk: after a power cut it would be done again.
        with writing(self._file(section), lasting=False) as file:
            pq.write_table(table, file)

    def _file(self, section: int) -> Anywhere:
        return self.folder / f"{section:05}.parquet"


def folder_of(out: Anywhere) -> Anywhere:
    """Return where what is done is kept."""
    return out.with_name(out.name + ".partial")


@contextmanager
def keeping(out: Anywhere, mark: Mapping[str, Any]) -> Iterator[Kept]:
    """Keep what is done of `out` while in the ``with`` block; after it, nothing but `out` is left.

    Where an exception ends the block, the folder stays, and so where the process is killed: the
    next call with the same `mark` goes on from there, one with another clears it.

    Raises
    ------
    InputError
        The folder holds what is not ours, another call is at work in it, or it has no locks.
        (Object stores have none: there nothing keeps others off.)
    """
    folder = folder_of(out)
    there = children(folder)
    if not (folder / MARK).exists() and any(not path.name.startswith(".") for path in there):
        raise InputError(
            f"{folder}: holds what no predict left, and one would keep there what is done; move it "
            "away, or choose another --out"
        )
    with ExitStack() as stack:
        if isinstance(folder, Path):
            make_folder(folder)
            if not stack.enter_context(held(folder / LOCK)):
                raise InputError(
                    f"{folder}: another predict is at work here; wait for it, or choose another "
                    "--out"
                )
        if not ((folder / MARK).exists() and read_json(folder / MARK) == mark):
            for path in children(folder):
                if path.name != LOCK:
                    path.unlink()
            write_json(folder / MARK, dict(mark))
        yield Kept(folder)
        remove_tree(folder)
