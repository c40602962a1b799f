"""Images on their way to a network: the same batches from memory, from a GPU or from disk."""

import math
import warnings
from collections.abc import Iterable, Iterator
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from orchestrator.data.epoch_order import Deal
from orchestrator.data.store.arrays import ImagesOnDisk


class Images(Protocol):
    """The images of a split, held for one device."""

    device: torch.device
    row_bytes: int
    """Of one image."""

    def batches(
        self, order: NDArray[np.int64], size: int, deal: Deal | None = None
    ) -> Iterator[Tensor]:
        """Give the rows `order`, shape (m,), `size` at a time; of a deal, this worker's alone.

        Each batch is uint8 of shape (size, H, W, 3), or float16 features of shape (size, V, D), on
        `device`; the last may be smaller. All workers of a deal ask with the same order.
        """


def place_on_device(
    images: NDArray[np.uint8] | NDArray[np.float16] | ImagesOnDisk, device: torch.device
) -> Images:
    """Hold images, or features, for a device: in its memory if they fit, else where they are."""
    if not isinstance(images, np.ndarray):
        return _Streamed(images, device)
    tensor = as_tensor(images)
    if device.type == "cuda" and tensor.nbytes < _free(device) / 2:
        tensor = tensor.to(device)
    return _Resident(tensor, device)


def held_for(images: NDArray[np.uint8], device: torch.device) -> Images:
    """Hold images for a device where they are, as those that it will see once."""
    return _Resident(as_tensor(images), device)


def _free(device: torch.device) -> float:
    """Return the bytes of a GPU's memory that this process may still take."""
    torch.cuda.empty_cache()  # what an earlier trial of this process had would count as taken
    free, total = torch.cuda.mem_get_info(device)
    share = torch.cuda.get_per_process_memory_fraction(device) * total
    return min(free, share - torch.cuda.memory_allocated(device))


def as_tensor(array: NDArray[np.generic]) -> Tensor:
    """View an array as a tensor; it is only read, so read-only shared memory is fine."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


class _Resident:
    def __init__(self, images: Tensor, device: torch.device) -> None:
        self._images, self.device = images, device
        self.row_bytes = math.prod(images.shape[1:]) * images.element_size()

    def batches(
        self, order: NDArray[np.int64], size: int, deal: Deal | None = None
    ) -> Iterator[Tensor]:
        rows = torch.from_numpy(order if deal is None else order[deal.mine])
        rows = rows.to(self._images.device)
        drawn = (
            self._images.index_select(0, batch)
            for batch in (torch.split(rows, size) if len(rows) else ())
        )
        at_hand = self._images.device.type == self.device.type
        yield from drawn if at_hand else _sent(drawn, self.device)


class _Streamed:
    def __init__(self, images: ImagesOnDisk, device: torch.device) -> None:
        self._images, self.device = images, device
        self.row_bytes = math.prod(images.shape[1:])

    def batches(
        self, order: NDArray[np.int64], size: int, deal: Deal | None = None
    ) -> Iterator[Tensor]:
        windows = self._images.windows(order, deal)
        yield from _sent((as_tensor(batch) for batch in rebatch(windows, size)), self.device)


def _sent(batches: Iterator[Tensor], device: torch.device) -> Iterator[Tensor]:
    """Move batches to a device; to a GPU each while the one before it is used."""
    if device.type != "cuda":
        yield from batches
        return
    copying = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    before: tuple[Tensor, torch.cuda.Event] | None = None
    for batch in batches:
        with torch.cuda.stream(copying):
            # Pinned, since a copy from other memory waits for the GPU, and so does what follows.
            there = batch.pin_memory().to(device, non_blocking=True)
            arrived = copying.record_event()
        if before is not None:
            yield _awaited(*before)
        before = there, arrived
    if before is not None:
        yield _awaited(*before)


def _awaited(batch: Tensor, arrived: torch.cuda.Event) -> Tensor:
    """Have what is computed from now on wait until a batch has arrived."""
    using = torch.cuda.current_stream(batch.device)
    using.wait_event(arrived)
    batch.record_stream(using)  # else its memory might be given to the next copy too early
    return batch


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
