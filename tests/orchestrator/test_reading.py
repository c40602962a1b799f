from pathlib import Path

from orchestrator.files import Anywhere
from orchestrator.reading import read_many


def test_many_files_are_read_in_order(folder: Anywhere) -> None:
    for k in range(150):  # more than are fetched at a time
        (folder / f"{k}.bin").write_bytes(bytes([k]))
    names = [f"{k}.bin" for k in reversed(range(150))] + ["gone.bin"]
    *there, gone = read_many([str(folder / name) for name in names])
    assert there == [bytes([k]) for k in reversed(range(150))]
    assert isinstance(gone, FileNotFoundError)


def test_reading_no_file_or_a_folder(tmp_path: Path) -> None:
    assert list(read_many([])) == []
    folder, nul = read_many([str(tmp_path), "a\0b"])
    assert isinstance(folder, IsADirectoryError)
    assert isinstance(nul, ValueError)
