"""Tables and lines on a terminal, or on whatever text stream stands in for it."""

from typing import TextIO

from rich.console import Console
from rich.table import Table

WIDTH = 100
"""Columns where there is no terminal to fill."""


def open_console(stream: TextIO) -> Console:
    """Open a console on a stream; what is printed is shown as it is, without markup."""
    width = None if stream.isatty() else WIDTH
    return Console(file=stream, width=width, markup=False, emoji=False, highlight=False)


def new_table(*columns: str, title: str | None = None, left: int | None = None) -> Table:
    """Begin a table without lines.

    Parameters
    ----------
    columns
        Their heads.
    title
        Above it.
    left
        So many columns are words; the others are figures, aligned to the right. None: all.
    """
    table = Table(
        title=title,
        title_justify="left",
        title_style="",
        box=None,
        padding=(0, 2, 0, 0),
        pad_edge=False,
        header_style="bold",
    )
    for place, name in enumerate(columns):
        words = left is None or place < left
        table.add_column(name, justify="left" if words else "right", overflow="fold")
    return table
