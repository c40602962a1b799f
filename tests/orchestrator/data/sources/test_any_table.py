"""Any table: the right rows where it is sound, one line where it is not, and never a traceback."""

import csv
import io
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from orchestrator.base.errors import InputError
from orchestrator.data.sources.registry import open_source
from orchestrator.data.to_label import open_to_label

LETTERS = "abzAZ09 éßÑ,;|\t\"'.-_=&^()[]{}#%"
TEXTS = st.text(LETTERS, max_size=8)
WORDS = st.text("abcdefgé", min_size=1, max_size=4)
YES = st.sampled_from(["1", "1.0", "true", "Yes", "TRUE"])
NO = st.sampled_from(["0", "false", "no", "False"])
WOMAN = st.sampled_from(["-1", "female", "F", "Woman", "women", " -1 "])
MAN = st.sampled_from(["1", "male", "m", "Man", "MEN", "1.0"])
SPLITS = {
    "train": ["train", "Training", "TRAIN"],
    "val": ["val", "valid", "Validation", "dev"],
    "test": ["test", "Testing"],
    None: [""],
}


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[list[str]], pd.DataFrame]:
    """Draw the rows of a table, the header among them, and what they mean."""
    names = draw(
        st.lists(TEXTS.map(lambda text: f"f{text}".strip()), min_size=2, max_size=8, unique=True)
    )
    n = len(names)
    labels = [0, 1, *draw(st.lists(st.integers(0, 1), min_size=n - 2, max_size=n - 2))]
    genders = [1, -1, *draw(st.lists(st.sampled_from((-1, 1)), min_size=n - 2, max_size=n - 2))]
    splits = draw(st.lists(st.sampled_from(list(SPLITS)), min_size=n, max_size=n))
    people = draw(st.lists(st.just("") | WORDS, min_size=n, max_size=n))
    columns: dict[str, list[str]] = {
        "filename": names,
        "class": [draw(YES if label else NO) for label in labels],
        "gender": [draw(MAN if gender == 1 else WOMAN) for gender in genders],
        "identity": people,
        "split": [draw(st.sampled_from(SPLITS[split])) for split in splits],
        "note": draw(st.lists(TEXTS, min_size=n, max_size=n)),
        "": [str(row) for row in range(n)],
    }
    order = draw(st.permutations(list(columns)))
    shape = draw(st.sampled_from([str.lower, str.upper, str.title, lambda name: f" {name} "]))
    rows = [[columns[name][row] for name in order] for row in range(n)]
    meant = pd.DataFrame(
        {"label": labels, "gender": genders, "split": splits, "people": people}, index=names
    )
    return [[shape(name) for name in order], *rows], meant


def text_of(rows: list[list[str]], separator: str, end: str) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=separator, lineterminator=end).writerows(rows)
    return text.getvalue()


ENCODINGS = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "latin-1"])
SEPARATORS = st.sampled_from(",;\t|")
KINDS = st.sampled_from(["csv", "tsv"])


@given(
    tables(),
    SEPARATORS,
    st.sampled_from(["\n", "\r\n"]),
    ENCODINGS,
    st.sampled_from(["csv", "tsv"]),
)
@settings(deadline=None)
def test_a_sound_table_has_the_right_rows(
    table: tuple[list[list[str]], pd.DataFrame],
    separator: str,
    end: str,
    encoding: str,
    suffix: str,
) -> None:
    rows, meant = table
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"m.{suffix}"
        path.write_bytes(text_of(rows, separator, end).encode(encoding))
        found = open_source(str(path)).table.set_index("filename")
    assert sorted(found.index) == sorted(meant.index)
    found = found.loc[meant.index]
    assert found["label"].tolist() == meant["label"].tolist()
    assert found["gender"].tolist() == meant["gender"].tolist()
    assert [split if isinstance(split, str) else None for split in found["split"]] == [
        split if isinstance(split, str) else None for split in meant["split"]
    ]
    identity = found["identity"].astype(object).where(found["identity"].notna(), None)
    assert (identity.isna() == (meant["people"] == "")).all()
    same = meant["people"].nunique() - ("" in set(meant["people"]))
    assert identity.nunique() == same


CELLS: st.SearchStrategy[Any] = (
    TEXTS | YES | NO | WOMAN | MAN | st.sampled_from(["", "nan", "1e400", "-0", "0x1", "٣"])
)
HEADERS = st.sampled_from(
    ["filename", "File", "image", "path", "class", "CLASS", "gender", "Male", "Blond_Hair",
     "Eyeglasses", "identity", "split", "", "Unnamed: 0"]
)  # fmt: skip
RULES = st.sampled_from(
    ["Male", "Male==1", "class", "age>=3", "a|b^", "==", "class=='x", "&", "a=b"]
)


@st.composite
def files(draw: st.DrawFn) -> tuple[str, bytes]:
    """Draw a file that may or may not be a table, and its suffix."""
    kind = draw(st.sampled_from(["bytes", "text", "json", "parquet", "arrow"]))
    if kind == "bytes":
        start = draw(
            st.sampled_from([b"", b"\xff\xfe", b"\xef\xbb\xbf", b"filename,class,gender\n"])
        )
        return draw(st.sampled_from(SUFFIXES)), start + draw(st.binary(max_size=40))
    header = draw(st.lists(HEADERS | TEXTS, min_size=1, max_size=6))
    rows = draw(st.lists(st.lists(CELLS, min_size=len(header), max_size=len(header)), max_size=5))
    if kind == "text":
        text = text_of(
            [header, *rows], draw(SEPARATORS), draw(st.sampled_from(["\n", "\r\n", "\r"]))
        )
        content = bytearray(text.encode(draw(ENCODINGS), errors="replace"))
        for at in draw(st.lists(st.integers(0, max(0, len(content) - 1)), max_size=2)):
            content[at : at + 1] = draw(st.binary(max_size=2))
        return draw(st.sampled_from([".csv", ".tsv"])), bytes(content)
    if kind == "json":
        records = [dict(zip(header, row, strict=True)) for row in rows]
        return ".jsonl", "\n".join(map(json.dumps, records)).encode()
    types = draw(st.lists(TYPES, min_size=len(header), max_size=len(header)))
    cells = zip(*rows, strict=True) if rows else [[] for _ in header]
    columns = [_column(list(values), type_) for values, type_ in zip(cells, types, strict=True)]
    sink = io.BytesIO()
    table = pa.Table.from_arrays(columns, names=header)
    if kind == "parquet":
        pq.write_table(table, sink)
        return ".parquet", sink.getvalue()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return ".arrow", sink.getvalue()


TYPES = st.sampled_from(["text", "category", "number", "truth", "bytes", "struct"])


def _column(cells: list[str], type_: str) -> pa.Array:
    """Return a column of some type, made of texts."""
    if type_ == "number":
        return pa.array([len(cell) / 2 if cell else None for cell in cells], pa.float64())
    if type_ == "truth":
        return pa.array([bool(cell) for cell in cells], pa.bool_())
    if type_ == "bytes":
        return pa.array([cell.encode() for cell in cells], pa.binary())
    if type_ == "struct":
        field = pa.struct({"bytes": pa.binary(), "path": pa.string()})
        return pa.array([{"bytes": cell.encode(), "path": cell} for cell in cells], field)
    texts = pa.array(cells, pa.string())
    return texts.dictionary_encode() if type_ == "category" else texts


SUFFIXES = [".csv", ".tsv", ".jsonl", ".json", ".parquet", ".arrow", ".feather"]


@given(
    files(),
    st.none() | RULES,
    st.lists(st.tuples(st.sampled_from(["class", "gender", "filename"]), RULES), max_size=2),
)
@settings(deadline=None)
def test_no_table_is_a_traceback(
    file: tuple[str, bytes], label: str | None, columns: list[tuple[str, str]]
) -> None:
    suffix, content = file
    assume(content)
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"m{suffix}"
        path.write_bytes(content)
        said = ""
        try:
            open_source(str(path), label=label, columns=[f"{key}={rule}" for key, rule in columns])
        except InputError as error:
            said = str(error)
        assert "\n" not in said


@given(files(), st.lists(st.tuples(st.just("filename"), RULES), max_size=1), st.booleans())
@settings(deadline=None)
def test_no_table_to_label_is_a_traceback(
    file: tuple[str, bytes], columns: list[tuple[str, str]], keep: bool
) -> None:
    suffix, content = file
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"m{suffix}"
        path.write_bytes(content)
        said = ""
        try:
            given = [f"{key}={rule}" for key, rule in columns]
            found = open_to_label(str(path), columns=given, keep=keep)
            assert found.kept is None or len(found.kept) == len(found.images)
        except InputError as error:
            said = str(error)
        assert "\n" not in said
