"""What the report's figures share: colours and an empty figure."""

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
FRONT, SHARED = "#0072b2", "#8a5fb0"


def empty_figure(size: tuple[float, float]) -> tuple[Figure, Axes]:
    """Begin a figure of `size` inches."""
    figure = Figure(figsize=size, facecolor=PAPER, layout="constrained")
    FigureCanvasAgg(figure)  # measures text, whatever the file's format
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(colors=MUTED, labelsize=9, length=3)
    return figure, axes
