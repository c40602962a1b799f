"""The columns of a manifest, checked; a complaint names the row, counted from 1."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orchestrator.base.errors import InputError
from orchestrator.data.splits import SPLITS

SYNONYMS = {"validation": "val", "valid": "val"}
"""Other names of a split, as Hugging Face has them."""


def parse_texts(values: list[Any]) -> list[str]:
    """Return the values as text without the space around it; empty where there is none."""
    return ["" if value is None else str(value).strip() for value in values]


def parse_labels(values: list[Any], where: str) -> NDArray[np.int8]:
    """Return classes, given as 0/1 or as -1/1 throughout, as 0 and 1.

    Raises
    ------
    InputError
        Another value, or both conventions in one file.
    """
    classes = _whole(values, where, "class", {-1, 0, 1}, "0 or 1 (or -1 or 1 throughout)")
    zeros, negatives = np.flatnonzero(classes == 0), np.flatnonzero(classes == -1)
    if len(zeros) and len(negatives):
        raise InputError(
            f"{where}: row {zeros[0] + 1} has class 0 and row {negatives[0] + 1} has class -1; "
            "write the other class as 0 or as -1, the same in all rows"
        )
    return np.equal(classes, 1).astype(np.int8)


def parse_genders(values: list[Any], where: str) -> NDArray[np.int8]:
    """Return genders, -1 (woman) or 1 (man); any other value raises `InputError`."""
    return _whole(values, where, "gender", {-1, 1}, "-1 (woman) or 1 (man)")


def parse_identities(values: list[Any], where: str) -> "pd.Series[Any]":
    """Return a number for each person, as Int32, missing where it is not given.

    Raises
    ------
    InputError
        A value that is no whole number from 0.
    """
    given = pd.Series([None if value in ("", None) else value for value in values], dtype=object)
    numbers = pd.to_numeric(given, errors="coerce").astype(float)
    fits = (numbers >= 0) & (numbers < 2**31) & (numbers % 1 == 0)
    wrong = np.flatnonzero((given.notna() & ~fits).to_numpy())
    if len(wrong):
        raise InputError(
            f"{where}: row {wrong[0] + 1}: identity is {_shown(values[wrong[0]])}; "
            "it must be a whole number from 0, one a person, or empty"
        )
    return numbers.astype("Int32")


def parse_splits(values: list[Any], where: str) -> "pd.Series[Any]":
    """Return the names of splits, missing where none is given; `SYNONYMS` are understood.

    Raises
    ------
    InputError
        A name that no split has.
    """
    names = [SYNONYMS.get(name, name) for name in parse_texts(values)]
    for row, name in enumerate(names, start=1):
        if name and name not in SPLITS:
            raise InputError(
                f"{where}: row {row}: split is {_shown(name)}; it must be one of "
                f"{', '.join(SPLITS)}, or empty"
            )
    return pd.Series([name or None for name in names], dtype=object)


def _whole(
    values: list[Any], where: str, column: str, allowed: set[int], expected: str
) -> NDArray[np.int8]:
    numbers: NDArray[np.float64] = np.asarray(
        pd.to_numeric(pd.Series(values, dtype=object), errors="coerce"), float
    )
    wrong = np.flatnonzero(~np.isin(numbers, list(allowed)))
    if len(wrong):
        raise InputError(
            f"{where}: row {wrong[0] + 1}: {column} is {_shown(values[wrong[0]])}; "
            f"it must be {expected}"
        )
    return numbers.astype(np.int8)


def _shown(value: Any) -> str:
    return "empty" if value in ("", None) else str(value)
