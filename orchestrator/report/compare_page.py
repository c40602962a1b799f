"""Runs on one front, as a page that needs no other file and has no script."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup, escape
from matplotlib.ticker import MaxNLocator

from orchestrator.base.web import asset, source_of
from orchestrator.base.words import duration
from orchestrator.report.comparison import Compared, Comparison
from orchestrator.report.page import ROOM, environment

HEIGHT, TOP, BOTTOM = 460, 14, 50
"""Pixels; places across are shares of the width, so that text keeps its size on any screen."""
LEFT, RIGHT = 9.0, 98.0
"""Where the least and the largest gap are, in percent; left of it the accuracies are written."""
SHAPES = (
    "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0",
    "M-4,-4h8v8h-8z",
    "M0,-5.5L5.5,0L0,5.5L-5.5,0z",
    "M0,-5L5,4L-5,4z",
    "M0,5L5,-4L-5,-4z",
    "M-5,0L0,-2L5,0L0,2z",
)
"""Of the marks of the runs, which their colours repeat; after them both begin anew."""


def compare_page(comparison: Comparison) -> str:
    """Write a comparison as HTML; what the runs' files say is shown as text, whatever it holds."""
    style = asset(ROOM, "templates/style.css")
    template = environment().get_template("compare.html.j2")
    return template.render(
        comparison=comparison,
        plot=_plot(comparison.runs),
        marks=[_mark(number) for number in range(len(comparison.runs))],
        style=style,
        style_hash=source_of(style),
        duration=duration,
    )


def _mark(number: int) -> Markup:
    """Return what stands for a run's trials."""
    return Markup('<path class="run{}" d="{}"/>').format(
        number % len(SHAPES), SHAPES[number % len(SHAPES)]
    )


def _plot(runs: Sequence[Compared]) -> Markup:
    """Draw mean accuracy against gap, with the front of each run and the trial that it chose."""
    there = [one for one in runs if len(one.trial_ids)]
    if not there:
        return Markup("")
    gaps = np.concatenate([one.gap for one in there])
    accuracies = np.concatenate([one.mean_accuracy for one in there])
    on = _Axes(_limits(gaps, least=0.0), _limits(accuracies))
    parts = [on.ticks()]
    for number, one in enumerate(runs):
        parts += [_stairs(on, one, number), *_trials(on, one, number)]
    label = "Mean accuracy against gap on validation, the trials and the front of each run"
    return Markup(
        '<svg class="compared" width="100%" height="{}" role="img" aria-label="{}"><title>{}'
        "</title>{}</svg>"
    ).format(HEIGHT, label, label, Markup("").join(parts))


class _Axes:
    """Where figures are on the page."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float]) -> None:
        self.x, self.y = x, y

    def at(self, gap: float, accuracy: float) -> tuple[float, float]:
        """Return how far right it is, in percent, and how far down, in pixels."""
        across = (gap - self.x[0]) / (self.x[1] - self.x[0])
        up = (accuracy - self.y[0]) / (self.y[1] - self.y[0])
        return LEFT + across * (RIGHT - LEFT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    def ticks(self) -> Markup:
        drawn, bottom = "", HEIGHT - BOTTOM
        for value in _ticks(self.x):
            x, _ = self.at(value, self.y[0])
            drawn += (
                f'<line class="grid" x1="{x:.2f}%" x2="{x:.2f}%" y1="{TOP}" y2="{bottom}"/>'
                f'<text class="tick" text-anchor="middle" x="{x:.2f}%" y="{bottom + 17}">'
                f"{value:.4g}</text>"
            )
        for value in _ticks(self.y):
            _, y = self.at(self.x[0], value)
            drawn += (
                f'<line class="grid" x1="0%" x2="{RIGHT}%" y1="{y:.1f}" y2="{y:.1f}"/>'
                f'<text class="tick" x="0" y="{y - 4:.1f}">{value:.4g}</text>'
            )
        drawn += f'<text class="tick halo" x="0" y="{TOP - 3}">mean accuracy</text>'
        middle = f'<text class="tick" text-anchor="middle" x="50%" y="{HEIGHT - 8}">'
        return Markup(drawn + middle + "gap between women's and men's accuracy</text>")


def _limits(values: Any, least: float = -np.inf) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    margin = 0.06 * (high - low) or 0.01
    return max(least, low - margin), high + margin


def _ticks(limits: tuple[float, float]) -> list[float]:
    found = MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(*limits)
    return [float(value) for value in found if limits[0] <= value <= limits[1]]


def _stairs(on: _Axes, one: Compared, number: int) -> Markup:
    """Draw what some trial of a run reaches for each gap allowed."""
    order = np.flatnonzero(one.front)
    if not order.size:
        return Markup("")
    order = order[np.argsort(one.gap[order])]
    before, lines = on.y[0], []
    ends = [*one.gap[order][1:], on.x[1]]
    for index, end in zip(order, ends, strict=True):
        gap, accuracy = one.gap[index], one.mean_accuracy[index]
        lines += [((gap, before), (gap, accuracy)), ((gap, accuracy), (end, accuracy))]
        before = accuracy
    drawn = ""
    for (x1, y1), (x2, y2) in ((on.at(*start), on.at(*end)) for start, end in lines):
        drawn += f'<line x1="{x1:.2f}%" y1="{y1:.1f}" x2="{x2:.2f}%" y2="{y2:.1f}"/>'
    return Markup('<g class="stairs run{}">{}</g>').format(number % len(SHAPES), Markup(drawn))


def _trials(on: _Axes, one: Compared, number: int) -> list[Markup]:
    best = one.summary["best"]["trial_id"] if one.summary["best"] else None
    drawn = []
    for trial_id, gap, accuracy, first in zip(
        one.trial_ids, one.gap, one.mean_accuracy, one.front, strict=True
    ):
        x, y = on.at(gap, accuracy)
        chosen = trial_id == best
        kind = "chosen" if chosen else "front" if first else "other"
        told = f"{one.name} {trial_id}: mean accuracy {accuracy:.4f}, gap {gap:.4f}"
        mark = f'<svg class="{kind}" x="{x:.2f}%" y="{y:.1f}" overflow="visible">'
        mark += f'<g transform="scale({1.9 if chosen else 1})"><title>{escape(told)}</title>'
        drawn.append(Markup(mark) + _mark(number) + Markup("</g></svg>"))
    return drawn
