"""Binary attributes of faces: which columns are some, and classes as rules over them."""

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from orchestrator.base.errors import InputError
from orchestrator.data.sources.facts import Facts
from orchestrator.data.sources.manifest_columns import number_of

LABEL, GROUP = "Blond_Hair|Eyeglasses", "Male"
"""The rules for class 1 and for men where none are given: the published task's."""
WORDS = {"OR": "|", "XOR": "^", "AND": "&"}
"""The signs of rules, as `inspect` writes them."""
ATTRIBUTE_WORDS = {"true": 1.0, "false": 0.0}
COMPARISON = re.compile(r"([^|^&]+?)\s*(==|!=|<=|>=|<|>)\s*(\"[^\"]*\"|'[^']*'|[^|^&]*)")
_PART = re.compile(rf"{COMPARISON.pattern}|[^|^&]+|")
"""What stands between signs; in a value that is quoted they are none."""


class Rule(NamedTuple):
    """A rule, and the option that gives one in its place, up to the rule."""

    text: str
    option: str


USUAL = {"class": Rule(LABEL, "--label "), "gender": Rule(GROUP, "--group ")}


def apply_rule(rule: Rule, facts: Facts, where: str) -> NDArray[np.bool_]:
    """Combine attributes and comparisons.

    Parameters
    ----------
    rule
        Attributes, and comparisons as ``age>=40``, ``race=='East Asian'`` or ``gender!=1``, joined
        with ``&``, ``^`` and ``|``, which bind in this order, or with the words AND, XOR and OR.
    facts
        What they are over.
    where
        The file, for a message.

    Returns
    -------
    ndarray of bool, shape (n,)

    Raises
    ------
    InputError
        No such attribute; the message gives the names near it, or all. What cannot be compared.
    """
    combine: Any
    signs, parts = _split(rule.text)
    # The sign that binds least is applied last.
    for sign, combine in (("|", np.logical_or), ("^", np.logical_xor), ("&", np.logical_and)):
        if sign in signs:
            sides = _join(signs, parts, sign)
            return reduce(combine, [apply_rule(rule._replace(text=s), facts, where) for s in sides])
    return _holds(rule._replace(text=rule.text.strip()), facts, where)


def columns_of(rule: str) -> list[str]:
    """Return the names of the columns that a rule speaks of."""
    return [_parts_of(part)[0] for part in _split(rule)[1]]


def _split(rule: str) -> tuple[list[str], list[str]]:
    """Return the signs of a rule, and what stands before, between and after them."""
    rule = re.sub(r"\s(OR|XOR|AND)\s", lambda word: WORDS[word[1]], rule)
    signs: list[str] = []
    parts: list[str] = []
    at = 0
    while True:
        found = _PART.match(rule, at)
        end = found.end() if found else at
        parts.append(rule[at:end].strip())
        if end >= len(rule):
            return signs, parts
        if rule[end] not in "|^&":  # behind a value in quotes
            parts[-1] += rule[end:]
            return signs, parts
        signs.append(rule[end])
        at = end + 1


def _join(signs: Sequence[str], parts: Sequence[str], at: str) -> list[str]:
    """Put parts together again, except at one sign."""
    sides = [parts[0]]
    for sign, part in zip(signs, parts[1:], strict=True):
        if sign == at:
            sides.append(part)
        else:
            sides[-1] += f"{sign}{part}"
    return sides


def _parts_of(part: str) -> tuple[str, str, str]:
    """Return the column, the sign and the value of a comparison; or an attribute, and no more."""
    found = COMPARISON.fullmatch(part)
    if found is None:
        return part, "", ""
    value = found[3].strip()
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    return found[1].strip(), found[2], value[1:-1] if quoted else value


def _holds(rule: Rule, facts: Facts, where: str) -> NDArray[np.bool_]:
    said = f"{rule.option}{rule.text}"
    holds = facts.truth(rule.text)
    if holds is not None:
        return holds
    name, sign, value = _parts_of(rule.text)
    if sign:
        return facts.compare(name, sign, value, f"{said}: {where}")
    if "=" in name:
        raise InputError(f"{said}: compare with ==, as {name.replace('=', '==')}")
    near = get_close_matches(name, facts.names(), cutoff=0.5) or facts.names()
    raise InputError(f"{said}: no such attribute in {where}; near: {', '.join(near) or 'none'}")


def classify(
    faces: pd.DataFrame,
    facts: Facts,
    rules: Mapping[str, Rule],
    where: str,
    columns: Sequence[str],
) -> tuple[str, ...]:
    """Give faces their class and gender by rules.

    Parameters
    ----------
    faces
        Gets the columns ``label`` and ``gender``, those that have a rule.
    facts
        What the rules are over.
    rules
        What is ``class`` 1 and who is a man, by ``gender``.
    where, columns
        The file, and the names of its columns, for a message.

    Returns
    -------
    tuple of str
        Notes for the user.

    Raises
    ------
    InputError
        No such attribute.
    """
    if keys := lacking(rules, columns):
        raise InputError(say_lacking(keys, columns, where))
    notes = []
    for key, rule in rules.items():
        try:
            holds = apply_rule(rule, facts, where)
        except InputError as error:
            raise InputError(f"{error}{_mend(key, columns, str(error))}") from None
        if key == "class":
            faces["label"] = holds.astype(np.int8)
        else:
            faces["gender"] = np.where(holds, 1, -1).astype(np.int8)
        left = f", and not the column {key}" if key in columns else ""
        notes.append(f"{where}: {'class 1' if key == 'class' else 'men'}: {rule.text}{left}")
    return tuple(notes)


def lacking(rules: Mapping[str, Rule], columns: Sequence[str]) -> list[str]:
    """Return what neither a column says, nor the user, nor the attributes that are usual."""
    return [
        key
        for key, rule in rules.items()
        if rule is USUAL[key] and not {*columns_of(rule.text)} <= {*columns}
    ]


def say_lacking(keys: Sequence[str], columns: Sequence[str], where: str) -> str:
    """Say which columns a table lacks, and the option that tells them."""
    *some, last = keys
    named = f"columns {', '.join(some)} and {last}" if some else f"column {last}"
    pairs = [f"{key}='COLUMN==VALUE'" if key in USUAL else f"{key}=COLUMN" for key in keys]
    return (
        f"{where}: no {named}; it has {', '.join(columns)}; say which "
        f"{'they are' if some else 'it is'}, as --column {' '.join(pairs)}"
    )


def _mend(key: str, columns: Sequence[str], error: str) -> str:
    """Say what else would do, where an attribute lacks."""
    if "no such attribute" not in error:
        return ""
    usual = USUAL[key].option.strip()
    return (
        f"; it has the columns {', '.join(columns)}: choose {usual} among those of 0/1, -1/1 or "
        f"true/false, compare values as --column {key}='NAME==VALUE', or add a column {key}"
    )


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
    if pa.types.is_dictionary(column.type):  # as pandas keeps categories
        column = column.cast(column.type.value_type)
    if pa.types.is_nested(column.type):
        return None
    values = column.unique()
    if len(values) > 2:
        return None
    texts = [str(value).strip().lower() for value in values.to_pylist()]
    numbers = [ATTRIBUTE_WORDS.get(text, number_of(text)) for text in texts]
    if not ({0, 1}.issuperset(numbers) or {-1, 1}.issuperset(numbers)):
        return None
    ones = values.filter(pa.array([number == 1 for number in numbers], pa.bool_()))
    return np.asarray(pc.is_in(column, value_set=ones).to_numpy(), bool)
