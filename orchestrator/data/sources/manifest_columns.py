"""The values of a table's columns, checked; a complaint names the row, counted from 1."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orchestrator.base.errors import InputError
from orchestrator.data.splits import MAN, SPLITS, WOMAN

TRUTH = {"true": 1.0, "yes": 1.0, "false": 0.0, "no": 0.0}
WOMEN, MEN = ("female", "f", "woman", "women"), ("male", "m", "man", "men")
GENDER_WORDS = dict.fromkeys(WOMEN, float(WOMAN)) | dict.fromkeys(MEN, float(MAN))
SYNONYMS = {"validation": "val", "valid": "val"}
"""Other names of a split, in the names of files, as Hugging Face has them."""
MORE_SYNONYMS = SYNONYMS | {"training": "train", "dev": "val", "testing": "test"}
"""Those of a column."""


def parse_texts(values: list[Any]) -> list[str]:
    """Return the values as text without the space around it; empty where there is none."""
    return ["" if value is None else str(value).strip() for value in values]


def number_of(text: str) -> float | None:
    """Return the number that a text without space around it is; None if it is none."""
    try:
        number = float(text)
    except ValueError:
        return None
    return None if np.isnan(number) else number


def parse_labels(values: list[Any], where: str, column: str = "class") -> NDArray[np.int8]:
    """Return classes, given as 0/1 or -1/1 throughout or as words of `TRUTH`, as 0 and 1.

    Raises
    ------
    InputError
        Another value, or both conventions in one file.
    """
    expected = "0 or 1 (or -1 or 1 throughout), true or false, yes or no"
    classes = _whole(
        values, where, of=("class", column), allowed={-1, 0, 1}, words=TRUTH, expected=expected
    )
    zeros, negatives = np.flatnonzero(classes == 0), np.flatnonzero(classes == -1)
    if len(zeros) and len(negatives):
        raise InputError(
            f"{where}: row {zeros[0] + 1} has {column} 0 and row {negatives[0] + 1} has {column} "
            "-1; write the other class as 0 or as -1, the same in all rows"
        )
    return np.equal(classes, 1).astype(np.int8)


def parse_genders(values: list[Any], where: str, column: str = "gender") -> NDArray[np.int8]:
    """Return genders, -1 (woman) or 1 (man), or words of `GENDER_WORDS`.

    Raises
    ------
    InputError
        Another value. Of 0 and 1 nothing says which is which.
    """
    texts = {text.lower() for text in parse_texts(values)}
    numbers = {TRUTH.get(text, number_of(text)) for text in texts}
    if numbers in ({0, 1}, {0}, {1, 2}):
        raise InputError(
            f"{where}: {column} is {' or '.join(sorted(texts))}, and nothing says which of them is "
            f"a man; {_mend('gender', column, max(texts - {'2'}))}"
        )
    expected = "-1 (woman) or 1 (man), female or male, f or m, woman or man"
    of, allowed = ("gender", column), {WOMAN, MAN}
    return _whole(values, where, of=of, allowed=allowed, words=GENDER_WORDS, expected=expected)


def parse_identities(values: list[Any], where: str, column: str = "identity") -> "pd.Series[Any]":
    """Return a number for each person, as Int32, missing where it is not given.

    Parameters
    ----------
    values
        Whole numbers from 0, or words: these are numbered in their order, and not by the rows.
    where, column
        For a message.

    Raises
    ------
    InputError
        Numbers, of which one is no whole number from 0.
    """
    if holds_words(values):
        texts = parse_texts(values)
        numbered = {text: number for number, text in enumerate(sorted({*texts} - {""}))}
        return pd.Series([numbered.get(text) for text in texts], dtype="Int32")
    given = pd.Series([None if value in ("", None) else value for value in values], dtype=object)
    numbers = pd.to_numeric(given, errors="coerce").astype(float)
    fits = (numbers >= 0) & (numbers < 2**31) & (numbers % 1 == 0)
    wrong = np.flatnonzero((given.notna() & ~fits).to_numpy())
    if len(wrong):
        raise InputError(
            f"{where}: row {wrong[0] + 1}: {column} is {_shown(values[wrong[0]])}; "
            "it must be a whole number from 0, one a person, a word, or empty"
        )
    return numbers.astype("Int32")


def holds_words(values: list[Any]) -> bool:
    """Tell whether one of the values is a word and no number."""
    texts = {*parse_texts(values)} - {"", "nan"}  # as Parquet has a number that is missing
    return any(number_of(text) is None for text in texts)


def plain(text: str) -> str:
    """Write a whole number as one, as a table may have it as 1.0."""
    number = number_of(text)
    return text if number is None or number % 1 else str(int(number))


def parse_splits(
    values: list[Any], where: str, column: str = "split", meant: Mapping[str, str] | None = None
) -> "pd.Series[Any]":
    """Return the names of splits, missing where none is given.

    Parameters
    ----------
    values
        Names of splits; `MORE_SYNONYMS` are understood.
    where, column
        For a message.
    meant
        The splits, by the values that stand for them; None: the values are names.

    Raises
    ------
    InputError
        A name that no split has.
    """
    texts = [plain(text) for text in parse_texts(values)]
    known = {text: MORE_SYNONYMS.get(text.lower(), text.lower()) for text in {*texts}}
    if meant:
        known = {text: meant.get(text, text and "?") for text in known}
    for row, text in enumerate(texts, start=1):
        if text and known[text] not in SPLITS:
            others = [value for value in sorted(known) if value and known[value] not in SPLITS]
            some = ",".join([*others, "", ""][:3])
            mend = (
                "; if its values stand for train, val and test, give them in this order, as "
                f"--column split='{column}:{some}'"
            )
            raise InputError(
                f"{where}: row {row}: {column} is {_shown(values[row - 1])}; it must be one of "
                f"{', '.join(meant or SPLITS)}, or empty"
                + mend
                * (not meant and len(others) == len({*texts} - {""}) <= len(SPLITS))
            )
    return pd.Series([known[text] or None for text in texts], dtype=object)


def split_of(name: str) -> str | None:
    """Return the split that the name of a file tells, or that of the nearest folder."""
    for part in reversed(name.split("/")):
        word = re.split(r"[-_.]", part, maxsplit=1)[0].lower()
        split = SYNONYMS.get(word, word)
        if split in SPLITS:
            return split
    return None


def _mend(key: str, column: str, value: str) -> str:
    """Show the option that says what a value means."""
    meant = "a man" if key == "gender" else "class 1"
    return f"if {value} is {meant}, give --column {key}='{column}=={value}'"


def _whole(
    values: list[Any],
    where: str,
    *,
    of: tuple[str, str],
    allowed: set[int],
    words: Mapping[str, float],
    expected: str,
) -> NDArray[np.int8]:
    """Return numbers that are allowed; `of` is what they are, and the column."""
    (key, column), texts = of, [text.lower() for text in parse_texts(values)]
    known = {text: words.get(text, number_of(text)) for text in set(texts)}
    wrong = {text for text, number in known.items() if number not in allowed}
    for row, text in enumerate(texts, start=1):
        if text in wrong:
            shown = _shown(values[row - 1])
            # A value that is known already says it best: of m and w, m.
            said = next((other for other in sorted(texts) if known[other] == 1), shown)
            mend = f"; or {_mend(key, column, said if key == 'gender' else shown)}" if text else ""
            raise InputError(
                f"{where}: row {row}: {column} is {shown}; it must be {expected}{mend}"
            )
    return np.array([known[text] for text in texts], np.int8)


def _shown(value: Any) -> str:
    return "empty" if str(value).strip() == "" or value is None else str(value).strip()
