"""Which attributes explain the class: single ones and pairs, ranked by counts alone.

All rules follow from how often two attributes hold together: where `a` and `b` hold so often each
and `both` so often together, ``a OR b`` holds ``a + b - both`` times and ``a XOR b`` ``a + b - 2
both`` times. No rule is evaluated row by row.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orchestrator.data.splits import GENDERS

FORMS = ("AND", "OR", "XOR")
BLOCK = 2**16
"""Rows counted at a time: memory stays small, and float32 counts so many exactly."""


@dataclass(frozen=True, slots=True)
class Cooccurrence:
    """How often attributes hold, each and together, by gender (women first) and class."""

    names: list[str]
    """Of the k attributes, sorted."""
    together: NDArray[np.int64]
    """Rows where both of two attributes hold, shape (2, 2, k, k); on the diagonal, where one."""
    total: NDArray[np.int64]
    """Rows, shape (2, 2)."""


@dataclass(frozen=True, slots=True)
class Rule:
    """An attribute or a pair of them, and how well it tells the class."""

    name: str
    """As ``A``, ``A OR B`` or ``NOT (A AND B)``."""
    phi: float
    """Matthews correlation with the class, more than 0, among the rows that were looked at."""
    agreement: float
    """The share of these rows where the rule is the class."""
    phi_women: float
    phi_men: float
    """Among one gender; 0 where the rule or the class is always the same."""


def count_together(
    attributes: pd.DataFrame, label: NDArray[np.int8], gender: NDArray[np.int8]
) -> Cooccurrence:
    """Count how often attributes hold together, by gender and class.

    Parameters
    ----------
    attributes
        Bool columns, n rows.
    label
        0 or 1, shape (n,).
    gender
        -1 woman, 1 man, shape (n,).
    """
    names = sorted(attributes.columns)
    holds = attributes[names].to_numpy(dtype=np.bool_)
    together = np.zeros((2, 2, len(names), len(names)), np.int64)
    total = np.zeros((2, 2), np.int64)
    for i, woman_or_man in enumerate(GENDERS.values()):
        for class_ in (0, 1):
            rows = np.flatnonzero((gender == woman_or_man) & (label == class_))
            total[i, class_] = len(rows)
            for start in range(0, len(rows), BLOCK):
                block = holds[rows[start : start + BLOCK]].astype(np.float32)
                together[i, class_] += (block.T @ block).astype(np.int64)
    return Cooccurrence(names, together, total)


def rank_rules(
    counted: Cooccurrence, genders: Sequence[str] = tuple(GENDERS), most: int | None = None
) -> list[Rule]:
    """Rank attributes and pairs of them by how well they tell the class, best first.

    A pair is listed once, in the form of `FORMS` that tells the class best, and only where it does
    so better than both of its parts. A rule that tells the class the wrong way round is listed as
    its NOT. Of equal rules a single attribute comes first, then the name decides.

    Parameters
    ----------
    counted
        What `count_together` gave.
    genders
        Whose rows are looked at.
    most
        How many rules to return; None: all that tell anything.

    References
    ----------
    B. W. Matthews, "Comparison of the predicted and observed secondary structure of T4 phage
    lysozyme", 1975. For two binary variables it is Pearson's phi.
    """
    chosen = [list(GENDERS).index(name) for name in genders]
    first, second, holds = _rules(counted.together)
    phi = _phi(holds[chosen].sum(axis=0), counted.total[chosen].sum(axis=0))
    form = np.abs(phi).argmax(axis=0)
    holds = np.take_along_axis(holds, form[None, None, None], axis=2)[:, :, 0]
    phi = np.take_along_axis(phi, form[None], axis=0)[0]

    score, single = np.abs(phi), first == second
    part = score[single]
    better = score > np.maximum(part[first], part[second])
    listed = np.flatnonzero((single & (score > 0)) | better)
    order = listed[np.lexsort((second[listed], first[listed], ~single[listed], -score[listed]))]
    return [
        _describe(
            _name(counted.names[first[r]], FORMS[form[r]], counted.names[second[r]]),
            holds[:, :, r],
            counted.total,
            chosen,
        )
        for r in order[:most]
    ]


def _rules(
    together: NDArray[np.int64],
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.int64]]:
    """Return the two attributes of each of m rules, and how often it holds in each of `FORMS`.

    An attribute by itself is a pair with itself, of which AND is the first form. The shapes are
    (m,), (m,) and (2 genders, 2 classes, 3 forms, m).
    """
    first, second = np.triu_indices(together.shape[-1])
    alone = np.diagonal(together, axis1=2, axis2=3)
    both = together[..., first, second]
    either = alone[..., first] + alone[..., second] - both
    return first, second, np.stack([both, either, either - both], axis=2)


def _phi(holds: NDArray[np.int64], total: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the correlation of rules with the class.

    It is a whole number over a root that is the same for a rule and for its NOT, so that rules with
    the same effect compare as equal.

    Parameters
    ----------
    holds
        How often each rule holds, by class; shape (2, ...).
    total
        Rows by class, shape (2,).

    Returns
    -------
    ndarray of float64, shape (...)
        0 where the rule or the class is always the same.
    """
    rows, positive = int(total.sum()), holds[0] + holds[1]
    covariance = rows * holds[1] - positive * total[1]
    variance = (positive * (rows - positive)).astype(np.float64) * float(total[0] * total[1])
    phi = np.zeros(positive.shape)
    np.divide(covariance, np.sqrt(variance), out=phi, where=variance > 0)
    return phi


def _describe(
    name: str, holds: NDArray[np.int64], total: NDArray[np.int64], chosen: Sequence[int]
) -> Rule:
    """Make a rule, or its NOT, from how often it holds by gender and class, shape (2, 2)."""
    if _phi(holds[chosen].sum(axis=0), total[chosen].sum(axis=0)) < 0:
        name, holds = f"NOT ({name})" if " " in name else f"NOT {name}", total - holds
    ours, rows = holds[chosen].sum(axis=0), total[chosen].sum(axis=0)
    women, men = (_phi(holds[i], total[i]) for i in (0, 1))
    return Rule(
        name=name,
        phi=float(_phi(ours, rows)),
        agreement=float((ours[1] + rows[0] - ours[0]) / rows.sum()),
        phi_women=float(women),
        phi_men=float(men),
    )


def _name(first: str, form: str, second: str) -> str:
    return first if first == second else f"{first} {form} {second}"
