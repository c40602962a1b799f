"""`fairfront search_spaces`: which there are, and what one varies."""

from typing import TextIO

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from orchestrator.base.console import new_table, open_console
from orchestrator.config.settings import SweepConfig
from search_spaces import SPACES, get
from search_spaces.ranges import Parameter, count, read


def list_spaces(out: TextIO) -> None:
    """List the search spaces by name."""
    table = new_table("space", "parameters", "what it varies")
    table.columns[1].justify = "right"
    for name, space in SPACES.items():
        table.add_row(name, str(count(name, space)), space.doc.splitlines()[0])
    console = open_console(out)
    console.print(table)
    console.print(
        f"\nsweep --space NAME searches one ({SweepConfig().space} if none is named); "
        "search_spaces show NAME lists its ranges.",
        soft_wrap=True,
    )


def show_space(name: str, out: TextIO) -> None:
    """Show what a search space varies.

    Parameters
    ----------
    name
        One of `SPACES`, or a Python file.
    out
        A terminal, or any other text stream.

    Raises
    ------
    InputError
        There is no such space, or it fails.
    """
    space = get(name)
    ranges = read(name, space)
    conditional = any(parameter.condition for parameter in ranges.parameters)
    table = new_table("parameter", "values", "scale", "sets", *["only if"] * conditional)
    for parameter in ranges.parameters:
        table.add_row(*_cells(parameter)[: len(table.columns)])
    console = open_console(out)
    if space.doc:
        console.print(space.doc + "\n", soft_wrap=True)
    console.print(table)
    if ranges.fixed:
        settings = ", ".join(f"{key}={value}" for key, value in ranges.fixed.items())
        console.print(f"\nIn all trials: {settings}", soft_wrap=True)
    if space.points:
        console.print(f"\nBaselines that lie in it: {', '.join(space.points)}", soft_wrap=True)


def _cells(parameter: Parameter) -> tuple[str, str, str, str, str]:
    values, scale = describe(parameter.distribution)
    return parameter.name, values, scale, "\n".join(parameter.keys), parameter.condition


def describe(distribution: BaseDistribution) -> tuple[str, str]:
    """Say which values a parameter takes, and on which scale; choices have none."""
    if isinstance(distribution, CategoricalDistribution):
        return ", ".join(map(str, distribution.choices)), ""
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high, step = distribution.low, distribution.high, distribution.step
    scale = "log" if distribution.log else "linear"
    if step is None:
        return f"{low:g} to {high:g}", scale
    there = round((high - low) / step) + 1
    shown = [f"{low + place * step:g}" for place in range(min(there, 3))]
    if there > 3:
        shown[2:] = ["…", f"{high:g}"]
    return ", ".join(shown), scale
