"""The report's figures, drawn by matplotlib without its global state.

Parts have ids in the SVG, so that the page can colour them for light and dark and add tooltips.
"""

import itertools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO, StringIO
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from orchestrator.labels import Label, place_labels

PAPER, INK, MUTED, GREY, LINE = "#ffffff", "#1c1f24", "#5c6470", "#a7aeb8", "#d3d8de"
ROLES = {
    # Okabe and Ito's colours, told apart by the colour-blind; shapes repeat what colours say.
    "best": ("#d55e00", "*", 15.0),
    "plain": (INK, "s", 7.0),
    "reference": ("#009e73", "D", 7.0),
}
GENDERS = {"women": ("#cc79a7", "o"), "men": ("#56b4e9", "D")}
FRONT = "#0072b2"
THEME = {
    "paper": PAPER,
    "ink": INK,
    "muted": MUTED,
    "grey": GREY,
    "line": LINE,
    "front": FRONT,
    **{name: color for name, (color, *_) in (ROLES | GENDERS).items() if color != INK},
}
"""The page's CSS variables, by which it draws the same figures in light and dark."""
MARGIN = 0.08
"""Free space around the points, as a share of their range."""


@dataclass(frozen=True)
class FrontPlot:
    """What the front's plot shows; all on validation."""

    trial_ids: tuple[str, ...]
    """The complete trials."""
    mean_accuracy: NDArray[np.float64]
    gap: NDArray[np.float64]
    front: tuple[str, ...]
    roles: Mapping[str, str]
    """The trials that have a role of `ROLES`, by role."""
    fair_lambda: float
    whiskers: tuple[tuple[float, float], tuple[float, float]] | None
    """95% intervals of the best trial's gap and mean accuracy."""

    @classmethod
    def of(cls, summary: Mapping[str, Any], table: pd.DataFrame) -> "FrontPlot":
        """Take the plot's figures from the report's."""
        complete = table[table["state"] == "complete"]
        entries = {"best": summary["best"], **summary["baselines"]}
        return cls(
            trial_ids=tuple(complete["trial_id"]),
            mean_accuracy=complete["val_mean_accuracy"].to_numpy(dtype=np.float64),
            gap=complete["val_gap"].to_numpy(dtype=np.float64),
            front=tuple(entry["trial_id"] for entry in summary["pareto"]),
            roles={role: entry["trial_id"] for role, entry in entries.items() if entry},
            fair_lambda=summary["fair_lambda"],
            whiskers=_whiskers(summary["best"]["val"]) if summary["best"] else None,
        )

    def at(self, trial_id: str) -> tuple[float, float]:
        """Give a trial's (gap, mean accuracy)."""
        index = self.trial_ids.index(trial_id)
        return float(self.gap[index]), float(self.mean_accuracy[index])


def _whiskers(val: Mapping[str, Any]) -> tuple[tuple[float, float], tuple[float, float]]:
    mean = (val["acc_women"] + val["acc_men"]) / 2
    variance = sum(
        val[f"acc_{who}"] * (1 - val[f"acc_{who}"]) / val[f"n_{who}"] for who in ("women", "men")
    )
    half = 1.96 * math.sqrt(variance) / 2  # the mean of two independent shares
    return (val["gap_ci95"][0], val["gap_ci95"][1]), (mean - half, mean + half)


def front_png(plot: FrontPlot) -> bytes:
    """Draw the front as a PNG of 1440 x 1035 pixels, legible at 600 wide."""
    figure = _front_figure(plot, (6.4, 4.6))
    file = BytesIO()
    # Without the version of matplotlib the same run gives the same bytes on more machines.
    figure.savefig(file, format="png", dpi=225, metadata={"Software": None})
    return file.getvalue()


def front_svg(plot: FrontPlot) -> str:
    """Draw the front as an ``<svg>`` element to put into a page."""
    return _svg(_front_figure(plot, (10.0, 5.4)))


def genders_svg(entries: Mapping[str, Mapping[str, Any]]) -> str:
    """Draw each entry's accuracy of women and of men on test, as an ``<svg>`` element.

    Parameters
    ----------
    entries
        The summary's entries by role, the top one first; the accuracies of one that is ``plain``
        are drawn through all of them, so that a loss shows.
    """
    figure, axes = _figure((10.0, 0.75 + 0.42 * len(entries)))
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0, labelsize=10, labelcolor=INK)
    axes.set_yticks(range(len(entries)), labels=list(entries))
    axes.set_ylim(len(entries) - 0.5, -0.7)
    axes.set_xlabel("accuracy on test", color=INK)
    for row, entry in enumerate(entries.values()):
        women, men = entry["test"]["acc_women"], entry["test"]["acc_men"]
        axes.plot([women, men], [row, row], color=GREY, lw=2, zorder=1)
        outwards = -1 if women <= men else 1
        for who, value, side in (("women", women, outwards), ("men", men, -outwards)):
            color, marker = GENDERS[who]
            axes.plot(value, row, marker, color=color, ms=8, mec=PAPER)
            axes.annotate(
                f"{who} {value:.3f}" if row == 0 else f"{value:.3f}",
                (value, row), (9 * side, 0), textcoords="offset points", va="center",
                ha="right" if side < 0 else "left", fontsize=9, color=INK,
            )  # fmt: skip
    plain = next((entry for role, entry in entries.items() if "plain" in role.split()), None)
    for who, (color, _) in GENDERS.items():
        if plain:
            axes.axvline(plain["test"][f"acc_{who}"], color=color, lw=1, ls=":", zorder=0)
    axes.margins(x=0.14)
    return _svg(figure)


def _svg(figure: Figure) -> str:
    file = StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "fairfront"}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    text = file.getvalue()
    for name, color in THEME.items():
        text = text.replace(color, f"var(--{name})")
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"font-family: [^;]*; ", "", text)  # the page's own
    return text[text.index("<svg") :]


def _figure(size: tuple[float, float]) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size, facecolor=PAPER, layout="constrained")
    FigureCanvasAgg(figure)  # measures text, whatever the file's format
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(colors=MUTED, labelsize=9, length=3)
    return figure, axes


def _front_figure(plot: FrontPlot, size: tuple[float, float]) -> Figure:
    figure, axes = _figure(size)
    axes.set_xlabel("gap between women's and men's accuracy  (left is fairer)", color=INK)
    axes.set_ylabel("mean of women's and men's accuracy", color=INK)
    if not plot.trial_ids:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "No trial is complete: there is no front.", ha="center", color=INK)
        return figure
    axes.set_title(
        "Validation. Blue: the front. Grey lines: equal fair metric. "
        "Orange lines: the best trial's 95% intervals.",
        loc="left", fontsize=8, color=MUTED, pad=18,
    )  # fmt: skip
    inside = _set_limits(axes, plot)
    _draw_iso_lines(axes, plot.fair_lambda)
    stairs = _draw_front(axes, plot)
    _draw_trials(axes, plot, inside)
    _draw_whiskers(axes, plot)
    figure.draw_without_rendering()  # the layout decides where the labels' points are
    figure.set_layout_engine("none")
    place_labels(axes, _labels(plot), np.column_stack([plot.gap, plot.mean_accuracy]), stairs)
    return figure


def _set_limits(axes: Axes, plot: FrontPlot) -> NDArray[np.bool_]:
    """Show what matters large, leaving far-off trials to the edge; return which are inside."""
    named = np.isin(plot.trial_ids, [*plot.front, *plot.roles.values()])
    inside = named | ~(_far_above(plot.gap) | _far_above(-plot.mean_accuracy))
    for set_limits, values in ((axes.set_xlim, plot.gap), (axes.set_ylim, plot.mean_accuracy)):
        low, high = float(values[inside].min()), float(values[inside].max())
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
    corners = [plot.at(trial_id) for trial_id in plot.front]
    corners.append((axes.get_xlim()[1], corners[-1][1]))
    stairs = [corners[0]]
    for (_, before), (gap, accuracy) in itertools.pairwise(corners):
        stairs += [(gap, before), (gap, accuracy)]
    line = np.array([(stairs[0][0], axes.get_ylim()[0]), *stairs])
    axes.plot(*line.T, color=FRONT, lw=1.6, zorder=2, gid="front-line", solid_joinstyle="miter")
    return line


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
        axes.plot(across, up, color=ROLES["best"][0], lw=1, alpha=0.55, zorder=1, gid="whisker")


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
