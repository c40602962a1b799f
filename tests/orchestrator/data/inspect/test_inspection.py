import json
import re
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from orchestrator.base.errors import InputError
from orchestrator.config.settings import BalanceConfig
from orchestrator.data.balance import expected_counts
from orchestrator.data.inspect import contact_sheet as contact
from orchestrator.data.inspect.inspection import figures, group_reasons, inspect
from orchestrator.data.prepare.prepare import Options, prepare
from orchestrator.data.sources.registry import open_source
from orchestrator.data.sources.source import Source
from orchestrator.data.splits import SPLITS, count_strata
from orchestrator.data.store.store import Store

SMALL = Options(image_size=10)
in_process = pytest.mark.usefixtures("in_process", "small_chunks")


def inspected(store: Store, sheet: Path | None = None) -> str:
    out = StringIO()
    inspect(store, out, sheet)
    return out.getvalue()


def row(text: str, first: str, after: str = "") -> list[str]:
    """The cells of the first line that starts so, as they stand after a title."""
    line = next(
        line for line in text[text.index(after) :].splitlines() if line.startswith(f"{first} ")
    )
    return line.removeprefix(first).replace(",", "").split()


def with_attributes(source: Source, label: Any = None, **attributes: Any) -> Source:
    """Give a source attributes, and perhaps another class."""
    table = source.table if label is None else source.table.assign(label=label.astype(np.int8))
    return replace(source, table=table, attributes=pd.DataFrame(attributes).astype(bool))


@in_process
class TestCounts:
    def test_an_empty_stratum_is_said(self, make_faces: Any, tmp_path: Path) -> None:
        never = np.where(np.arange(60) % 2, np.arange(60) // 2 % 2, 0)
        source = open_source(str(make_faces(60, **{"class": never})))
        store = prepare(source, tmp_path / "data", SMALL)
        assert "No women of class 1 in train, val and test: networks" in inspected(store)
        known = figures(store)
        assert known["counts"] == store.meta.counts
        assert known["draws"]["none"]["women 1"] == 0
        assert known["notes"] == store.meta.empty_strata()
        assert json.loads(json.dumps(known)) == {**known, "fractions": [0.6, 0.2, 0.2]}

    def test_by_split_gender_and_class(self, make_faces: Any, tmp_path: Path) -> None:
        store = prepare(open_source(str(make_faces(60))), tmp_path / "data", SMALL)
        text = inspected(store)
        lines = text.splitlines()
        assert lines[0].startswith(f"{store.path}: 60 faces of 10x10, ")
        assert "source: manifest.csv" in lines
        assert "splits: by row, 0.6:0.2:0.2; seed 0" in lines
        everyone = np.zeros(4, int)
        for split in SPLITS:
            arrays = store.load(split)
            counts = np.array(list(count_strata(arrays.gender, arrays.label).values()))
            everyone += counts
            assert row(text, split) == expected_row(counts, len(set(arrays.identity)))
        assert row(text, "all") == expected_row(everyone, 20)

    def test_people_in_several_splits(self, make_faces: Any, tmp_path: Path) -> None:
        source = open_source(str(make_faces(60, identity=np.arange(60) // 3)))
        store = prepare(source, tmp_path / "row", SMALL)
        splits = pd.DataFrame(
            [(who, split) for split in SPLITS for who in store.load(split).identity]
        )
        shared = int((splits.groupby(0)[1].nunique() > 1).sum())
        assert 0 < shared < 20
        assert f"{shared} of 20 people are in more than one split" in inspected(store)
        options = replace(SMALL, split_by="identity")
        assert "one split" not in inspected(prepare(source, tmp_path / "identity", options))

    def test_people_who_are_not_known(self, make_faces: Any, tmp_path: Path) -> None:
        nobody = prepare(
            open_source(str(make_faces(40, identity=[""] * 40))), tmp_path / "nobody", SMALL
        )
        text = inspected(nobody)
        assert "Who is on which face is not known." in text
        assert " people " not in text
        some = make_faces(40, name="some", identity=[""] * 10 + list(range(30)))
        text = inspected(prepare(open_source(str(some)), tmp_path / "data", SMALL))
        assert "Of 10 faces it is not known who is on them." in text
        assert row(text, "all")[1] == "30"

    def test_an_official_split_has_no_shares(self, make_faces: Any, tmp_path: Path) -> None:
        manifest = make_faces(40, split=["train"] * 24 + ["val"] * 8 + ["test"] * 8)
        options = replace(SMALL, split_by="official", limit=32)
        text = inspected(prepare(open_source(str(manifest)), tmp_path / "data", options))
        assert "splits: official; seed 0" in text.splitlines()
        assert "source: manifest.csv, limited to 32 faces" in text.splitlines()

    @pytest.mark.parametrize("columns", [80, 100])
    def test_a_terminal_shows_whole_cells(
        self, make_faces: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: int
    ) -> None:
        store = prepare(open_source(str(make_faces(40))), tmp_path / "data", SMALL)
        monkeypatch.setenv("COLUMNS", str(columns))
        terminal = Terminal()
        inspect(store, terminal)
        shown = re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue())
        for first in ("all", "undersample over gender_class"):
            assert row(shown, first) == row(inspected(store), first)
        assert max(map(len, shown.split("Faces")[1].split("Contact")[0].splitlines())) <= columns


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def expected_row(counts: Any, people: int) -> list[str]:
    cells = [str(counts.sum()), str(people)]
    for zeros, ones in counts.reshape(2, 2):
        cells += [str(zeros), str(ones), f"{ones / (zeros + ones):.1%}"]
    return cells


@in_process
class TestDropped:
    def test_reasons_are_counted(self, make_faces: Any, tmp_path: Path) -> None:
        manifest = make_faces(60)
        for name in ("0003.jpg", "0020.jpg"):
            (manifest.parent / name).unlink()
        (manifest.parent / "0005.jpg").write_bytes(b"")
        options = replace(SMALL, max_bad=0.1)
        store = prepare(open_source(str(manifest)), tmp_path / "data", options)
        text = inspected(store)
        assert "Dropped: 3 of 60 images (5.00%)" in text
        assert row(text, "no such file") == ["2", "0003.jpg"]
        assert row(text, "an empty file") == ["1", "0005.jpg"]
        assert f"All of them: {store.path / 'dropped.csv'}" in text.splitlines()

    def test_none(self, make_faces: Any, tmp_path: Path) -> None:
        store = prepare(open_source(str(make_faces(40))), tmp_path / "data", SMALL)
        assert "No image was dropped." in inspected(store).splitlines()

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (None, "this part of the data is missing; prepare"),
            (b"", r"damaged \(No columns to parse from file\); prepare"),
            (b"filename,reason\na,\xff\n", r"damaged \(.*\); prepare"),
            (b"filename,reason\n", "damaged: not a filename and a reason for each of the 1 images"),
            (b"file,reason\na,b\n", "damaged: not a filename and a reason"),
        ],
    )
    def test_a_damaged_list_is_named(
        self, make_faces: Any, tmp_path: Path, content: bytes | None, message: str
    ) -> None:
        manifest = make_faces(60)
        (manifest.parent / "0005.jpg").unlink()
        options = replace(SMALL, max_bad=0.1)
        store = prepare(open_source(str(manifest)), tmp_path / "data", options)
        dropped = tmp_path / "data" / "dropped.csv"
        dropped.unlink()
        if content is not None:
            dropped.write_bytes(content)
        with pytest.raises(InputError, match=message) as caught:
            inspected(store)
        assert str(caught.value).startswith(f"{dropped}: ")
        assert "\n" not in str(caught.value)


def test_reasons_that_differ_by_numbers_are_one() -> None:
    big = "{} × {}, more than 67108864 pixels"
    reasons = ["no such file", big.format(9000, 8000), "16 bit", big.format(70000, 1000), "16 bit"]
    assert group_reasons(reasons) == {
        "16 bit": [2, 4],
        "N × N, more than N pixels": [1, 3],
        "no such file": [0],
    }
    assert group_reasons([]) == {}


@in_process
def test_what_the_policies_draw(make_faces: Any, tmp_path: Path) -> None:
    genders, classes = [-1] * 40 + [1] * 20, [0] * 30 + [1] * 10 + [0] * 15 + [1] * 5
    manifest = make_faces(60, gender=genders, **{"class": classes})
    text = inspected(prepare(open_source(str(manifest)), tmp_path / "data", SMALL))
    counts = {(-1, 0): 18, (-1, 1): 6, (1, 0): 9, (1, 1): 3}
    assert row(text, "none") == ["36", "18", "6", "9", "3"]
    assert row(text, "undersample over gender_class") == ["12", "3", "3", "3", "3"]
    for policy in ("undersample", "oversample"):
        for over in ("gender", "gender_class"):
            config = BalanceConfig.model_validate({"policy": policy, "over": over})
            drawn = list(expected_counts(config, counts).values())
            cells = row(text, f"{policy} over {over}")
            assert cells == [str(n) for n in (sum(drawn), *drawn)]


@in_process
class TestRules:
    def test_a_rule_that_is_the_class(self, make_faces: Any, tmp_path: Path) -> None:
        source = open_source(str(make_faces(40)))
        rng = np.random.default_rng(0)
        known = {name: rng.random(40) < 0.3 for name in ("hat", "beard", "scarf", "smile")}
        source = with_attributes(source, known["hat"] | known["scarf"], **known)
        text = inspected(prepare(source, tmp_path / "data", SMALL))
        assert "Class 1 is hat OR scarf, on all 40 faces." in text.splitlines()
        table = text[text.index("\nrule ") :].splitlines()[1:]
        assert table[1].startswith("hat OR scarf ")
        assert row(text, "hat OR scarf") == ["1.000", "100.00%", "1.000", "1.000"]
        always = (known["hat"] | known["scarf"]).mean()
        assert f"always class 0 agrees on {1 - always:.2%}." in text
        assert "alone" not in text

    def test_the_genders_have_other_rules(self, make_faces: Any, tmp_path: Path) -> None:
        source = open_source(str(make_faces(80)))
        rng = np.random.default_rng(1)
        known = {name: rng.random(80) < 0.4 for name in ("hat", "beard")}
        women = source.table["gender"].to_numpy() == -1
        label = np.where(women, known["hat"], known["beard"])
        text = inspected(prepare(with_attributes(source, label, **known), tmp_path / "data", SMALL))
        agreeing = (known["hat"] | known["beard"]) == label
        assert f"the best, beard OR hat, is on {agreeing.sum()} of 80." in text
        assert row(text, "hat", "Among women alone")[:3] == ["1.000", "100.00%", "1.000"]
        assert row(text, "beard", "Among men alone")[:2] == ["1.000", "100.00%"]
        assert row(text, "beard", "Among men alone")[3] == "1.000"

    def test_attributes_that_tell_nothing(self, make_faces: Any, tmp_path: Path) -> None:
        source = open_source(str(make_faces(40)))
        store = prepare(with_attributes(source, hat=[True] * 40), tmp_path / "data", SMALL)
        assert "None of the 1 attributes tells anything about the class." in inspected(store)

    def test_a_class_column_alone(self, make_faces: Any, tmp_path: Path) -> None:
        store = prepare(open_source(str(make_faces(40))), tmp_path / "data", SMALL)
        (line,) = (line for line in inspected(store).splitlines() if "rule" in line)
        assert line.startswith("Only the class is known, so no rule behind it can be looked for;")
        assert "CelebA folder" in line
        assert "more columns of 0/1 or -1/1" in line


@in_process
class TestSheet:
    def test_it_shows_the_lowest_ranks_of_train(
        self, make_faces: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        classes = [0] * 119 + [1]
        source = open_source(str(make_faces(120, **{"class": classes})))
        store = prepare(source, tmp_path / "data", SMALL)
        drawn: list[Any] = []
        train = store.load("train")
        monkeypatch.setattr(contact, "draw_sheet", recording(drawn))
        text = inspected(store)
        sheet = tmp_path / "data" / "contact_sheet.png"
        assert text.splitlines()[-1] == f"Contact sheet: {sheet}"
        strata = [(gender, label) for gender in (-1, 1) for label in (0, 1)]
        for (gender, label), block in zip(strata, drawn, strict=True):
            mine = np.flatnonzero((train.gender == gender) & (train.label == label))
            first = mine[np.argsort(train.rank[mine])][:24]
            assert np.array_equal(block.faces, train.images[first])
            assert block.remark == f"{len(mine):,} faces"
        assert [len(block.faces) for block in drawn] == [24, 0, 24, 1]
        with Image.open(sheet) as image:
            assert image.format == "PNG"
            assert image.width > 6 * 2 * 100

    def test_a_place_that_cannot_be_written(self, make_faces: Any, tmp_path: Path) -> None:
        store = prepare(open_source(str(make_faces(40))), tmp_path / "data", SMALL)
        before = sorted(tmp_path.rglob("*"))
        out = StringIO()
        sheet = tmp_path / "data" / "meta.json" / "sheet.png"
        with pytest.raises(InputError) as caught:
            inspect(store, out, sheet)
        assert str(caught.value) == (
            f"{sheet}: the contact sheet cannot be written here (Not a directory); give another "
            "place with --sheet FILE"
        )
        assert "What an epoch draws" in out.getvalue()
        assert sorted(tmp_path.rglob("*")) == before
        inspect(store, out, tmp_path / "sheet.png")
        assert (tmp_path / "sheet.png").exists()
        assert not (tmp_path / "data" / "contact_sheet.png").exists()


@in_process
def test_on_an_object_store(make_faces: Any, tmp_path: Path) -> None:
    manifest, options = make_faces(60), Options(image_size=10)
    local = prepare(open_source(str(manifest)), tmp_path / "data", options)
    memory = fsspec.filesystem("memory")
    try:
        remote = prepare(open_source(str(manifest)), "memory://inspected/data", options)
        texts = [inspected(store).replace(str(store.path), "DATA") for store in (local, remote)]
        sheet = memory.cat("/inspected/data/contact_sheet.png")
    finally:
        memory.rm("/inspected", recursive=True)
    assert texts[0] == texts[1]
    assert sheet == (tmp_path / "data" / "contact_sheet.png").read_bytes()


def recording(drawn: list[Any]) -> Any:
    draw_sheet = contact.draw_sheet

    def draw(title: str, rows: Any) -> Image.Image:
        drawn.extend(block for row in rows for block in row)
        return draw_sheet(title, rows)

    return draw


@pytest.mark.realdata
@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize(
    ("rule", "flipped", "found"),
    [
        ("Blond_Hair|Eyeglasses", 0.0, "Blond_Hair OR Eyeglasses"),
        ("Blond_Hair|Eyeglasses", 0.1, "Blond_Hair OR Eyeglasses"),
        ("Smiling^Young", 0.0, "Smiling XOR Young"),
    ],
)
def test_the_rule_behind_real_faces(
    celeba10k: Path, tmp_path: Path, rule: str, flipped: float, found: str
) -> None:
    source = open_source(str(celeba10k), label=rule)
    flip = np.random.default_rng(0).random(len(source.table)) < flipped
    table = source.table.assign(label=(source.table["label"] ^ flip).astype(np.int8))
    options = Options(image_size=8, limit=1500)
    store = prepare(replace(source, table=table), tmp_path / "data", options)
    text = inspected(store)
    cells = row(text, found)
    ranked = text[text.index("\nrule ") :].splitlines()
    assert ranked[2].startswith(f"{found} ")
    said = f"Class 1 is {found}, on all 1,500 faces."
    if flipped:
        assert 0.6 < float(cells[0]) < 0.85
        assert said not in text
    else:
        assert cells == ["1.000", "100.00%", "1.000", "1.000"]
        assert said in text.splitlines()
    assert (tmp_path / "data" / "contact_sheet.png").exists()
