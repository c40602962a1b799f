"""Which column of a table is what: as its header says, or the options."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

import pandas as pd
import pyarrow as pa

from orchestrator.base.errors import InputError
from orchestrator.data.sources.label_rules import USUAL, Rule, columns_of
from orchestrator.data.sources.manifest_columns import (
    MEN,
    TRUTH,
    WOMEN,
    number_of,
    parse_genders,
    parse_labels,
    parse_splits,
    parse_texts,
    plain,
)
from orchestrator.data.splits import SPLITS

KEYS = ("filename", "class", "gender", "identity", "split", "image")
"""What ``--column`` may say where to find."""
VALUES = re.compile(r"(.+):([^:,]*),([^:,]*),([^:,]*)")
"""A column of splits, and its values for train, val and test."""
CELEBA = ("5_o_Clock_Shadow", "Male")
"""Columns by which a table is CelebA's, whose splits are `CELEBA_SPLITS`."""
CELEBA_SPLITS = {str(number): split for number, split in enumerate(SPLITS)}


@dataclass(frozen=True)
class Given:
    """What the user says of a source's columns."""

    columns: Mapping[str, str] = field(default_factory=dict)
    """By one of `KEYS`, the name of a column; for class and gender, it may be a rule."""
    label: str | None = None
    group: str | None = None
    """Rules for class 1 and for men."""
    splits: Mapping[str, str] = field(default_factory=dict)
    """What the values of the column of splits mean."""

    def rule(self, key: str) -> Rule | None:
        """Return what makes class or gender, as a rule; None: nothing was given."""
        text = self.label if key == "class" else self.group
        if text is not None:
            return Rule(text, USUAL[key].option)
        text = self.columns.get(key)
        return None if text is None else Rule(text, f"--column {key}=")

    def mentioned(self) -> set[str]:
        """Return every name that may be a column's."""
        rules = [rule.text for key in USUAL if (rule := self.rule(key))]
        return {*self.columns.values(), *(name for rule in rules for name in columns_of(rule))}


def parse_given(
    columns: Sequence[str], label: str | None = None, group: str | None = None
) -> Given:
    """Read the options ``--column``, ``--label`` and ``--group``.

    Raises
    ------
    InputError
        What is no ``KEY=COLUMN``, an unknown key, or one that is given twice.
    """
    found: dict[str, str] = {}
    splits: dict[str, str] = {}
    for word in columns:
        key, _, name = (part.strip() for part in word.partition("="))
        if key not in KEYS or not name:
            raise InputError(
                f"--column {word}: give KEY=COLUMN, where KEY is one of {', '.join(KEYS)}"
            )
        if key in found:
            raise InputError(f"--column {word}: {key} is {found[key]} already; give one of them")
        if key == "split" and (told := VALUES.fullmatch(name)):
            name, *values = (part.strip() for part in told.groups())
            splits = {value: split for value, split in zip(values, SPLITS, strict=True) if value}
        found[key] = name
    for key, rule in (("class", label), ("gender", group)):
        if rule is not None and key in found:
            raise InputError(
                f"{USUAL[key].option}{rule}: --column {key}={found[key]} says so too; give one"
            )
    return Given(found, label, group, splits)


def refuse_unused(given: Given, used: Collection[str], where: str, why: str) -> None:
    """Raise `InputError` for a ``--column`` whose key a source has no use for."""
    for key in given.columns:
        if key not in used:
            raise InputError(f"--column {key}={given.columns[key]}: {where} {why}; leave it out")


@dataclass(frozen=True)
class Chosen:
    """Which column of a table is what."""

    columns: Mapping[str, str]
    """Its name, by those of `KEYS` that are a column."""
    rules: Mapping[str, Rule]
    """What makes class and gender, where no column has them."""
    splits: Mapping[str, str]
    """What the values of splits mean, where they are not the names of some."""
    notes: tuple[str, ...]
    """What was found under another name than the usual one."""

    def described(self, **columns: str) -> dict[str, str]:
        """Return for the user which column or rule has what, beside `columns`."""
        found = {**columns, **self.columns, **{key: rule.text for key, rule in self.rules.items()}}
        return {key: found[key] for key in KEYS if key in found}

    def name(self) -> str:
        """Return what is added to the name of a data set: how class and gender were made."""
        used = [
            self.rules[key].text if key in self.rules else self.columns[key]
            for key in USUAL
            if key in self.rules or self.columns[key].casefold() != key
        ]
        return f" ({' by '.join(used)})" if used else ""


def choose_columns(table: pa.Table, given: Given, where: str) -> Chosen:
    """Find the columns of a table.

    Parameters
    ----------
    table
        Its header counts, and of the columns that ``--column gender=`` may name the values.
    given
        What the user says.
    where
        The file, for a message.

    Raises
    ------
    InputError
        A column that lacks, that is there twice, or of which it is not said who is a man.
    """
    names, notes = table.column_names, []
    columns: dict[str, str] = {}
    rules: dict[str, Rule] = {}
    for key in KEYS[:-1]:  # which column has the images is for the files' types to say
        rule = given.rule(key) if key in USUAL else None
        column = given_column(key, names, given, where, rule)
        if column is None and rule is None and key in USUAL:
            rule = USUAL[key]
        if key == "gender" and column and key in given.columns:
            rule, column = _by_name(table, column, where)
        if column is not None:
            columns[key] = column
            if key != column:
                notes.append(f"{where}: {key}: {column}")
        elif rule is not None:
            rules[key] = rule
    splits = given.splits or _celeba_splits(table, columns.get("split"))
    if splits:
        meant = ", ".join(f"{value} is {split}" for value, split in splits.items())
        notes.append(f"{where}: {columns['split']}: {meant}")
    return Chosen(columns, rules, splits, tuple(notes))


def _celeba_splits(table: pa.Table, column: str | None) -> Mapping[str, str]:
    """Return what 0, 1 and 2 mean in a table that is plainly CelebA's."""
    if column is None or not {*CELEBA} <= {*table.column_names}:
        return {}
    texts = {plain(text) for text in parse_texts(table[column].to_pylist())} - {""}
    return CELEBA_SPLITS if texts and texts <= CELEBA_SPLITS.keys() else {}


def given_column(
    key: str, names: Sequence[str], given: Given, where: str, rule: Rule | None = None
) -> str | None:
    """Return the column that is one of `KEYS`; None: there is none, or a rule makes it.

    Raises
    ------
    InputError
        It is there twice, or the one that the user names lacks.
    """
    if key not in given.columns:
        return find_column(names, key, where) if rule is None else None
    column = find_column(names, given.columns[key], where)
    if column is None and rule is None:
        raise InputError(_no_column(f"--column {key}=", given.columns[key], names, where))
    return column


def find_column(names: Sequence[str], wanted: str, where: str) -> str | None:
    """Return the column that is called so, or so but for case; None if there is none.

    Raises
    ------
    InputError
        It is there twice.
    """
    alike = [name for name in names if name.casefold() == wanted.casefold()]
    exact = [name for name in alike if name == wanted] or alike
    if len(exact) > 1:
        one, other = exact[:2]
        said = f"column {one} twice" if one == other else f"columns {one} and {other} are both that"
        raise InputError(f"{where}: {said}; keep one of them")
    return exact[0] if exact else None


def read_columns(table: pa.Table, chosen: Chosen, where: str) -> pd.DataFrame:
    """Return what is settled of each face: label, gender and split, where a column has them.

    Raises
    ------
    InputError
        A value that is not allowed.
    """
    faces = pd.DataFrame(index=range(len(table)))
    cells = {key: table[name].to_pylist() for key, name in chosen.columns.items()}
    if "class" in cells:
        faces["label"] = parse_labels(cells["class"], where, chosen.columns["class"])
    if "gender" in cells:
        faces["gender"] = parse_genders(cells["gender"], where, chosen.columns["gender"])
    if "split" in cells:
        faces["split"] = parse_splits(cells["split"], where, chosen.columns["split"], chosen.splits)
    else:
        faces["split"] = pd.Series([None] * len(table), dtype=object)
    return faces


def _by_name(table: pa.Table, column: str, where: str) -> tuple[Rule | None, str | None]:
    """Tell by the name of a yes-or-no column who is a man, as Male does; or leave it to values."""
    words = {*column.casefold().replace("_", " ").replace("-", " ").split()}
    texts = {text.lower() for text in parse_texts(table[column].to_pylist())}
    numbers = {TRUTH.get(text, number_of(text)) for text in texts}
    if not (numbers <= {0, 1} or numbers <= {-1, 1}):
        return None, column
    if words.intersection(MEN) and not words.intersection(WOMEN):
        return Rule(column, "--column gender="), None
    if words.intersection(WOMEN):
        man = next((text for text in sorted(texts) if TRUTH.get(text, number_of(text)) != 1), "0")
        raise InputError(
            f"--column gender={column}: {where}: by its name 1 is a woman; give --column "
            f"gender='{column}=={man}', which says who is a man"
        )
    return None, column


def _no_column(option: str, name: str, names: Sequence[str], where: str) -> str:
    near = get_close_matches(name, names, cutoff=0.5) or list(names)
    return f"{option}{name}: no such column in {where}; near: {', '.join(near)}"
