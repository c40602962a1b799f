from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from orchestrator.base.errors import InputError
from orchestrator.data.sources.registry import open_source
from orchestrator.data.sources.synthetic.population import plan_faces


def test_a_plan_becomes_a_source_without_drawing_it() -> None:
    source = open_source("synthetic:60", seed=3)
    plan = plan_faces(60, 3)
    for column, planned in (("label", "class"), ("gender", "gender"), ("identity", "identity")):
        assert source.table[column].tolist() == plan[planned].tolist()
    assert source.table["filename"].tolist() == plan["filename"].tolist()
    assert source.fingerprint != open_source("synthetic:60", seed=4).fingerprint


def test_only_the_faces_asked_for_are_drawn(tmp_path: Path) -> None:
    source = open_source("synthetic:30")
    drawing, genders = source.drawing, source.table.groupby("gender")
    assert drawing is not None
    names = sorted(genders["filename"].last())
    paths = drawing.draw(tmp_path, names)
    assert paths == [str(tmp_path / name) for name in names]
    drawn = sorted((tmp_path / "images").iterdir())
    assert [f"images/{path.name}" for path in drawn] == names
    assert Image.open(paths[0]).size == (178, 218)
    drawing.finish(tmp_path, names)
    assert pd.read_csv(tmp_path / "manifest.csv")["filename"].tolist() == names
    assert pd.read_csv(tmp_path / "truth.csv")["filename"].tolist() == names


def test_synthetic_alone_has_a_number_of_its_own() -> None:
    assert len(open_source("synthetic").table) == 4000


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("synthetic:many", "synthetic:many: give the number of faces, as synthetic:4000"),
        ("synthetic:-5", "give the number of faces"),
        ("synthetic:3", "synthetic:3: too few faces"),
    ],
)
def test_a_number_that_cannot_be(spec: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_source(spec)
