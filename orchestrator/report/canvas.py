"""What the report's figures share: colours, an empty figure, and SVG that the page can colour."""

import re
from io import StringIO

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

PAPER, INK, MUTED, GREY, LINE = "#ffffff", "#1c1f24", "#5c6470", "#a7aeb8", "#d3d8de"
ROLES = {
    # Okabe and Ito's colours, told apart by the colour-blind; shapes repeat what colours say.
    "best": ("#d55e00", "*", 15.0),
    "plain": (INK, "s", 7.0),
    "plain_tuned": (INK, "p", 7.5),
    "reference": ("#009e73", "D", 7.0),
}
GENDERS = {"women": ("#cc79a7", "o"), "men": ("#56b4e9", "D")}
FRONT, SHARED = "#0072b2", "#8a5fb0"
THEME = {
    "paper": PAPER,
    "ink": INK,
    "muted": MUTED,
    "grey": GREY,
    "line": LINE,
    "front": FRONT,
    "shared": SHARED,
    **{name: color for name, (color, *_) in (ROLES | GENDERS).items() if color != INK},
}
"""The page's CSS variables, by which it draws the same figures in light and dark."""


def empty_figure(size: tuple[float, float]) -> tuple[Figure, Axes]:
    """Begin a figure of `size` inches."""
    figure = Figure(figsize=size, facecolor=PAPER, layout="constrained")
    FigureCanvasAgg(figure)  # measures text, whatever the file's format
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(colors=MUTED, labelsize=9, length=3)
    return figure, axes


def as_svg(figure: Figure) -> str:
    """Draw a figure as an ``<svg>`` element to put into a page."""
    file = StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "fairfront"}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    text = file.getvalue()
    for name, color in THEME.items():
        text = text.replace(color, f"var(--{name})")
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"font-family: [^;]*; ", "", text)  # the page's own
    return text[text.index("<svg") :]
