"""Places the labels of a plot's points so that they cover neither points, lines nor each other."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

PLACES = tuple(
    (distance, math.radians(angle))
    for distance, angle in product((8, 12, 20, 30, 44), (45, 135, 90, 0, 180, 315, 225, 270))
)
"""From the point to its label: typographic points, and the direction; the first are preferred."""
LEADER_FROM = 20
"""Labels at least so far away are tied to their point by a line."""
CLEARANCE = 6.0
"""Pixels kept free around a label."""


@dataclass(frozen=True)
class Label:
    """A text for a point of the plot."""

    text: str
    at: tuple[float, float]
    """In data coordinates."""
    color: str
    size: float = 9.0
    bold: bool = False
    optional: bool = False
    """Leave it out rather than cover something."""


def place_labels(
    axes: Axes, labels: Sequence[Label], points: NDArray[np.float64], line: NDArray[np.float64]
) -> None:
    """Write each label where it covers least, the first ones first.

    Parameters
    ----------
    axes
        With its limits and layout final.
    labels
        In order of importance.
    points
        Shape (n, 2), data coordinates: what labels must not cover.
    line
        Shape (k, 2), data coordinates: the corners of a line that labels should not cross.
    """
    marks = axes.transData.transform(points)
    crossed = _sampled(axes.transData.transform(line))
    taken: list[Bbox] = []
    for label in labels:
        text = _write(axes, label)
        costs = []
        for distance, angle in PLACES:
            _move(text, distance, angle)
            costs.append(_cost(text.get_window_extent(), marks, crossed, taken, axes.bbox))
        cheapest = int(np.argmin(costs))  # of equals the first: nearest, and up and right
        if label.optional and costs[cheapest] > 0:
            text.remove()
            continue
        _move(text, *PLACES[cheapest])
        taken.append(text.get_window_extent())
        if PLACES[cheapest][0] >= LEADER_FROM:
            _lead(axes, label, text)


def _write(axes: Axes, label: Label) -> Annotation:
    return axes.annotate(
        label.text,
        label.at,
        (0, 0),
        textcoords="offset points",
        color=label.color,
        fontsize=label.size,
        fontweight="bold" if label.bold else "normal",
        annotation_clip=False,
        parse_math=False,  # a $ in a name is a $
        zorder=6,
    )


def _move(text: Annotation, distance: float, angle: float) -> None:
    across, up = math.cos(angle), math.sin(angle)
    text.set_position((distance * across, distance * up))
    text.set_horizontalalignment(_side(across, "left", "right"))
    text.set_verticalalignment(_side(up, "bottom", "top"))


def _side(component: float, ahead: str, behind: str) -> Any:
    return "center" if abs(component) < 0.3 else ahead if component > 0 else behind


def _cost(
    box: Bbox,
    marks: NDArray[np.float64],
    crossed: NDArray[np.float64],
    taken: Sequence[Bbox],
    inside: Bbox,
) -> float:
    grown = box.padded(CLEARANCE)
    outside = box.x0 < inside.x0 or box.x1 > inside.x1 or box.y0 < inside.y0 or box.y1 > inside.y1
    cost: float = 4 * _within(grown, marks) + _within(box, crossed) + 6 * outside
    return cost + 10 * sum(bool(grown.overlaps(other)) for other in taken)


def _within(box: Bbox, points: NDArray[np.float64]) -> int:
    return int(np.sum(np.all((points >= box.min) & (points <= box.max), axis=1)))


def _lead(axes: Axes, label: Label, text: Annotation) -> None:
    axes.annotate(
        "",
        label.at,
        text.get_position(),
        textcoords="offset points",
        arrowprops={"arrowstyle": "-", "color": label.color, "lw": 0.6, "shrinkA": 0, "shrinkB": 4},
        annotation_clip=False,
    )


def _sampled(corners: NDArray[np.float64], step: float = 6.0) -> NDArray[np.float64]:
    """Points along a line, one each `step` pixels."""
    parts = [
        np.linspace(start, end, max(2, int(np.hypot(*(end - start)) / step)))
        for start, end in pairwise(corners)
    ]
    return np.concatenate(parts)
