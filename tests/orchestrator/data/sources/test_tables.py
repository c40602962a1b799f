"""Tables in the forms in which people have them: each is the same source as the plain manifest."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.ipc
import pyarrow.parquet
import pytest

from orchestrator.base.errors import InputError
from orchestrator.data.sources.registry import open_source

ROWS = {
    "filename": ["José.jpg", "007", "c/d, e.jpg"],
    "class": [1, 0, 0],
    "gender": [-1, 1, -1],
    "identity": [5, 6, 7],
    "split": ["train", "val", "test"],
}
TABLE = pd.DataFrame(ROWS)


def refusal(spec: object, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        open_source(str(spec), **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def csv_of(**options: Any) -> Callable[[Path], object]:
    encoding = options.pop("encoding", "utf-8")
    return lambda path: path.write_bytes(TABLE.to_csv(index=False, **options).encode(encoding))


def spaced(path: Path) -> None:
    lines = TABLE.to_csv(index=False, sep=";").replace(";", " ; ").splitlines()
    path.write_text("\n".join(f" {line} " for line in lines), "utf-8")


def json_lines(path: Path) -> None:
    rows = TABLE.to_dict("records")
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n", "utf-8")


def arrow_stream(path: Path) -> None:
    table = pa.Table.from_pandas(TABLE, preserve_index=False)
    with pa.ipc.new_stream(path, table.schema) as stream:
        stream.write_table(table, max_chunksize=2)


FORMS: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "CSV": ("m.csv", csv_of(), ""),
    "an upper-case suffix": ("M.CSV", csv_of(), ""),
    "TSV": ("m.tsv", csv_of(sep="\t"), ""),
    "tabs in a CSV": ("m.csv", csv_of(sep="\t"), "separated by tabs"),
    "semicolons": ("m.csv", csv_of(sep=";"), "separated by semicolons"),
    "semicolons as Excel tells itself": (
        "m.csv",
        lambda path: path.write_text("sep=;\r\n" + TABLE.to_csv(index=False, sep=";")),
        "separated by semicolons",
    ),
    "bars": ("m.csv", csv_of(sep="|"), "separated by bars"),
    "a mark and CRLF": (
        "m.csv",
        csv_of(encoding="utf-8-sig", lineterminator="\r\n"),
        "",
    ),
    "UTF-16": ("m.csv", csv_of(encoding="utf-16", sep="\t"), "in UTF-16, separated by tabs"),
    "UTF-16 without a mark": ("m.csv", csv_of(encoding="utf-16-le"), "in UTF-16"),
    "Latin-1": ("m.csv", csv_of(encoding="latin-1"), "in Latin-1, as it is no UTF-8"),
    "an index": (
        "m.csv",
        lambda path: path.write_text(TABLE.to_csv(), "utf-8"),
        "",
    ),
    "an index that pandas has read": (
        "m.csv",
        lambda path: path.write_text(TABLE.rename_axis("Unnamed: 0").to_csv(), "utf-8"),
        "",
    ),
    "spaces around names and values": ("m.csv", spaced, "separated by semicolons"),
    "JSON lines": ("m.jsonl", json_lines, ""),
    "JSON": (
        "m.json",
        lambda path: path.write_text(TABLE.to_json(orient="records"), "utf-8"),
        "",
    ),
    "Parquet": ("m.PARQUET", TABLE.to_parquet, ""),
    "Feather": ("m.feather", TABLE.to_feather, ""),
    "Arrow": ("m.arrow", arrow_stream, ""),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_table_in_any_form_is_the_same_source(tmp_path: Path, form: str) -> None:
    name, write, said = FORMS[form]
    TABLE.to_csv(tmp_path / "plain.csv", index=False)
    plain = open_source(str(tmp_path / "plain.csv"))
    write(tmp_path / name)
    source = open_source(str(tmp_path / name))
    assert source.fingerprint == plain.fingerprint
    assert source.table["filename"].tolist() == ["007", "José.jpg", "c/d, e.jpg"]
    assert source.attributes is None
    assert source.notes == ((f"{tmp_path / name}: {said}",) if said else ())


def test_names_in_upper_case_are_taken_and_said(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    TABLE.rename(columns={"filename": "File_Name"}).rename(columns=str.upper).to_csv(path)
    source = open_source(str(path))
    assert source.table["label"].tolist() == [0, 1, 0]
    assert source.table["split"].tolist() == ["val", "train", "test"]
    assert source.notes == tuple(
        f"{path}: {note}"
        for note in (
            "files: FILE_NAME", "class: CLASS", "gender: GENDER", "identity: IDENTITY",
            "split: SPLIT",
        )
    )  # fmt: skip


def test_a_name_in_two_cases(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("filename,class,Class,gender\na,0,1,1\nb,1,0,-1\n")
    assert open_source(str(path)).table["label"].tolist() == [0, 1]
    path.write_text("filename,CLASS,Class,gender\na,0,1,1\nb,1,0,-1\n")
    assert "columns CLASS and Class are both that; keep one of them" in refusal(path)


GENDERS = {
    "words": (["Male", "female", "FEMALE "], [1, -1, -1]),
    "letters": (["m", "F", "f"], [1, -1, -1]),
    "people": (["man", "woman", "Women"], [1, -1, -1]),
    "numbers": (["1.0", "-1", "-1"], [1, -1, -1]),
}
CLASSES = {
    "truth": (["TRUE", "false", "False"], [1, 0, 0]),
    "yes and no": (["Yes", "no", "NO"], [1, 0, 0]),
    "signs": (["+1", "-1", "-1"], [1, 0, 0]),
}


@pytest.mark.parametrize("case", [*GENDERS, *CLASSES])
def test_values_of_class_and_gender(tmp_path: Path, case: str) -> None:
    path = tmp_path / "m.csv"
    key, (given, meant) = ("gender", GENDERS[case]) if case in GENDERS else ("class", CLASSES[case])
    TABLE.assign(filename=list("abc"), **{key: given}).to_csv(path, index=False)
    assert open_source(str(path)).table["label" if key == "class" else key].tolist() == meant


@pytest.mark.parametrize(
    ("given", "said", "value"),
    [
        ([0, 1, 0], "0 or 1", "1"),
        ([1, 2, 2], "1 or 2", "1"),
        (["true", "false", "true"], "false or true", "true"),
        (["TRUE", "FALSE", "TRUE"], "false or true", "true"),
    ],
)
def test_a_gender_that_does_not_say_who_is_a_man(
    tmp_path: Path, given: list[Any], said: str, value: str
) -> None:
    path = tmp_path / "m.csv"
    TABLE.assign(gender=given).to_csv(path, index=False)
    assert refusal(path) == (
        f"{path}: gender is {said}, and nothing says which of them is a man; if {value} is a man, "
        f"give --column gender='gender=={value}'"
    )
    source = open_source(str(path), columns=[f"gender=gender=={value}"])
    men = [str(cell).lower() == value for cell in given]
    expected = {name: 1 if man else -1 for name, man in zip(ROWS["filename"], men, strict=True)}
    assert dict(zip(source.table["filename"], source.table["gender"], strict=True)) == expected
    assert f"{path}: men: gender=={value}, and not the column gender" in source.notes


def test_a_gender_of_booleans(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    TABLE.assign(gender=[True, False, True]).to_parquet(path)
    assert "if true is a man, give --column gender='gender==true'" in refusal(path)
    for rule in ("gender==true", "gender==1", "gender!=False"):
        source = open_source(str(path), columns=[f"gender={rule}"])
        assert source.table["gender"].tolist() == [-1, 1, 1]


OWN = pd.DataFrame(
    {
        "photo": ["a", "b", "c", "d"],
        "Hair": ["blond", "brown", "blond", "grey | white"],
        "Glasses": ["no", "yes", "no", "no"],
        "Male": [1, 0, 0, 1],
        "Female": [0, 1, 1, 0],
        "age": [20, 41, 40, 39],
        "who": ["Ann", "Bob", "Ann", ""],
        "part": ["Training", "DEV", "testing", ""],
        "Smiling": [1, 1, 0, 0],
    }
)
BASE = ["filename=photo", "gender=Male"]


def test_every_column_by_another_name(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    OWN.to_csv(path, index=False, sep=";")
    columns = [*BASE, "class=glasses", "identity=who", "split=part"]
    source = open_source(str(path), columns=columns)
    table = source.table
    assert table["filename"].tolist() == list("abcd")
    assert table["label"].tolist() == [0, 1, 0, 0]
    assert table["gender"].tolist() == [1, -1, -1, 1]
    assert table["identity"].fillna(-1).tolist() == [0, 1, 0, -1]
    assert table["split"].fillna("").tolist() == ["train", "val", "test", ""]
    assert source.attributes is not None
    assert source.attributes.columns.tolist() == ["Male", "Female", "Smiling"]
    assert source.name == "m.csv (Glasses by Male)"
    assert source.notes == tuple(
        f"{path}: {note}"
        for note in (
            "separated by semicolons", "files: photo", "class: Glasses", "identity: who",
            "split: part", "men: Male",
        )
    )  # fmt: skip


@pytest.mark.parametrize("suffix", ["csv", "parquet", "feather", "jsonl"])
@pytest.mark.parametrize(
    ("rule", "meant"),
    [
        ("Hair==blond", [1, 0, 1, 0]),
        ("Hair != blond", [0, 1, 0, 1]),
        ("Hair=='grey | white'", [0, 0, 0, 1]),
        ("age>=40", [0, 1, 1, 0]),
        ("age<41&age>20", [0, 0, 1, 1]),
        ("age==20|Glasses", [1, 1, 0, 0]),
        ("Hair==blond AND age>20 OR Glasses", [0, 1, 1, 0]),
        ("Smiling ^ Hair==blond", [0, 1, 1, 0]),
        ("Male==1.0", [1, 0, 0, 1]),
        ("Male==true", [1, 0, 0, 1]),
        ("Hair==Blond", [1, 0, 1, 0]),
        ("Smiling", [1, 1, 0, 0]),
    ],
)
def test_a_rule_over_columns(tmp_path: Path, suffix: str, rule: str, meant: list[int]) -> None:
    path = tmp_path / f"m.{suffix}"
    if suffix == "csv":
        OWN.to_csv(path, index=False)
    elif suffix == "jsonl":
        OWN.to_json(path, orient="records", lines=True)
    else:
        getattr(OWN, f"to_{suffix}")(path)
    source = open_source(str(path), columns=[*BASE, f"class={rule}"])
    assert source.table["label"].tolist() == meant
    by_label = open_source(str(path), columns=BASE, label=rule)
    assert by_label.fingerprint == source.fingerprint


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (["class"], "--column class: give KEY=COLUMN, where KEY is one of filename, class, gender"),
        (["label=x"], "--column label=x: give KEY=COLUMN"),
        (["class=a", "class=b"], "--column class=b: class is a already; give one of them"),
        (["filename=phot"], "--column filename=phot: no such column in {}; near: photo"),
        (["split=Hair==x"], "--column split=Hair==x: no such column in {}"),
        ([*BASE, "image=photo"], "--column image=photo: {} names images that are files"),
        ([*BASE, "class=Hairs"], "--column class=Hairs: no such attribute in {}; near: Male"),
        ([*BASE, "class=Hair"], "{}: row 1: Hair is blond; it must be 0 or 1 (or -1 or 1 through"),
        ([*BASE, "class=Hair"], "; or if blond is class 1, give --column class='Hair==blond'"),
        ([*BASE, "class=age=40"], "--column class=age=40: compare with ==, as age==40"),
        (
            [*BASE, "class=Hair==blonde"],
            "--column class=Hair==blonde: {}: no row has Hair blonde",
        ),
        ([*BASE, "class=Hair==blonde"], "; near: blond"),
        ([*BASE, "class=Hair>3"], "row 1: Hair is blond, no number for >; compare with =="),
        ([*BASE, "class=age>x"], "> x: give a number, or compare with =="),
        ([*BASE, "class=who==Ann"], "row 4: who is empty; leave the row out, or fill it"),
        ([*BASE, "class=no==1"], "{} has no column no to compare"),
        (
            ["filename=photo", "class=Glasses", "gender=Female"],
            "by its name 1 is a woman; give",
        ),
        (
            ["filename=photo", "class=Glasses", "gender=Smiling"],
            "give --column gender='Smiling==1'",
        ),
        (["class=Glasses"], "{}: no column filename; it has photo, Hair, Glasses, Male, "),
        (["class=Glasses"], "; say which it is, as --column filename=COLUMN"),
        (["gender=Male"], "{}: no columns filename and class; it has photo, "),
        (["gender=Male"], "they are, as --column filename=COLUMN class='COLUMN==VALUE'"),
    ],
)
def test_what_does_not_settle_it(tmp_path: Path, columns: list[str], said: str) -> None:
    path = tmp_path / "m.csv"
    OWN.to_csv(path, index=False)
    assert said.format(path) in refusal(path, columns=columns)


def test_an_option_that_says_it_again_or_to_nobody(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    OWN.to_csv(path, index=False)
    said = refusal(path, columns=["class=Hair"], label="Smiling")
    assert said == "--label Smiling: --column class=Hair says so too; give one"
    said = refusal("synthetic:20", columns=["class=Hair"])
    assert said == "--column class=Hair: synthetic:20 is drawn; leave --column out"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"filename,class,gender\na\0b,1,1\n", "not a text file"),
        (b"\xff\xfea\0b", "damaged UTF-16; save it as UTF-8"),
        (b"filename,class\n\xe9\x81,1\n", "neither UTF-8 nor Latin-1; save it as UTF-8"),
        (b"filename;a|b;c|d\nx;1|2;3|4\n", "may be separated by semicolons or by bars; save it wi"),
    ],
)
def test_text_that_cannot_be_told(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes(content)
    assert said in refusal(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"filename": "a"}\n{"filename": \n', "line 2: not JSON"),
        ('{"filename": "a"}\n3\n', "row 2: no object; write {...} for each face"),
        ('[{"filename": "a"}', "not JSON"),
        ('{"filename": "\\ud800"}\n', "write it as text"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_what_is_no_json(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(content)
    assert said in refusal(path)


def test_words_are_people_whatever_the_order_of_the_rows(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    TABLE.assign(identity=["007", "7", "n000002"]).to_csv(path, index=False)
    first = open_source(str(path))
    assert sorted(first.table["identity"]) == [0, 1, 2]
    TABLE.assign(identity=["007", "7", "n000002"]).iloc[::-1].to_csv(path, index=False)
    assert open_source(str(path)).fingerprint == first.fingerprint


@pytest.mark.parametrize("kind", ["parquet", "feather"])
def test_columns_that_are_no_text(tmp_path: Path, kind: str) -> None:
    """Structs and categories may be called as files or attributes are."""
    path = tmp_path / f"m.{kind}"
    table = pa.table(
        {
            **ROWS,
            "path": pa.array([{"x": 1}] * 3),
            "image": pa.array(["0", "1", "0"]).dictionary_encode(),
        }
    )
    if kind == "parquet":
        pyarrow.parquet.write_table(table, path)
    else:
        pyarrow.feather.write_feather(table, path)
    source = open_source(str(path))
    assert source.table["label"].tolist() == [0, 1, 0]
    for key in ("class", "gender"):
        assert "row 1: path is {'x': 1}; it must be" in refusal(path, columns=[f"{key}=path"])


CELEBA = {"5_o_Clock_Shadow": [1, -1, -1], "Male": [1, -1, -1]}


@pytest.mark.parametrize(
    ("others", "option"), [(CELEBA, "split=part"), ({}, "split = part : 0 , 1 ,2")]
)
def test_splits_that_are_numbers(tmp_path: Path, others: dict[str, Any], option: str) -> None:
    path = tmp_path / "m.csv"
    table = TABLE.drop(columns="split").assign(part=["0", "2.0", " 1"], **others)
    table.to_csv(path, index=False)
    source = open_source(str(path), columns=[option])
    splits = dict(zip(source.table["filename"], source.table["split"], strict=True))
    assert [splits[name] for name in table["filename"]] == ["train", "test", "val"]
    assert f"{path}: part: 0 is train, 1 is val, 2 is test" in source.notes


@pytest.mark.parametrize(
    ("values", "option", "says"),
    [
        (["0", "1", "2"], "split=part", "0; it must be one of .*, as --column split='part:0,1,2'$"),
        (["a", "b", "b"], "split=part", "a; it must be one of .*, as --column split='part:a,b,'$"),
        (["a", "b", "c"], "split=part:a,,b", "row 3: part is c; it must be one of a, b, or empty$"),
        (["train", "vla", ""], "split=part", "it must be one of train, val, test, or empty$"),
    ],
)
def test_splits_of_which_it_is_not_said_what_they_are(
    tmp_path: Path, values: list[str], option: str, says: str
) -> None:
    path = tmp_path / "m.csv"
    TABLE.drop(columns="split").assign(part=values).to_csv(path, index=False)
    with pytest.raises(InputError, match=says):
        open_source(str(path), columns=[option])


def test_a_word_for_women_that_is_not_known_asks_for_the_mens(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    TABLE.assign(gender=["w", "m", "w"]).to_csv(path, index=False)
    assert "; or if m is a man, give --column gender='gender==m'" in refusal(path)
