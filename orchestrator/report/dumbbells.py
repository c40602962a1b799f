"""The first figure of the page: women's and men's accuracy of a few trials, with their intervals.

Places are shares of the width, so that text and marks keep their size on any screen.
"""

import math
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup, escape

ROW, TOP, AXIS = 54, 6, 40
"""Pixels: the height of a trial, and what is above all of them and below."""
LANES = {"women": 26, "men": 38}
"""Where in its row a gender is."""
MARKS = {
    "women": '<circle r="5.5"/>',
    "men": '<path d="M0,-6.5L6.5,0L0,6.5L-6.5,0z"/>',
}
LEFT, WIDTH = 4.0, 92.0
"""Of the plot, in percent: marks at its ends are whole."""


def dumbbells(entries: Mapping[str, Mapping[str, Any]]) -> Markup:
    """Draw each entry's accuracy of women and men on test, as an ``<svg>`` element.

    Parameters
    ----------
    entries
        The summary's entries by their roles, the top one first.
    """
    tests = [entry["test"] for entry in entries.values()]
    ends = [end for test in tests for who in LANES for end in test[f"acc_{who}_ci95"]]
    scale = _scale(min(ends), max(ends))
    height = TOP + ROW * len(entries) + AXIS
    rows = [
        _row(role, entry, TOP + ROW * n, scale) for n, (role, entry) in enumerate(entries.items())
    ]
    described = "; ".join(
        f"{role}: women {test['acc_women']:.3f}, men {test['acc_men']:.3f}"
        for role, test in zip(entries, tests, strict=True)
    )
    return Markup(
        f'<svg class="dumbbells" role="img" width="100%" height="{height}" aria-label="{{label}}">'
        "<title>Accuracy of women and of men on test, with 95% intervals</title>{ticks}{rows}</svg>"
    ).format(
        label=f"Accuracy on test. {described}",
        ticks=_axis(scale, height),
        rows=Markup("").join(rows),
    )


def _scale(low: float, high: float) -> tuple[float, float, float]:
    """Return the ends of the axis and the step of its marks: one, two or five of a decimal."""
    rough = max(high - low, 1e-3) / 4
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * n for n in (1, 2, 5, 10) if unit * n >= rough)
    return math.floor(low / step) * step, math.ceil(high / step) * step, step


def _at(value: float, scale: tuple[float, float, float]) -> str:
    low, high, _ = scale
    return f"{LEFT + WIDTH * (value - low) / (high - low):.2f}%"


def _axis(scale: tuple[float, float, float], height: int) -> Markup:
    low, high, step = scale
    bottom, places = height - AXIS + 2, max(0, -math.floor(math.log10(step) + 1e-9))
    marks = []
    for n in range(round((high - low) / step) + 1):
        value = low + n * step
        marks.append(
            f'<line class="grid" x1="{_at(value, scale)}" x2="{_at(value, scale)}" '
            f'y1="{TOP}" y2="{bottom}"/><text class="tick" text-anchor="middle" '
            f'x="{_at(value, scale)}" y="{bottom + 15}">{value:.{places}f}</text>'
        )
    name = f'<text class="tick" text-anchor="middle" x="50%" y="{height - 5}">'
    return Markup("".join(marks) + name + "accuracy on test faces</text>")


def _row(
    role: str, entry: Mapping[str, Any], top: int, scale: tuple[float, float, float]
) -> Markup:
    test, parts = entry["test"], []
    women, men = (_at(test[f"acc_{who}"], scale) for who in LANES)
    parts.append(
        f'<line class="bell" x1="{women}" x2="{men}" '
        f'y1="{top + LANES["women"]}" y2="{top + LANES["men"]}"/>'
    )
    for who, lane in LANES.items():
        low, high = (_at(end, scale) for end in test[f"acc_{who}_ci95"])
        y = top + lane
        parts.append(f'<line class="bar {who}" x1="{low}" x2="{high}" y1="{y}" y2="{y}"/>')
        parts.extend(
            f'<line class="bar {who}" x1="{end}" x2="{end}" y1="{y - 4}" y2="{y + 4}"/>'
            for end in (low, high)
        )
        parts.append(
            f'<svg class="mark {who}" x="{_at(test[f"acc_{who}"], scale)}" y="{y}" '
            f'overflow="visible">{MARKS[who]}</svg>'
        )
    name = f'<text x="0" y="{top + 12}">{escape(role)} <tspan class="muted">'
    return Markup(name + f"{escape(entry['trial_id'])}</tspan></text>" + "".join(parts))
