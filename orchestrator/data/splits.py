"""Which faces are kept, which split each is in, and its rank there.

All of it follows from one number a face, a digest of the seed and the file name. Unlike the stream
of a random generator, that is the same in every version of NumPy and whatever the order of the
rows, and leaving a face out does not change the order of the others.
"""

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from hashlib import blake2b
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orchestrator.base.errors import InputError

SPLITS = ("train", "val", "test")
WOMAN, MAN = -1, 1
GENDERS = {"women": WOMAN, "men": MAN}

SplitBy = Literal["row", "identity", "official"]
Counts = dict[tuple[int, int], int]
"""Faces by (gender, label): the strata."""


def permutation_keys(names: Iterable[str], seed: int) -> NDArray[np.uint64]:
    """Return a pseudo-random number for each name; sorting by it is a seeded permutation."""
    key = seed.to_bytes(8, "little")
    digests = (blake2b(name.encode(), digest_size=8, key=key).digest() for name in names)
    return np.frombuffer(b"".join(digests), dtype="<u8")


def apportion(total: int, shares: Sequence[float]) -> list[int]:
    """Divide `total` into whole parts in proportion to `shares`, by largest remainder.

    Each part is within one of its exact share, and they sum to `total`; of equal remainders the
    first wins.
    """
    # Decimal fractions as they were meant: 0.6 of 5 is 3, with no remainder to win a tie.
    exact = [Fraction(share).limit_denominator(1_000_000) for share in shares]
    quotas = [total * share / sum(exact) for share in exact]
    parts = [int(quota) for quota in quotas]
    by_remainder = sorted(range(len(parts)), key=lambda i: parts[i] - quotas[i])
    for i in by_remainder[: total - sum(parts)]:
        parts[i] += 1
    return parts


def stratum_of(gender: NDArray[np.int8], label: NDArray[np.int8]) -> NDArray[np.intp]:
    """Number the strata: 0 and 1 are women of class 0 and 1, 2 and 3 men."""
    stratum: NDArray[np.intp] = 2 * (gender == MAN) + label.astype(np.intp)
    return stratum


def count_strata(gender: NDArray[np.int8], label: NDArray[np.int8]) -> Counts:
    """Count the faces of each stratum, empty ones included."""
    counts = np.bincount(stratum_of(gender, label), minlength=4)
    strata = [(gender, label) for gender in GENDERS.values() for label in (0, 1)]
    return {stratum: int(count) for stratum, count in zip(strata, counts, strict=True)}


def assign_splits(
    table: pd.DataFrame, fractions: Sequence[float], by: SplitBy, seed: int
) -> NDArray[np.int8]:
    """Put each row into a split.

    Parameters
    ----------
    table
        Columns filename, label, gender; identity for ``by="identity"``, split for
        ``by="official"``.
    fractions
        The shares of `SPLITS`; ``official`` ignores them.
    by
        ``row``: each stratum is divided exactly, by largest remainder. ``identity``: no person is
        in two splits, and the strata are divided as evenly as whole persons allow. ``official``:
        the column split.
    seed
        Another seed, another permutation.

    Returns
    -------
    ndarray of int8, shape (n,)
        Positions in `SPLITS`. They do not depend on the order of the rows.

    Raises
    ------
    InputError
        A column that `by` needs is missing or has gaps, or a split came out empty or with one
        gender only.
    """
    gender, label = table["gender"].to_numpy(), table["label"].to_numpy()
    stratum = stratum_of(gender, label)
    if by == "official":
        splits = _official(table)
    elif by == "identity":
        splits = _by_identity(_identities(table), stratum, fractions, seed)
    else:
        splits = _by_row(permutation_keys(table["filename"], seed), stratum, fractions)
    check_splits(splits, gender, f"--split-by {by}")
    return splits


def assign_ranks(
    split: NDArray[np.int8],
    gender: NDArray[np.int8],
    label: NDArray[np.int8],
    key: NDArray[Any],
) -> NDArray[np.int32]:
    """Return each row's position, from 0, in the seeded permutation of its split and stratum.

    Parameters
    ----------
    split, gender, label
        Arrays of shape (n,).
    key
        Sorts the rows of a stratum; `permutation_keys` gives a permutation.
    """
    cell = split.astype(np.intp) * 4 + stratum_of(gender, label)
    order = np.lexsort((key, cell))
    starts = np.concatenate([[0], np.cumsum(np.bincount(cell, minlength=1))[:-1]])
    ranks = np.empty(len(cell), np.int32)
    ranks[order] = np.arange(len(cell)) - starts[cell[order]]
    return ranks


def assign_folds(
    folds: int,
    gender: NDArray[np.int8],
    label: NDArray[np.int8],
    key: NDArray[Any],
    identity: NDArray[np.int32] | None = None,
) -> NDArray[np.int8]:
    """Deal rows into folds for cross-validation.

    Parameters
    ----------
    folds
        How many, at most 100.
    gender, label
        Arrays of shape (n,).
    key
        Sorts the rows of a stratum; ranks, for example.
    identity
        Keep each person in one fold, and the strata as even as whole persons allow; None: each
        stratum, and the whole, is divided exactly, the folds' sizes differing by one at most.

    Returns
    -------
    ndarray of int8, shape (n,)
        From 0.
    """
    stratum = stratum_of(gender, label)
    if identity is not None:
        return _by_identity(identity.astype(np.int64), stratum, [1 / folds] * folds, seed=0)
    fold = np.empty(len(stratum), np.int8)
    fold[np.lexsort((key, stratum))] = np.arange(len(stratum)) % folds
    return fold


def choose(table: pd.DataFrame, limit: int | None, seed: int) -> NDArray[np.intp]:
    """Choose `limit` rows at random, the strata in proportion; None or more than all: every row.

    Returns
    -------
    ndarray of int, shape (min(limit, n),)
        The rows' positions in `table`, ascending.
    """
    if limit is None or limit >= len(table):
        return np.arange(len(table))
    gender, label = table["gender"].to_numpy(), table["label"].to_numpy()
    keys = permutation_keys(table["filename"], seed)
    rank = assign_ranks(np.zeros(len(table), np.int8), gender, label, keys)
    counts = count_strata(gender, label)
    parts = np.array(apportion(limit, list(counts.values())))
    return np.flatnonzero(rank < parts[stratum_of(gender, label)])


def absent_genders(gender: NDArray[np.int8]) -> list[str]:
    """Name the genders that nobody in an array of shape (n,) has."""
    return [name for name, value in GENDERS.items() if value not in gender]


def check_splits(splits: NDArray[np.int8], gender: NDArray[np.int8], option: str) -> None:
    """Raise `InputError`, blaming `option`, if a split is empty or has one gender only."""
    for code, split in enumerate(SPLITS):
        present = gender[splits == code]
        if not len(present):
            raise InputError(
                f"{option}: the {split} split is empty; choose another --split-by or --split"
            )
        for name in absent_genders(present):
            raise InputError(
                f"{option}: the {split} split has no {name}, so the fair metric is undefined; "
                "choose another --split-by, --split or --seed"
            )


def _by_row(
    keys: NDArray[np.uint64], stratum: NDArray[np.intp], fractions: Sequence[float]
) -> NDArray[np.int8]:
    splits = np.empty(len(keys), np.int8)
    for value in np.unique(stratum):
        members = np.flatnonzero(stratum == value)
        parts = apportion(len(members), fractions)
        splits[members[np.argsort(keys[members])]] = np.repeat(np.arange(len(parts)), parts)
    return splits


def _by_identity(
    identity: NDArray[np.int64],
    stratum: NDArray[np.intp],
    fractions: Sequence[float],
    seed: int,
) -> NDArray[np.int8]:
    """Deal out whole persons, those with most faces first, each to the split that lacks it most.

    The many persons with few faces come last and even out what the others left.
    """
    people, person = np.unique(identity, return_inverse=True)
    faces = np.zeros((len(people), 4))
    np.add.at(faces, (person, stratum), 1)
    target = np.outer(fractions, faces.sum(axis=0))  # splits × strata
    scale = 1 / np.maximum(target, 1)
    filled = np.zeros_like(target)
    splits = np.empty(len(people), np.int8)
    keys = permutation_keys(map(str, people), seed)
    for i in np.lexsort((keys, -faces.sum(axis=1))):
        # How much sum((filled - target)² / target) grows with this person in each split.
        growth = (faces[i] * (2 * (filled - target) + faces[i]) * scale).sum(axis=1)
        splits[i] = np.argmin(growth)
        filled[splits[i]] += faces[i]
    return splits[person]


def _identities(table: pd.DataFrame) -> NDArray[np.int64]:
    nobody = "it is not known who is on any image"
    return _known(table, "identity", ("identity", "identities"), nobody).to_numpy(dtype=np.int64)


def _official(table: pd.DataFrame) -> NDArray[np.int8]:
    split = _known(table, "official", ("split", "splits"), "no face has a split")
    codes = split.map({name: code for code, name in enumerate(SPLITS)})
    return codes.to_numpy().astype(np.int8)


def _known(table: pd.DataFrame, by: str, names: tuple[str, str], nothing: str) -> "pd.Series[Any]":
    """Return a column, by its name and plural; `InputError` where some or all faces lack it."""
    column, plural = names
    values: pd.Series[Any] = table[column]
    unknown = table.loc[values.isna().to_numpy(), "filename"]
    if not len(unknown):
        return values
    if len(unknown) == len(table):
        raise InputError(
            f"--split-by {by}: {nothing}; a table needs a column {column} (--column {column}=NAME "
            "says what it is called), or use --split-by row"
        )
    raise InputError(
        f"--split-by {by}: {len(unknown)} of {len(table)} faces have no {column}, the first is "
        f"{unknown.iloc[0]}; fill in the {plural}, or use --split-by row"
    )


def describe_counts(counts: Counts) -> str:
    """Say how many faces there are of each gender and class."""
    return "; ".join(
        f"{name} {counts[code, 0]:,} of class 0, {counts[code, 1]:,} of class 1"
        for name, code in GENDERS.items()
    )


def describe_empty(counts: Mapping[str, Counts]) -> list[str]:
    """Say which strata of which splits have no face, and what that makes of the figures.

    Parameters
    ----------
    counts
        The faces by split, and then by (gender, label).
    """
    words = []
    for name, code in GENDERS.items():
        for label in (0, 1):
            empty = [split for split in counts if not counts[split].get((code, label))]
            if not empty:
                continue
            meaning = []
            if "train" in empty:
                meaning.append("networks never see one")
            if judged := [split for split in empty if split != "train"]:
                meaning.append(
                    f"on {' and '.join(judged)} class {1 - label} is the right answer for all "
                    f"{name}, so that acc_{name}, gap and fair say nothing about telling the "
                    "classes apart, and worst_group leaves them out"
                )
            where = " and ".join(filter(None, (", ".join(empty[:-1]), empty[-1])))
            words.append(f"No {name} of class {label} in {where}: {'; '.join(meaning)}.")
    return words
