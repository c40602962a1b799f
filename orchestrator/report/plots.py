"""``pareto.png``, drawn by matplotlib without its global state."""

import itertools
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from orchestrator.report.canvas import (
    FRONT,
    GREY,
    INK,
    LINE,
    MUTED,
    PAPER,
    ROLES,
    SHARED,
    empty_figure,
)
from orchestrator.report.front_plot import FrontPlot
from orchestrator.report.label_places import Label, place_labels

MARGIN = 0.08
"""Free space around the points, as a share of their range."""
FRONTS: dict[str, dict[str, Any]] = {
    "fixed": {"color": FRONT, "lw": 1.6, "solid_joinstyle": "miter"},
    "shared": {"color": SHARED, "lw": 1.1, "solid_joinstyle": "miter"},
    "by-gender": {"color": GREY, "lw": 1.0, "ls": (0, (4, 3))},
}
MARKS: dict[str, dict[str, Any]] = {
    "shared": {"color": SHARED, "marker": "o", "ms": 4.5, "mfc": PAPER, "mew": 1.1},
    "by-gender": {"color": GREY, "marker": "s", "ms": 4.5, "mfc": PAPER, "mew": 1.0},
    "confirmed": {"marker": "D", "ms": 3.5, "mfc": PAPER, "mew": 0.9},
}
WHISKER: dict[str, Any] = {"color": ROLES["best"][0], "lw": 1, "alpha": 0.55}


def front_png(plot: FrontPlot) -> bytes:
    """Draw the front as a PNG of 1440 x 1035 pixels, legible at 600 wide."""
    figure = _front_figure(plot, (6.4, 4.6))
    file = BytesIO()
    # Without the version of matplotlib the same run gives the same bytes on more machines.
    figure.savefig(file, format="png", dpi=225, metadata={"Software": None})
    return file.getvalue()


def _front_figure(plot: FrontPlot, size: tuple[float, float]) -> Figure:
    figure, axes = empty_figure(size)
    axes.set_xlabel("gap between women's and men's accuracy  (left is fairer)", color=INK)
    axes.set_ylabel("mean of women's and men's accuracy", color=INK)
    if not plot.trial_ids:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "No trial is complete: there is no front.", ha="center", color=INK)
        return figure
    inside = _set_limits(axes, plot)
    _draw_iso_lines(axes, plot.fair_lambda)
    stairs = _draw_front(axes, plot)
    lines = [stairs, *_draw_other_fronts(axes, plot)]
    _draw_trials(axes, plot, inside)
    _draw_whiskers(axes, plot)
    _draw_confirmed(axes, plot)
    _draw_legend(axes, plot)
    figure.draw_without_rendering()  # the layout decides where the labels' points are
    figure.set_layout_engine("none")
    points = np.vstack([np.column_stack([plot.gap, plot.mean_accuracy]), plot.others])
    place_labels(axes, _labels(plot), points, _joined(lines))
    return figure


def _set_limits(axes: Axes, plot: FrontPlot) -> NDArray[np.bool_]:
    """Show what matters large, leaving far-off trials to the edge; return which are inside."""
    named = np.isin(plot.trial_ids, [*plot.front, *plot.roles.values()])
    inside = named | ~(_far_above(plot.gap) | _far_above(-plot.mean_accuracy))
    trials = np.column_stack([plot.gap, plot.mean_accuracy])[inside]
    shown = np.vstack([trials, plot.others])
    for set_limits, values in ((axes.set_xlim, shown[:, 0]), (axes.set_ylim, shown[:, 1])):
        low, high = float(values.min()), float(values.max())
        margin = MARGIN * (high - low) or 0.01
        set_limits(low - margin, high + margin)
    axes.set_xlim(left=max(0.0, axes.get_xlim()[0]))
    return inside


def _far_above(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    low, high = np.percentile(values, (25, 75))
    return np.asarray(values > high + 2 * (high - low))


def _draw_iso_lines(axes: Axes, fair_lambda: float) -> None:
    """Lines of one value of the fair metric, labelled where they leave the axes."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    levels = MaxNLocator(7, steps=[1, 2, 2.5, 5, 10]).tick_values(
        bottom - fair_lambda * right, top - fair_lambda * left
    )
    for level in levels:
        at_left, at_right = level + fair_lambda * left, level + fair_lambda * right
        if at_left >= top or at_right <= bottom:
            continue
        axes.plot(
            [left, right], [at_left, at_right], color=LINE, lw=0.8, zorder=0, gid=f"iso-{level:g}"
        )
        over_top = at_right > top
        x, y = ((top - level) / fair_lambda, top) if over_top else (right, at_right)
        axes.annotate(
            f"fair {level:.4g}",
            (x, y),
            (0, 3) if over_top else (4, 0),
            textcoords="offset points",
            ha="center" if over_top else "left",
            va="bottom" if over_top else "center",
            color=MUTED,
            fontsize=8,
            annotation_clip=False,
        )
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)


def _draw_front(axes: Axes, plot: FrontPlot) -> NDArray[np.float64]:
    """Draw what some trial reaches for each gap allowed; return the corners, shape (k, 2)."""
    line = _stairs(axes, [plot.at(trial_id) for trial_id in plot.front])
    axes.plot(*line.T, gid="front-line", zorder=2, **FRONTS["fixed"])
    return line


def _draw_other_fronts(axes: Axes, plot: FrontPlot) -> list[NDArray[np.float64]]:
    """Draw the fronts at other thresholds; return their corners."""
    lines = []
    for kind, points in (("shared", plot.shared), ("by-gender", plot.by_gender)):
        if not points:
            continue
        line = _stairs(axes, [(point.gap, point.mean_accuracy) for point in points])
        axes.plot(*line.T, gid=f"front-{kind}", zorder=1.8, **FRONTS[kind])
        for point in points:
            axes.plot(
                point.gap, point.mean_accuracy, zorder=3.5, clip_on=False,
                gid=f"{kind}-{point.trial_id}", **MARKS[kind],
            )  # fmt: skip
        lines.append(line)
    return lines


def _stairs(axes: Axes, corners: Sequence[tuple[float, float]]) -> NDArray[np.float64]:
    stairs = [corners[0]]
    for (_, before), (gap, accuracy) in itertools.pairwise(
        [*corners, (axes.get_xlim()[1], corners[-1][1])]
    ):
        stairs += [(gap, before), (gap, accuracy)]
    return np.array([(stairs[0][0], axes.get_ylim()[0]), *stairs])


def _joined(lines: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Make one line of several, each walked there and back so as not to cross the plot."""
    return np.vstack([part for line in lines for part in (line, line[::-1])])


def _draw_trials(axes: Axes, plot: FrontPlot, inside: NDArray[np.bool_]) -> None:
    role_of = {trial_id: role for role, trial_id in reversed(list(plot.roles.items()))}
    for index, trial_id in enumerate(plot.trial_ids):
        x, y = plot.at(trial_id)
        color, marker, size, zorder = GREY, "o", 5.0, 3.0
        if trial_id in plot.front:
            color, marker, size, zorder = FRONT, "o", 6.0, 4.0
        if trial_id in role_of:
            (color, marker, size), zorder = ROLES[role_of[trial_id]], 5.0
        if not inside[index]:  # drawn at the edge, as an arrow
            x, y, marker = *_to_edge(axes, x, y), "v"
        axes.plot(
            x, y, marker, color=color, ms=size, mec=PAPER, mew=0.7, zorder=zorder,
            clip_on=False, gid=f"trial-{trial_id}",
        )  # fmt: skip
    if not inside.all():
        axes.annotate(
            f"{np.sum(~inside)} far off, at the edge",
            (1, 0), (-12, 6), xycoords="axes fraction", textcoords="offset points",
            ha="right", fontsize=8, color=MUTED,
        )  # fmt: skip


def _to_edge(axes: Axes, x: float, y: float) -> tuple[float, float]:
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    return float(np.clip(x, left, right)), float(np.clip(y, bottom, top))


def _draw_whiskers(axes: Axes, plot: FrontPlot) -> None:
    if plot.whiskers is None:
        return
    (x, y), ((left, right), (low, high)) = plot.at(plot.roles["best"]), plot.whiskers
    for across, up in (([left, right], [y, y]), ([x, x], [low, high])):
        axes.plot(across, up, zorder=1, gid="whisker", **WHISKER)


def _draw_confirmed(axes: Axes, plot: FrontPlot) -> None:
    """Draw the figures of retrainings, with their standard errors, tied to the trial's mark."""
    for point in plot.confirmed:
        x, y, (across, up) = point.gap, point.mean_accuracy, point.sd
        color = _color(plot, point.trial_id)
        axes.plot(*zip(plot.at(point.trial_id), (x, y), strict=True), color=color, lw=0.7, ls=":")
        for xs, ys in (((x - across, x + across), (y, y)), ((x, x), (y - up, y + up))):
            axes.plot(xs, ys, color=color, lw=0.9, alpha=0.6, zorder=2.5)
        axes.plot(
            x, y, color=color, zorder=4.5, clip_on=False, gid=f"confirmed-{point.trial_id}",
            **MARKS["confirmed"],
        )  # fmt: skip


def _color(plot: FrontPlot, trial_id: str) -> str:
    roles = [role for role, named in plot.roles.items() if named == trial_id]
    return ROLES[roles[0]][0] if roles else FRONT if trial_id in plot.front else GREY


def _draw_legend(axes: Axes, plot: FrontPlot) -> None:
    """Say what the lines are, above the plot."""
    shown = {
        "front at threshold 0.5": FRONTS["fixed"] | {"marker": "o", "ms": 5, "mec": PAPER},
        "at the best shared threshold": FRONTS["shared"] | MARKS["shared"] if plot.shared else None,
        "by gender: needs the gender when predicting": (
            FRONTS["by-gender"] | MARKS["by-gender"] if plot.by_gender else None
        ),
        "95% intervals of best": WHISKER if plot.whiskers else None,
        "retrained, ± standard error": (
            MARKS["confirmed"] | {"color": FRONT, "lw": 0.9} if plot.confirmed else None
        ),
        "equal fair metric": {"color": LINE, "lw": 0.8},
    }
    handles = [Line2D([], [], label=name, **style) for name, style in shown.items() if style]
    axes.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(0, 1.07), ncols=2, frameon=False,
        fontsize=8, labelcolor=MUTED, borderpad=0, borderaxespad=0, handlelength=2.2,
    )  # fmt: skip


def _labels(plot: FrontPlot) -> list[Label]:
    """First the roles, one label a trial however many it has, then the front as space allows."""
    roles: dict[str, list[str]] = {}
    for role, trial_id in plot.roles.items():
        roles.setdefault(trial_id, []).append(role)
    labels = [
        Label(" = ".join(dict.fromkeys([*names, trial_id])), plot.at(trial_id), ROLES[names[0]][0],
              size=10, bold=True)
        for trial_id, names in roles.items()
    ]  # fmt: skip
    return labels + [
        Label(trial_id, plot.at(trial_id), FRONT, 8.5, optional=True)
        for trial_id in plot.front
        if trial_id not in roles
    ]
