"""Bytes that a streamed epoch reads from disk, by the number of workers that share it.

    python benchmarks/streamed_bytes.py [DATA] [--faces 20000] [--workers 1 2 4 8]

An epoch is what the train split gives under the balance policy `undersample`, in batches of 256,
and then the validation split, each row evaluated once. The workers are threads of this process,
which ask as a training's do; Ray's tasks read, and every block that one reads is noted. "Each its
own" is a worker that reads the blocks of its own rows, as all did at first. Without DATA synthetic
faces are prepared.
"""

import argparse
import functools
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from orchestrator.cli import main as fairfront
from orchestrator.config.settings import BalanceConfig
from orchestrator.data.balance import draw_rows
from orchestrator.data.epoch_order import Deal, deal, epoch_order
from orchestrator.data.store.store import Store
from orchestrator.data.store.streaming import Reader, StreamedImages, stream
from orchestrator.distributed.ray_session import session
from orchestrator.distributed.stream_windows import Dealer, read_on_ray, read_together

BATCH = 256


def noting(store: Store, noted: Path) -> Store:
    """Open a store that notes the bytes of pixels that are read, whoever reads them."""

    class Noting(Store):  # in a function, for Ray's processes to get the class by value
        def read_blocks(self, file: str, blocks: Sequence[int]) -> np.ndarray:
            read = Store.read_blocks(self, file, blocks)
            with noted.open("a") as notes:
                notes.write(f"{read.nbytes}\n")
            return read

    return Noting(store.path, store.meta)


def train_epoch(store: Store, reader: Reader, workers: int) -> None:
    """Have so many workers read their shares of an epoch, side by side."""
    train = stream(store, "train", reader)
    policy = BalanceConfig(policy="undersample")
    drawn = draw_rows(policy, train.gender, train.label, train.rank)
    order = epoch_order(drawn, train.block, np.random.default_rng(0))

    def read(rank: int) -> int:
        dealt: Deal | None = deal(0, len(order), BATCH, rank, workers) if workers > 1 else None
        return read_all(train.images, order, dealt)

    with ThreadPoolExecutor(workers) as pool:
        assert sum(pool.map(read, range(workers))) == len(order)


def validate(store: Store, share: Callable[[int, int, int], np.ndarray], workers: int) -> None:
    val = stream(store, "val", read_on_ray)
    parts = [share(len(val), rank, workers) for rank in range(workers)]
    with ThreadPoolExecutor(workers) as pool:
        read = pool.map(lambda part: read_all(val.images, part, None), parts)
        assert sum(read) == len(val)


def read_all(images: StreamedImages, order: np.ndarray, dealt: Deal | None) -> int:
    return sum(len(window) for window in images.windows(order, dealt))


def in_turns(rows: int, rank: int, workers: int) -> np.ndarray:
    return np.arange(rank, rows, workers)


def neighbours(rows: int, rank: int, workers: int) -> np.ndarray:
    return np.arange(rows * rank // workers, rows * (rank + 1) // workers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?")
    parser.add_argument("--faces", type=int, default=20_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4, 8])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, session():
        data = arguments.data or f"{folder}/data"
        if not arguments.data:
            fairfront(["prepare", f"synthetic:{arguments.faces}", "--out", data, "--quiet"])
        noted = Path(folder, "noted")
        store = noting(Store.open(data), noted)
        size = sum(sum(store.meta.strata(split).values()) for split in ("train", "val"))
        size *= store.meta.image_size**2 * 3
        print(f"train and val: {size / 1e6:,.0f} MB of pixels\n")
        print("| workers | each its own, MB | of the data | together, MB | of the data |")
        print("|---|---|---|---|---|")
        for workers in arguments.workers:
            cells = []
            together = functools.partial(read_together, Dealer.remote())
            for reader, share in ((read_on_ray, in_turns), (together, neighbours)):
                noted.write_text("")
                train_epoch(store, reader, workers)
                validate(store, share, workers)
                read = sum(map(int, noted.read_text().split()))
                cells.append(f"{read / 1e6:,.0f} | {read / size:.2f}")
            print(f"| {workers} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
