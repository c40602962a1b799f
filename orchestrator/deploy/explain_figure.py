"""The picture of an explanation: mean faces, what the network goes by in them, and the curves."""

from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from orchestrator.deploy.explained import Explained
from orchestrator.judging.fairness import MAN, WOMAN

INK, MUTED, MARKED, RANDOM = "#1c1f24", "#5c6470", "#0072b2", "#8b939e"
COLOURS = "PuOr_r"
"""Diverging, and told apart by the colour-blind: orange for class 1, violet against it."""
SMOOTHED = 5
"""Pixels a side over which a map is averaged to be seen."""


def maps_png(found: Explained, about: Mapping[str, Any]) -> bytes:
    """Draw an explanation, as PNG: a row a class, and below what taking away does."""
    figure = Figure(figsize=(9.6, 8.4), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    parts: Any = figure.subfigures(2, 1, height_ratios=(2.1, 1))
    above, below = parts
    cells = above.subplots(2, 4)
    means = {
        (gender, label): smoothed(found.maps[found.group(gender, label)].mean(axis=0))
        for gender in (WOMAN, MAN)
        for label in (0, 1)
        if found.group(gender, label).any()
    }
    most = max((float(np.abs(of).max()) for of in means.values()), default=0.0) or 1.0
    for row, label in enumerate((1, 0)):
        for column, (who, gender) in enumerate((("women", WOMAN), ("men", MAN))):
            face, shown = cells[row, 2 * column], cells[row, 2 * column + 1]
            for axes in (face, shown):
                axes.set_axis_off()
            group = found.group(gender, label)
            face.set_title(f"{group.sum()} {who} of class {label}", fontsize=9, color=INK)
            if (gender, label) in means:
                face.imshow(found.images[group].mean(axis=0) / 255)
                shown.imshow(means[gender, label], cmap=COLOURS, vmin=-most, vmax=most)
    above.suptitle(
        "Mean faces, and what moves the network: orange towards class 1, violet against it",
        fontsize=10, color=INK,
    )  # fmt: skip
    for axes, given in zip(below.subplots(1, 2), ("1", "0"), strict=True):
        _draw_curves(axes, about, given)
    file = BytesIO()
    figure.savefig(file, format="png", dpi=110, metadata={"Software": None})
    return file.getvalue()


def _draw_curves(axes: Axes, about: Mapping[str, Any], label: str) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=MUTED, labelsize=8)
    axes.set_title(f"Faces labelled {label}", fontsize=9, color=INK)
    axes.set_xlabel("share of the image taken away", fontsize=8, color=MUTED)
    axes.set_ylabel(f"probability of {label}", fontsize=8, color=MUTED)
    axes.set_ylim(0, 1)
    if (of := about["taken"][label]) is None:
        return
    axes.plot(about["shares"], of["maps"], color=MARKED, label="what the maps mark first")
    axes.plot(about["shares"], of["random"], color=RANDOM, ls="--", label="at random")
    axes.legend(frameon=False, fontsize=8, labelcolor=MUTED)


def smoothed(of: NDArray[np.floating]) -> NDArray[np.float64]:
    """Average a map over squares of `SMOOTHED` pixels, its edges repeated."""
    half = SMOOTHED // 2
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(of, half, "edge"), (SMOOTHED,) * 2)
    return np.asarray(windows.mean(axis=(2, 3)), np.float64)
