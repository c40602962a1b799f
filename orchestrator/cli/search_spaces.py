"""`fairfront search-spaces`: which there are, and what one varies."""

import json
from typing import Any, TextIO

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)

from orchestrator.base.console import new_table, open_console
from orchestrator.config.settings import SweepConfig
from search_spaces import SPACES, Space, get
from search_spaces.ranges import Parameter, Ranges, count, read


def list_spaces(out: TextIO, *, as_json: bool = False) -> None:
    """List the search spaces by name."""
    if as_json:
        spaces = [
            {"name": name, "parameters": count(name, space), "doc": space.doc}
            for name, space in SPACES.items()
        ]
        print(json.dumps(spaces, indent=2), file=out)
        return
    table = new_table("space", "parameters", "what it varies")
    table.columns[1].justify = "right"
    for name, space in SPACES.items():
        table.add_row(name, str(count(name, space)), space.doc.splitlines()[0])
    console = open_console(out)
    console.print(table)
    console.print(
        f"\nsweep --space NAME searches one ({SweepConfig().space} if none is named); "
        "search-spaces show NAME lists its ranges.",
        soft_wrap=True,
    )


def show_space(name: str, out: TextIO, *, as_json: bool = False) -> None:
    """Show what a search space varies.

    Parameters
    ----------
    name
        One of `SPACES`, or a Python file.
    out
        A terminal, or any other text stream.
    as_json
        For programs.

    Raises
    ------
    InputError
        There is no such space, or it fails.
    """
    space = get(name)
    ranges = read(name, space)
    if as_json:
        print(json.dumps(_as_json(name, space, ranges), indent=2), file=out)
        return
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


def _as_json(name: str, space: Space, ranges: Ranges) -> dict[str, Any]:
    return {
        "name": name,
        "doc": space.doc,
        "parameters": [
            {
                "name": parameter.name,
                "distribution": json.loads(distribution_to_json(parameter.distribution)),
                "sets": list(parameter.keys),
                "only_if": parameter.condition or None,
            }
            for parameter in ranges.parameters
        ],
        "fixed": dict(ranges.fixed),
        "points": space.points,
    }


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
