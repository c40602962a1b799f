"""Files of a server as files of this machine, for libraries that know no other, and back."""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.base.files import Anywhere, writing


@contextmanager
def copied_here(path: Anywhere) -> Iterator[Path]:
    """Give a file as a path of this machine, for libraries that know no other: itself, or a copy.

    Raises
    ------
    FileNotFoundError
        There is none.
    """
    if isinstance(path, Path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="fairfront-") as folder:
        copy = Path(folder) / path.name
        path.fs.get_file(path.path, str(copy))
        yield copy


@contextmanager
def folder_here(path: Anywhere) -> Iterator[Path]:
    """Give a folder of this machine for what libraries write: itself, or one that goes again."""
    if isinstance(path, Path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="fairfront-") as folder:
        yield Path(folder)


def copy_out(files: Iterable[Path], folder: Anywhere) -> None:
    """Put copies of this machine's files into a folder, under their names."""
    for path in files:
        with writing(folder / path.name, lasting=False) as file:
            file.write(path.read_bytes())
