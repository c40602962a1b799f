"""Binary attributes of faces: which columns are some, and classes as rules over them."""

import re
from collections.abc import Sequence
from difflib import get_close_matches
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from orchestrator.base.errors import InputError

LABEL, GROUP = "Blond_Hair|Eyeglasses", "Male"
"""The rules for class 1 and for men where none are given: the published task's."""
OPTIONS = {"class": "--label", "gender": "--group"}
"""What gives a rule in place of a column."""
WORDS = {"OR": "|", "XOR": "^", "AND": "&"}
"""The signs of rules, as `inspect` writes them."""
TRUTH = {"true": 1.0, "false": 0.0}


def apply_rule(rule: str, attributes: pd.DataFrame, option: str, where: str) -> NDArray[np.bool_]:
    """Combine attributes.

    Parameters
    ----------
    rule
        Attributes joined with ``&``, ``^`` and ``|``, which bind in this order, or with the words
        AND, XOR and OR.
    attributes
        A column of bool for each.
    option, where
        The option that gave the rule and the file of the attributes, for a message.

    Returns
    -------
    ndarray of bool, shape (n,)

    Raises
    ------
    InputError
        No such attribute; the message gives the names near it, or all.
    """
    combine: Any
    rule = re.sub(r"\s(OR|XOR|AND)\s", lambda word: WORDS[word[1]], rule)
    for sign, combine in (("|", np.logical_or), ("^", np.logical_xor), ("&", np.logical_and)):
        if sign in rule:
            parts = [apply_rule(part, attributes, option, where) for part in rule.split(sign)]
            return reduce(combine, parts)
    name = rule.strip()
    if name not in attributes.columns:
        near = get_close_matches(name, attributes.columns, cutoff=0.5) or list(attributes.columns)
        raise InputError(
            f"{option} {name}: no such attribute in {where}; near: {', '.join(near) or 'none'}"
        )
    return attributes[name].to_numpy()


class Rules(NamedTuple):
    """The rules by which faces were classified."""

    name: str
    """What they add to the name of the data set."""
    notes: tuple[str, ...]
    """For the user."""


def classify(
    faces: pd.DataFrame,
    attributes: pd.DataFrame | None,
    rules: tuple[str | None, str | None],
    where: str,
    columns: Sequence[str],
) -> Rules:
    """Give faces their class and gender by rules, where asked to or where a column lacks.

    Parameters
    ----------
    faces
        Gets the columns ``label`` and ``gender``.
    attributes
        A column of bool for each; None: there are none.
    rules
        What is class 1 and who is a man, whatever columns there are; None: `LABEL` and `GROUP`,
        where there is no column ``class`` or ``gender``.
    where, columns
        The file, and the names of its columns, for a message.

    Raises
    ------
    InputError
        No such attribute.
    """
    used, notes = [], []
    for column, rule, usual in zip(OPTIONS, rules, (LABEL, GROUP), strict=True):
        if rule is None and column in columns:
            continue
        holds = _apply(rule or usual, column, attributes, where, columns)
        if column == "class":
            faces["label"] = holds.astype(np.int8)
        else:
            faces["gender"] = np.where(holds, 1, -1).astype(np.int8)
        used.append(rule or usual)
        what = "class 1" if column == "class" else "men"
        left = f", and not the column {column}" if column in columns else ""
        notes.append(f"{where}: {what}: {rule or usual}{left}")
    return Rules(f" ({' by '.join(used)})" if used else "", tuple(notes))


def _apply(
    rule: str,
    column: str,
    attributes: pd.DataFrame | None,
    where: str,
    columns: Sequence[str],
) -> NDArray[np.bool_]:
    option = OPTIONS[column]
    try:
        return apply_rule(rule, pd.DataFrame() if attributes is None else attributes, option, where)
    except InputError as error:
        raise InputError(
            f"{error}; it has the columns {', '.join(columns)}: choose {option} among those of "
            f"0/1, -1/1 or true/false, or add a column {column}"
        ) from None


def is_numeric(type_: pa.DataType) -> bool:
    """Tell whether a column of this type may hold attributes as numbers or booleans."""
    numeric = pa.types.is_integer(type_) or pa.types.is_float32(type_) or pa.types.is_float64(type_)
    return bool(pa.types.is_boolean(type_) or numeric)


def find_attributes(table: pa.Table, besides: Sequence[str]) -> pd.DataFrame | None:
    """Find the columns whose values are all in {0, 1}, all in {-1, 1} or true and false.

    Parameters
    ----------
    table
        Columns of numbers, booleans or text.
    besides
        Columns that are something else. A name that two columns share is left out too.

    Returns
    -------
    pandas.DataFrame or None
        A column of bool for each attribute, in the order of `table`; None: there is none.
    """
    names = [name for name in table.column_names if name and table.column_names.count(name) == 1]
    found = {name: _as_bool(table[name]) for name in names if name not in besides}
    attributes = {name: values for name, values in found.items() if values is not None}
    return pd.DataFrame(attributes) if attributes else None


def _as_bool(column: pa.ChunkedArray) -> NDArray[np.bool_] | None:
    values = column.unique()
    if len(values) > 2:
        return None
    numbers = [_number(value) for value in values.to_pylist()]
    if not ({0, 1}.issuperset(numbers) or {-1, 1}.issuperset(numbers)):
        return None
    ones = values.filter(pa.array([number == 1 for number in numbers], pa.bool_()))
    return np.asarray(pc.is_in(column, value_set=ones).to_numpy(), bool)


def _number(value: Any) -> float | None:
    """Return the number that a cell means; None if it means none."""
    text = str(value).strip().lower()
    try:
        return TRUTH[text] if text in TRUTH else float(text)
    except ValueError:
        return None
