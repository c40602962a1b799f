"""What of an image a network goes by, and whether a map of that means anything."""

from collections.abc import Iterator

import numpy as np
import torch
from captum.attr import IntegratedGradients
from numpy.typing import NDArray
from torch import Tensor, nn

STEPS = 24
"""Between the reference and the image, of the integral; by Gauss and Legendre."""
TOGETHER = 64
"""Images that the network sees at a time."""
GRID = 10
"""Cells a side in which an image is taken away."""
SHARES = np.linspace(0, 1, 11)
"""Of the cells, after which the network is asked."""

Floats = NDArray[np.float32]


def attributions(network: nn.Module, images: Tensor, reference: Tensor) -> Floats:
    """Return by how much each pixel moves the logit from that of a reference.

    Integrated gradients (Sundararajan, Taly and Yan, ICML 2017) by captum, added up over the
    channels: a map's sum is the image's logit less the reference's, but for the integral's steps.

    Parameters
    ----------
    network
        In evaluation mode, on the device of `images`.
    images
        Shape (n, 3, H, W), float in [0, 1].
    reference
        Shape (3, H, W): a face that says as little as can be, such as the mean of many.

    Returns
    -------
    Shape (n, H, W).
    """
    method = IntegratedGradients(network)
    found = method.attribute(
        images,
        reference[None].expand_as(images),
        n_steps=STEPS,
        internal_batch_size=TOGETHER,
    )
    summed: Floats = found.sum(dim=1).detach().float().cpu().numpy()
    return summed


def cell_scores(maps: NDArray[np.floating]) -> NDArray[np.float64]:
    """Add up maps, shape (n, H, W), within the cells of a grid; shape (n, cells)."""
    cell = _cell_of_pixel(maps.shape[1:])
    return np.stack([np.bincount(cell.ravel(), one.ravel(), GRID**2) for one in maps])


def curves(
    network: nn.Module,
    images: Tensor,
    reference: Tensor,
    order: NDArray[np.integer],
    *,
    insert: bool = False,
) -> Floats:
    """Take images away cell by cell, or put them in, and ask the network each time.

    Parameters
    ----------
    network, images, reference
        As for `attributions`; the reference stands where an image is not.
    order
        Shape (n, cells): the cells of each image, the first to go, or to come, first.
    insert
        Begin with the reference, and put cells in.

    Returns
    -------
    Logits, shape (n, len(SHARES)).

    Notes
    -----
    Petsiuk, Das and Saenko, RISE (BMVC 2018): what a map marks should, taken away, move the answer
    more than anything else of the same size.
    """
    cell = torch.from_numpy(_cell_of_pixel(images.shape[2:])).to(images.device)
    rank = torch.from_numpy(np.argsort(order, axis=1)).to(images.device)[:, cell]  # by pixel
    asked = [round(float(share) * GRID**2) for share in SHARES]
    found = []
    with torch.inference_mode():
        for rows in _parts(len(images)):
            image, first = images[rows], rank[rows, None]
            steps = []
            for count in asked:
                shown = (first < count) if insert else (first >= count)
                steps.append(network(torch.where(shown, image, reference)).float())
            found.append(torch.stack(steps, dim=1).cpu().numpy())
    return np.concatenate(found)


def _parts(rows: int) -> Iterator[slice]:
    for start in range(0, rows, TOGETHER):
        yield slice(start, start + TOGETHER)


def _cell_of_pixel(shape: tuple[int, ...]) -> NDArray[np.int64]:
    height, width = (np.arange(side) * GRID // side for side in shape)
    return (height[:, None] * GRID + width[None, :]).astype(np.int64)
