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

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 960, 480, 62, 16, 12, 50
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
        '<svg class="compared" viewBox="0 0 {} {}" role="img" aria-label="{}"><title>{}</title>{}'
        "</svg>"
    ).format(WIDTH, HEIGHT, label, label, Markup("").join(parts))


class _Axes:
    """Where figures are on the page."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float]) -> None:
        self.x, self.y = x, y

    def at(self, gap: float, accuracy: float) -> tuple[float, float]:
        across = (gap - self.x[0]) / (self.x[1] - self.x[0])
        up = (accuracy - self.y[0]) / (self.y[1] - self.y[0])
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (
            HEIGHT - TOP - BOTTOM
        )

    def ticks(self) -> Markup:
        drawn = Markup("")
        for value in _ticks(self.x):
            x, _ = self.at(value, self.y[0])
            drawn += Markup(
                f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
                f'<text class="tick" text-anchor="middle" x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}">'
                f"{value:.4g}</text>"
            )
        for value in _ticks(self.y):
            _, y = self.at(self.x[0], value)
            drawn += Markup(
                f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
                f'<text class="tick" text-anchor="end" x="{LEFT - 6}" y="{y + 4:.1f}">{value:.4g}'
                "</text>"
            )
        middle = (LEFT + WIDTH - RIGHT) / 2
        return drawn + Markup(
            f'<text class="tick" text-anchor="middle" x="{middle}" y="{HEIGHT - 8}">gap between '
            "women's and men's accuracy</text>"
            f'<text class="tick" text-anchor="middle" transform="translate(13,'
            f'{(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)">mean accuracy</text>'
        )


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
    path, before = "", on.y[0]
    for index in order:
        gap, accuracy = one.gap[index], one.mean_accuracy[index]
        for corner in (on.at(gap, before), on.at(gap, accuracy)):
            path += f"{'L' if path else 'M'}{corner[0]:.1f},{corner[1]:.1f}"
        before = accuracy
    x, y = on.at(on.x[1], before)
    return Markup('<path class="stairs run{}" d="{}"/>').format(
        number % len(SHAPES), f"{path}L{x:.1f},{y:.1f}"
    )


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
        mark = f'<g class="{kind}" transform="translate({x:.1f},{y:.1f})'
        mark += f'{" scale(1.9)" if chosen else ""}"><title>'
        drawn.append(
            Markup(mark) + escape(told) + Markup("</title>") + _mark(number) + Markup("</g>")
        )
    return drawn
