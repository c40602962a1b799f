from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from preparing import break_images, tree

from orchestrator.base.errors import InputError, ReadingError
from orchestrator.cli import main
from orchestrator.data.prepare import dry_run
from orchestrator.data.prepare.dry_run import TINY, rehearse
from orchestrator.data.prepare.prepare import Options, prepare
from orchestrator.data.reading.decode import decode
from orchestrator.data.sources.registry import open_source
from orchestrator.data.splits import describe_counts

SMALL = Options(image_size=10)


def test_what_warms_up_is_an_image() -> None:
    assert decode(TINY, 2).shape == (2, 2, 3)


def test_the_command_says_what_was_understood_and_writes_nothing(
    make_faces: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = np.arange(40)
    manifest = make_faces(
        40, who=np.where(rows % 7, "Ann", ""), hair=np.where(rows % 4 < 2, "dark", "blond"),
        Smiling=rows % 2,
    )  # fmt: skip
    before = tree(tmp_path)
    words = ["--column", "class=hair==blond", "identity=who", "--seed", "1", "--image-size", "10"]
    code = main(["prepare", str(manifest), "--out", str(tmp_path / "data"), "--dry-run", *words])
    assert code == 0
    said = capsys.readouterr().out.splitlines()
    assert tree(tmp_path) == before
    assert said[:8] == [
        f"{manifest}: identity: who",
        f"{manifest}: class 1: hair==blond, and not the column class",
        "manifest.csv (hair==blond): 40 faces of 1 people, and 6 of nobody known",
        "  filename: filename",
        "  class: hair==blond",
        "  gender: gender",
        "  identity: who",
        "  1 attribute: Smiling",
    ]
    assert said[11] == "  40 images were tried, and all can be read"
    assert said[12].startswith(f"  about 14.4 kB at {tmp_path}/data (")
    assert "nothing was written" in said[12]


@pytest.mark.usefixtures("in_process")
def test_its_counts_are_those_of_the_data_set(make_faces: Any, tmp_path: Path) -> None:
    source = open_source(str(make_faces(40)))
    options = replace(SMALL, limit=30, split_by="identity")
    said = rehearse(source, tmp_path / "data", options)
    meta = prepare(source, tmp_path / "data", options).meta
    for split in meta.counts:
        assert f"  {split:5} {describe_counts(meta.strata(split))}" in said


def test_what_cannot_be_read_is_named(make_faces: Any, tmp_path: Path) -> None:
    manifest = make_faces(40)
    reasons = break_images(manifest.parent)
    (line,) = (
        line
        for line in rehearse(open_source(str(manifest)), tmp_path / "data", SMALL)
        if "tried" in line
    )
    assert line.startswith(
        f"  {len(reasons)} of 40 images that were tried cannot be read: 0003.jpg"
    )
    assert line.endswith(", …; above --max-bad 0.01 prepare refuses")


def test_images_from_all_over_a_large_table_are_tried(
    make_faces: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dry_run, "LOOKED_AT", 8)
    manifest = make_faces(40)
    for name in ("0000", "0013", "0039"):
        (manifest.parent / f"{name}.jpg").unlink()
    said = " ".join(rehearse(open_source(str(manifest)), tmp_path / "data", SMALL))
    assert "3 of 8 images that were tried cannot be read" in said


def test_drawn_faces_are_drawn_elsewhere(tmp_path: Path) -> None:
    said = rehearse(open_source("synthetic:40"), tmp_path / "data", SMALL)
    assert said[-2] == "  40 images were tried, and all can be read"
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_fails(
    make_faces: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_paths: object) -> object:
        raise ReadingError("the disk: on fire")

    monkeypatch.setattr(dry_run, "read_many", fail)
    with pytest.raises(InputError, match="the disk: on fire"):
        rehearse(open_source(str(make_faces(40))), tmp_path / "data", SMALL)
