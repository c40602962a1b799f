"""The folder in which a data set is made: whose it is, what is done of it, and how it is published.

::

    WORK/unfinished.json        which data set it becomes; as long as it is there, it is being made
    WORK/state/                 what only the making needs; see `orchestrator.data.prepare.chunks`
"""

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from orchestrator.base.errors import InputError
from orchestrator.base.files import (
    Anywhere,
    is_local,
    parse_uri,
    read_json,
    reason_of,
    refuse_existing,
    remove_tree,
    version_of,
    write_json,
)
from orchestrator.base.locks import held
from orchestrator.data.prepare.chunks import FACES, STATE, Job, chunk_rows
from orchestrator.data.reading import parquet_images, zip_members
from orchestrator.data.splits import SPLITS

UNFINISHED, META, LOCK = "unfinished.json", "meta.json", ".lock"

Mark = dict[str, Any]
"""All that decides a data set, as `mark_of` gives it."""


class KeptError(InputError):
    """Something failed that the user can mend; what is done so far is kept until then."""

    def __init__(self, message: str) -> None:
        super().__init__(
            f"{message}; mend that and run the same command again: it goes on from here"
        )


def work_folder(out: Anywhere) -> Anywhere:
    """Return where a data set lies until it is whole: beside `out`, and renamed when done.

    Object stores cannot rename a folder; there it is `out`, and ``meta.json`` makes it whole.
    """
    return out.with_name(out.name + ".partial") if is_local(out) else out


def refuse_taken(out: Anywhere) -> None:
    """Raise `InputError` when `out` is taken; an unfinished data set of ours is no hindrance."""
    # Where a folder can be renamed, one that is not whole never gets this name from us.
    if not is_unfinished(out) or (is_local(out) and not (out / META).exists()):
        refuse_existing(out, "a data set")


def is_unfinished(folder: Anywhere) -> bool:
    """Tell whether a data set lies here that is being made, or is whole but not cleared up."""
    return (folder / UNFINISHED).exists()


def is_published(out: Anywhere, mark: Mark) -> bool:
    """Tell whether this data set lies here whole, and the last call was killed as it cleared up.

    Raises
    ------
    InputError
        Another whole one does.
    """
    if not (out / META).exists():
        return False
    if not is_unfinished(out) or read_json(out / UNFINISHED) != mark:
        refuse_existing(out, "a data set")
    return True


@contextlib.contextmanager
def locked_work_folder(work: Anywhere) -> Iterator[None]:
    """Make the folder and keep other calls off it; the lock goes with the process that holds it.

    Object stores have no locks: there nothing keeps others off.

    Raises
    ------
    InputError
        The folder holds what is not ours, another call is at work in it, or it has no locks.
    """
    if work.exists() and not is_unfinished(work) and not _is_empty(work):
        raise InputError(
            f"{work}: holds what is no unfinished data set, and one would be made there; move it "
            "away, or choose another --out"
        )
    if not isinstance(work, Path):
        yield
        return
    new = not work.exists()
    work.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            ours = stack.enter_context(held(work / LOCK))
        except InputError:  # no locks
            if new:
                remove_tree(work)
            raise
        if not ours:
            raise InputError(
                f"{work}: another prepare is at work here; wait for it, or choose another --out"
            )
        yield


def mark_of(job: Job, paths: Sequence[str]) -> Mark:
    """Return all that decides a data set, but for the bytes of images that are files of their own.

    A file with many images, a zip archive or Parquet, is told from what replaces it. Loose files
    are not looked at: that would take as long as reading them.

    Parameters
    ----------
    job
        The `prepare` that begins.
    paths
        Where the images of all its rows lie: elsewhere others may be missing.

    Raises
    ------
    KeptError
        An archive or Parquet file cannot be reached.
    """
    return {
        "fingerprint": job.fingerprint,
        "chunk_rows": chunk_rows(len(paths), job.image_size),
        "paths": sha256("\n".join(paths).encode(errors="surrogateescape")).hexdigest(),
        "versions": {file: _version(file) for file in sorted(_containers(paths))},
    }


def resume_or_clear(work: Anywhere, mark: Mark) -> None:
    """Leave in the folder what an interrupted `prepare` of the same data set had done, and no more.

    Parameters
    ----------
    work
        The folder.
    mark
        The data set, by `mark_of`.
    """
    if not is_unfinished(work) or read_json(work / UNFINISHED) != mark:
        for name in (*SPLITS, STATE, FACES):
            remove_tree(work / name)
    # First of all, so that the folder is known for ours whenever the process is killed.
    write_json(work / UNFINISHED, mark)
    for name in (*SPLITS, STATE):
        (work / name).mkdir(parents=True, exist_ok=True)


def clear_state(data: Anywhere) -> None:
    """Take out of a whole data set what only its making needed, and what killed writers left."""
    remove_tree(data / STATE)
    for path in list(data.rglob(".*")) if isinstance(data, Path) else []:
        if path.name.endswith(".removed"):
            shutil.rmtree(path, ignore_errors=True)
        elif path.name.endswith(".partial"):
            path.unlink(missing_ok=True)
    if isinstance(data, Path):
        (data / LOCK).unlink(missing_ok=True)
    (data / UNFINISHED).unlink()  # last: killed before, the same command clears up again


def _is_empty(folder: Anywhere) -> bool:
    """Tell whether nothing is here, or only what we were killed over as we began."""
    ours = (LOCK, f".{UNFINISHED}.")
    return all(path.name.startswith(ours) for path in folder.iterdir())


def _containers(paths: Sequence[str]) -> set[str]:
    """Return the archives or the Parquet files that paths lead into, as `read_many` takes them."""
    zips = (zip_members.split(path)[1] for path in paths if path.startswith(zip_members.SCHEME))
    parquets = (
        parquet_images.split(path).file for path in paths if path.startswith(parquet_images.SCHEME)
    )
    return {*zips, *parquets}


def _version(file: str) -> str:
    try:
        return version_of(parse_uri(file))
    except Exception as error:  # file systems raise what the libraries beneath them do
        raise KeptError(f"{file}: {reason_of(error)}") from None
