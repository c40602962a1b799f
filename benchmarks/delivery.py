"""Images a second that reach the training loop, from this project and from torch's loaders.

    python benchmarks/delivery.py [DATA --images FOLDER] [--faces 20000] [--rounds 5]

DATA is a prepared data set and FOLDER holds its images; without them, synthetic faces are drawn
into `data/` once, and kept. Each way gives the train split's epoch under the balance policy
`undersample`, shuffled, in batches of uint8 on the device. The ways take turns, after an epoch
each to warm up, and torch has one thread; the medians of the rounds are printed. Files are in the
page cache.
"""

import argparse
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from prepare import SIZE, draw_once
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, SubsetRandomSampler, TensorDataset
from torchvision.datasets.folder import default_loader
from torchvision.transforms import Compose, PILToTensor, Resize

from orchestrator.config.settings import BalanceConfig
from orchestrator.data.balance import draw_rows
from orchestrator.data.epoch_order import epoch_order
from orchestrator.data.store.arrays import Arrays
from orchestrator.data.store.store import Store
from orchestrator.data.store.streaming import stream
from orchestrator.distributed.ray_session import session
from orchestrator.distributed.stream_windows import read_on_ray
from orchestrator.training.images import place_on_device
from orchestrator.training.inference import pick_device

BATCH, WORKERS = 128, 2
MEMORY, FILES = "DataLoader, TensorDataset in memory", "DataLoader, JPEG files as ImageFolder"
UNDERSAMPLE = BalanceConfig(policy="undersample")
Way = Callable[[int], Iterable[Tensor]]
"""Takes the number of an epoch and gives its batches, on the device."""


class ImageFiles(Dataset[Tensor]):
    """Image files, decoded and resized as torchvision's `ImageFolder` does."""

    def __init__(self, paths: list[str]) -> None:
        self.paths = paths
        self.transform = Compose([Resize((SIZE, SIZE)), PILToTensor()])

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> Tensor:
        return self.transform(default_loader(self.paths[row]))


def drawn(arrays: Arrays, epoch: int = 0) -> np.ndarray:
    return draw_rows(UNDERSAMPLE, arrays.gender, arrays.label, arrays.rank, epoch=epoch)


def ours(arrays: Arrays, device: torch.device) -> Way:
    """Deliver as the training loop does, from wherever the images of `arrays` are."""
    images = place_on_device(arrays.images, device)

    def batches(epoch: int) -> Iterator[Tensor]:
        order = epoch_order(drawn(arrays, epoch), arrays.block, np.random.default_rng(epoch))
        yield from images.batches(order, BATCH)

    return batches


def loader(dataset: Dataset, arrays: Arrays, device: torch.device, workers: int) -> Way:
    """Deliver with torch's loader, sample by sample."""
    batches = DataLoader(
        dataset,
        BATCH,
        sampler=SubsetRandomSampler(drawn(arrays).tolist()),
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=device.type == "cuda",
    )
    return lambda _epoch: (_to(batch, device) for batch in batches)


def _to(batch: Tensor | list[Tensor], device: torch.device) -> Tensor:
    images = batch if isinstance(batch, Tensor) else batch[0]
    return images.to(device, non_blocking=True)


def images_per_second(batches: Iterable[Tensor], device: torch.device) -> float:
    begun = time.perf_counter()
    images = sum(len(batch) for batch in batches)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return images / (time.perf_counter() - begun)


def torch_ways(arrays: Arrays, paths: list[str], device: torch.device) -> dict[str, Way]:
    pixels = TensorDataset(torch.from_numpy(arrays.images))
    files = ImageFiles(paths)
    return {
        f"{MEMORY}, no workers": loader(pixels, arrays, device, 0),
        f"{MEMORY}, {WORKERS} workers": loader(pixels, arrays, device, WORKERS),
        f"{FILES}, {WORKERS} workers": loader(files, arrays, device, WORKERS),
    }


def print_table(rates: dict[str, list[float]]) -> None:
    """Print the medians, also as multiples of the best of torch's loaders of either kind."""
    medians = {name: float(np.median(rounds)) for name, rounds in rates.items()}
    memory, files = (
        max(rate for name, rate in medians.items() if name.startswith(kind))
        for kind in (MEMORY, FILES)
    )
    print("| way | images/s | over TensorDataset | over ImageFolder |")
    print("|---|---|---|---|")
    for name, rate in medians.items():
        print(f"| {name} | {rate:,.0f} | {rate / memory:.2f} | {rate / files:.1f} |")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--images", type=Path)
    parser.add_argument("--faces", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    data = arguments.data or draw_once(arguments.faces, os.cpu_count() or 1)
    images = arguments.images or data / "faces"
    torch.set_num_threads(1)  # as in a trial on a CPU, of which there is one a core
    device, store = pick_device(), Store.open(data)
    arrays = store.load("train")
    paths = [str(images / name) for name in arrays.filename.to_pylist()]
    rivals = torch_ways(arrays, paths, device)
    for way in rivals.values():  # forks their workers, before Ray starts its threads
        images_per_second(way(0), device)
    with session():
        ways = {
            "resident": ours(arrays, device),
            "stream": ours(stream(store, "train", read_on_ray), device),
            **rivals,
        }
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(arguments.rounds + 1):
            for name, way in ways.items():
                rate = images_per_second(way(turn), device)
                if turn:  # the first warms up
                    rates[name].append(rate)
    print(
        f"{len(drawn(arrays)):,} of {len(arrays):,} faces an epoch, batches of {BATCH}, {device}\n"
    )
    print_table(rates)


if __name__ == "__main__":
    main()
