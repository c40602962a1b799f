"""What a source says of its faces, column by column: attributes, and values to compare."""

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from orchestrator.base.errors import InputError
from orchestrator.data.sources.manifest_columns import TRUTH, number_of, parse_texts

ORDERS: dict[str, Any] = {
    "<=": np.less_equal,
    ">=": np.greater_equal,
    "<": np.less,
    ">": np.greater,
}
SHOWN = 10
"""Values of a column that a message lists."""


@dataclass(frozen=True)
class Facts:
    """Columns that rules speak of."""

    attributes: pd.DataFrame | None
    """A column of bool for each attribute."""
    table: pa.Table | None = None
    """Columns as they are in the file, of the same rows."""

    def names(self) -> list[str]:
        """Return the names of the attributes."""
        return [] if self.attributes is None else list(self.attributes.columns)

    def truth(self, name: str) -> NDArray[np.bool_] | None:
        """Return where an attribute holds, or a column says yes; None if it says something else."""
        if self.attributes is not None and name in self.attributes.columns:
            return self.attributes[name].to_numpy()
        texts = [text.lower() for text in self._texts(name) or ()]
        if not texts or not TRUTH.keys() >= set(texts):
            return None
        return np.array([TRUTH[text] == 1 for text in texts])

    def compare(self, name: str, sign: str, value: str, where: str) -> NDArray[np.bool_]:
        """Return where a column is equal to a value, or is not, or is beyond it.

        Parameters
        ----------
        name
            The column; an attribute of a source without columns is -1 or 1.
        sign
            ``==``, ``!=`` or one of `ORDERS`.
        value
            A number, or a text.
        where
            The rule and the file, for a message.

        Raises
        ------
        InputError
            No such column, an empty cell, a value that no row has, or no number to order by.
        """
        texts = self._texts(name)
        if texts is None:
            raise InputError(f"{where} has no column {name} to compare")
        if "" in texts:
            row = texts.index("") + 1
            raise InputError(f"{where}: row {row}: {name} is empty; leave the row out, or fill it")
        known = {text: _number(text) for text in set(texts)}
        number = _number(value)
        if sign in ORDERS:
            if number is None:
                raise InputError(f"{where}: {sign} {value}: give a number, or compare with ==")
            for row, text in enumerate(texts, start=1):
                if known[text] is None:
                    raise InputError(
                        f"{where}: row {row}: {name} is {text}, no number for {sign}; compare "
                        "with =="
                    )
            return np.asarray(ORDERS[sign]([known[text] for text in texts], number), bool)
        same = {text for text in known if text == value or known[text] == number is not None}
        same = same or {text for text in known if text.casefold() == value.casefold()}
        if not same:
            near = get_close_matches(value, known, cutoff=0.5) or sorted(known)[:SHOWN]
            raise InputError(f"{where}: no row has {name} {value}; near: {', '.join(near)}")
        return np.array([(text in same) == (sign == "==") for text in texts])

    def _texts(self, name: str) -> list[str] | None:
        """Return the cells of a column as text; None where there is no such column."""
        if self.table is not None and self.table.column_names.count(name) == 1:
            return parse_texts(self.table[name].to_pylist())
        if self.attributes is not None and name in self.attributes.columns:
            return ["1" if holds else "-1" for holds in self.attributes[name]]
        return None


def _number(text: str) -> float | None:
    """Return the number that a cell means; true is 1, as Parquet and Excel have it."""
    return {"true": 1.0, "false": 0.0}.get(text.lower(), number_of(text))
