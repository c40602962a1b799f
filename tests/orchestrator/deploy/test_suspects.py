"""Faces that a run fails for or whose labels it doubts: shown, listed, and left out when asked."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from orchestrator.cli import main
from orchestrator.data.store.store import Store
from orchestrator.data.store.streaming import read_named
from orchestrator.judging.label_noise import mislabelled
from orchestrator.report.failing import BYTES, thumbnail
from orchestrator.report.report import write_report
from orchestrator.run.directory import Run


@pytest.fixture(scope="module")
def run(together: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of two folds, so that all faces of train and val were held out once."""
    copy = Run(Path(shutil.copytree(together.path, tmp_path_factory.mktemp("suspects") / "run")))
    write_report(copy)
    return copy


def read(run: Run) -> str:
    return (run.path / "report.html").read_text(encoding="utf-8")


def test_the_page_shows_the_surest_mistakes_and_the_doubted_in_little_space(run: Run) -> None:
    page, test = read(run), run.trial("t000-ensemble").predicted()["test"]
    shown = re.findall(r'<img src="(data:image/jpeg;base64,[^"]*)"', page)
    assert shown
    assert sum(map(len, shown)) < 300_000
    assert "img-src data:;" in page
    wrong = (test.logit > 0) != (test.label == 1)
    of = wrong & (test.gender == -1) & (test.label == 1)
    total = np.sum((test.gender == -1) & (test.label == 1))
    told = f"<b>women of class 1</b>: {of.sum():,} of {total:,}"
    assert told in page
    surest = test.filename[of][np.argmin(test.logit[of])]
    assert re.search(rf"{told} labelled wrong.*?</li>", page, re.DOTALL)[0].count(surest) == 1
    assert "faces of train and validation, each judged by networks" in page


def test_without_faces_neither_picture_nor_file_name_is_in_the_page(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = run.trial("t000-ensemble").predicted()["test"].filename
    assert any(name in read(run) for name in names)
    copy = Run(Path(shutil.copytree(run.path, tmp_path / "run")))
    assert main(["report", str(copy.path), "--no-faces"]) == 0
    page = read(copy)
    assert "are left out, as was asked for" in page
    assert "<img" not in page
    assert not any(name in page for name in names)
    assert "Report: " in capsys.readouterr().out


def test_a_data_set_that_is_not_here_is_said_and_names_stay(run: Run, tmp_path: Path) -> None:
    copy = Run(Path(shutil.copytree(run.path, tmp_path / "run")))
    copy.record(copy.config, {**copy.data, "path": str(tmp_path / "gone")})
    copy = Run(copy.path)
    write_report(copy)
    page = read(copy)
    assert "No face can be shown" in page
    assert "<img" not in page
    assert 'class="faces"' in page


def test_suspects_are_listed_and_drawn(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    data = run.data["path"]
    assert main(["inspect", data, "--suspects", str(run.path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    rows = run.trial("t000-ensemble").predicted()["val"]
    expected = mislabelled(rows.label, rows.logit, rows.gender)
    table = pd.read_csv(told["csv"])
    assert table["filename"].tolist() == rows.filename[expected].tolist()
    assert table.to_dict("records") == told["suspects"]
    assert told["looked_at"] == len(rows.label)
    with Image.open(told["sheet"]) as sheet:
        assert sheet.width > 500
    assert main(["inspect", data, "--suspects", str(run.path)]) == 0
    out = capsys.readouterr().out
    for who, value in (("women", -1), ("men", 1)):
        for kind in (0, 1):
            n = int(np.sum((table["gender"] == value) & (table["label"] == kind)))
            assert re.search(rf"{who}, class {kind} +\d+ +{n} ", out)


def test_what_cannot_be_listed_is_one_line(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Path(shutil.copytree(run.path, tmp_path / "run"))
    data = run.data["path"]
    (copy / "summary.json").unlink()
    (copy / "suspects.csv").unlink(missing_ok=True)
    assert main(["inspect", data, "--suspects", str(copy)]) == 2
    assert f"{copy}: has no report yet; fairfront report {copy}" in capsys.readouterr().err
    other = Run(copy)
    other.record(other.config, {**other.data, "fingerprint": "0" * 64})
    assert main(["inspect", data, "--suspects", str(copy)]) == 2
    assert f"--suspects {copy}: a run of other data" in capsys.readouterr().err
    assert not (copy / "suspects.csv").exists()


def test_faces_are_read_by_name_from_any_split(run: Run) -> None:
    store = Store.open(run.data["path"])
    splits = {split: store.load(split) for split in ("test", "train")}
    wanted = {
        of.filename[row].as_py(): of.images[row] for of in splits.values() for row in (5, 0, 3)
    }
    found = read_named(store, [*wanted, "nobody.jpg"])
    assert found.keys() == wanted.keys()
    for name, face in wanted.items():
        np.testing.assert_array_equal(found[name], face)
    assert read_named(store, []) == {}


def test_a_thumbnail_of_noise_is_small_too() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    assert len(thumbnail(noise)) < BYTES * 4 / 3 + 30
