"""What a trained network goes by: maps averaged over faces, and what taking away says of them."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit

from orchestrator.base.files import make_folder, write_json, writing
from orchestrator.data.store.store import Store
from orchestrator.data.store.streaming import stream
from orchestrator.deploy.explain_figure import maps_png
from orchestrator.deploy.explained import Explained
from orchestrator.judging.fairness import MAN, WOMAN
from orchestrator.run.directory import Run
from orchestrator.training.attribution import (
    GRID,
    SHARES,
    STEPS,
    Floats,
    attributions,
    cell_scores,
    curves,
)
from orchestrator.training.inference import pick_device, to_input
from orchestrator.training.model_file import TrainedModel

PIECE = 32
"""Faces between two signs of life."""
THIRDS = ("top", "middle", "bottom")


def explain(
    trained: TrainedModel,
    store: Store,
    each: int,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Explained:
    """Ask a network what it goes by in test faces.

    Parameters
    ----------
    trained
        The network.
    store
        The data set of its run.
    each
        Faces of each gender and class, at most.
    on_progress
        Told faces done so far and in all.

    Raises
    ------
    InputError
        A shard of the data set is damaged.
    """
    arrays = stream(store, "test")
    rows = _drawn(arrays.gender, arrays.label, each)
    images: NDArray[np.uint8] = arrays.images.read(rows)  # type: ignore[union-attr]  # on disk
    device = pick_device()
    network = trained.network.to(device).eval()
    seen = to_input(torch.from_numpy(images).to(device))
    reference = seen.mean(dim=0)
    rng = np.random.default_rng(0)
    random = np.argsort(rng.random((len(rows), GRID**2)), axis=1)
    parts: list[tuple[Floats, ...]] = []
    on_progress(0, len(rows))
    for start in range(0, len(rows), PIECE):
        part = slice(start, start + PIECE)
        some = seen[part]
        maps = attributions(network, some, reference)
        with torch.inference_mode():
            logit = network(some).float().cpu().numpy()
        # What speaks for the label that it gives goes first.
        scores = cell_scores(maps) * np.where(logit > 0, 1, -1)[:, None]
        marked = np.argsort(-scores, axis=1, kind="stable")
        told = [
            curves(network, some, reference, order, insert=insert)
            for insert in (False, True)
            for order in (marked, random[part])
        ]
        parts.append((logit, maps, *told))
        on_progress(min(start + PIECE, len(rows)), len(rows))
    logit, maps, *told = (np.concatenate(of) for of in zip(*parts, strict=True))
    return Explained(
        images=images,
        label=arrays.label[rows],
        gender=arrays.gender[rows],
        logit=logit,
        maps=maps,
        taken=dict(zip(("maps", "random"), told[:2], strict=True)),
        put=dict(zip(("maps", "random"), told[2:], strict=True)),
    )


def _drawn(gender: NDArray[np.int8], label: NDArray[np.int8], each: int) -> NDArray[np.int64]:
    rng, rows = np.random.default_rng(0), []
    for who in (WOMAN, MAN):
        for of_class in (0, 1):
            there = np.flatnonzero((gender == who) & (label == of_class))
            rows.append(rng.choice(there, min(each, len(there)), replace=False))
    return np.sort(np.concatenate(rows)).astype(np.int64)


def figures(found: Explained, trial_id: str) -> dict[str, Any]:
    """Return what is kept of it as JSON.

    Returns
    -------
    ``looks_at``: by gender and class, the shares of the maps' absolute values in the top, middle
    and bottom third of the image, null where there is no such face. ``taken`` and ``put``: by the
    label that the network gives, its mean probability of that label at each of ``shares`` of the
    image, in the maps' order and at random, and under ``area`` by how much the area under the first
    is below (``put``: above) that under the second, with its 95% interval over faces.
    """
    return {
        "trial_id": trial_id,
        "method": f"integrated gradients from the mean face, {STEPS} steps",
        "faces": len(found.label),
        "looks_at": {
            f"{who} of class {of_class}": _thirds(found.maps[found.group(gender, of_class)])
            for who, gender in (("women", WOMAN), ("men", MAN))
            for of_class in (1, 0)
        },
        "shares": SHARES.round(6).tolist(),
        "taken": _by_label(found, found.taken, -1),
        "put": _by_label(found, found.put, 1),
    }


def _thirds(maps: Floats) -> dict[str, float] | None:
    if not len(maps):
        return None
    height = maps.shape[1]
    of_row = np.abs(maps).sum(axis=2).mean(axis=0)
    third = np.arange(height) * 3 // height
    total = float(of_row.sum()) or 1.0
    return {name: float(of_row[third == n].sum() / total) for n, name in enumerate(THIRDS)}


def _by_label(
    found: Explained, logits: Mapping[str, Floats], better: int
) -> dict[str, dict[str, Any] | None]:
    return {
        str(label): _curves(
            {
                name: np.asarray(expit(sign * of[(found.logit > 0) == (label == 1)]))
                for name, of in logits.items()
            },
            better,
        )
        for label, sign in ((1, 1), (0, -1))
    }


def _curves(probability: Mapping[str, NDArray[np.float64]], better: int) -> dict[str, Any] | None:
    marked, random = probability["maps"], probability["random"]
    if len(marked) < 2:
        return None
    gain = better * np.asarray(np.trapezoid(marked - random, SHARES, axis=1))
    half = 1.96 * float(gain.std(ddof=1)) / math.sqrt(len(marked))
    mean = float(gain.mean())
    return {
        "faces": len(marked),
        "maps": marked.mean(axis=0).tolist(),
        "random": random.mean(axis=0).tolist(),
        "area": mean,
        "area_ci95": [mean - half, mean + half],
    }


def keep(run: Run, trial_id: str, found: Explained) -> dict[str, Any]:
    """Write the figures and their picture into the run; return the figures."""
    about = figures(found, trial_id)
    make_folder(run.explanations_path)
    with writing(run.explanations_path / f"{trial_id}.png") as file:
        file.write(maps_png(found, about))
    write_json(run.explanations_path / f"{trial_id}.json", about)
    return about
