"""Images on their way to a network: the same batches from memory, from a GPU or from disk."""

import warnings
from collections.abc import Iterable, Iterator
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from orchestrator.data.store.arrays import ImagesOnDisk


class Images(Protocol):
    """The images of a split, held for one device."""

    device: torch.device

    def batches(self, order: NDArray[np.int64], size: int) -> Iterator[Tensor]:
        """Give the rows `order`, shape (m,), `size` at a time.

        Each batch is uint8 of shape (size, H, W, 3), or float16 features of shape (size, V, D), on
        `device`; the last may be smaller.
        """


def place_on_device(
    images: NDArray[np.uint8] | NDArray[np.float16] | ImagesOnDisk, device: torch.device
) -> Images:
    """Hold images, or features, for a device: in its memory if they fit, else where they are."""
    if not isinstance(images, np.ndarray):
        return _Streamed(images, device)
    tensor = as_tensor(images)
    if device.type == "cuda":
        torch.cuda.empty_cache()  # what an earlier trial of this process had would count as taken
        if tensor.nbytes < torch.cuda.mem_get_info(device)[0] / 2:
            tensor = tensor.to(device)
    return _Resident(tensor, device)


def as_tensor(array: NDArray[np.generic]) -> Tensor:
    """View an array as a tensor; it is only read, so read-only shared memory is fine."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


class _Resident:
    def __init__(self, images: Tensor, device: torch.device) -> None:
        self._images, self.device = images, device

    def batches(self, order: NDArray[np.int64], size: int) -> Iterator[Tensor]:
        rows = torch.from_numpy(order).to(self._images.device)
        for batch in torch.split(rows, size) if len(rows) else ():
            yield self._images.index_select(0, batch).to(self.device)


class _Streamed:
    def __init__(self, images: ImagesOnDisk, device: torch.device) -> None:
        self._images, self.device = images, device

    def batches(self, order: NDArray[np.int64], size: int) -> Iterator[Tensor]:
        for batch in rebatch(self._images.windows(order), size):
            yield as_tensor(batch).to(self.device)


def rebatch(windows: Iterable[NDArray[np.uint8]], size: int) -> Iterator[NDArray[np.uint8]]:
    """Cut windows of rows into batches of `size`; only those that span two windows are copied."""
    left: NDArray[np.uint8] | None = None
    for window in windows:
        start = 0
        if left is not None:
            start = size - len(left)
            left = np.concatenate([left, window[:start]])
            if len(left) < size:
                continue
            yield left
        whole = start + (len(window) - start) // size * size
        for at in range(start, whole, size):
            yield window[at : at + size]
        left = window[whole:] if whole < len(window) else None
    if left is not None:
        yield left
