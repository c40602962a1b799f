"""What a row costs where it is no pixels: bytes of a split's columns, and time to draw an epoch.

    python benchmarks/rows.py [--rows 1000000 4000000]

Rows as CelebA's, with file names of ten letters, in blocks of 54. "Shared" is what the columns take
in the object store, once a node; "in a process" what they take once more in each process that has
fetched them, where names are objects of Python's; "fetched" the time that this takes. An epoch is
drawn by every worker: who is in it, in which order, dealt to whom, in which windows.
"""

import argparse
import pickle
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np

from orchestrator.config.settings import BalanceConfig
from orchestrator.data.balance import draw_rows
from orchestrator.data.epoch_order import deal, epoch_order
from orchestrator.data.store.arrays import Arrays
from orchestrator.data.store.streaming import window_bounds

UNDERSAMPLE = BalanceConfig(policy="undersample")


def columns(rows: int) -> Arrays:
    """Make a split but for its pixels."""
    rng = np.random.default_rng(0)
    gender = np.where(rng.random(rows) < 0.59, -1, 1).astype(np.int8)
    label = (rng.random(rows) < 0.19).astype(np.int8)
    rank = np.zeros(rows, np.int32)
    for stratum in range(4):
        mine = np.flatnonzero((gender > 0) * 2 + label == stratum)
        rank[mine] = rng.permutation(len(mine))
    return Arrays(
        images=np.empty((rows, 0, 0, 3), np.uint8),
        label=label,
        gender=gender,
        rank=rank,
        filename=np.array([f"{row:06}.jpg" for row in range(rows)], object),
        identity=np.zeros(rows, np.int32),
        block=np.arange(rows, dtype=np.int32) // 54,
    )


def draw(arrays: Arrays) -> int:
    """Do what a worker does before an epoch; return the number of windows."""
    rng = np.random.default_rng(0)
    drawn = draw_rows(UNDERSAMPLE, arrays.gender, arrays.label, arrays.rank)
    order = epoch_order(drawn, arrays.block, rng)
    deal(0, len(order), 256, 0, 8)
    return len(window_bounds(arrays.block[order]))


def measured(do: Callable[[], Any]) -> tuple[Any, float, float, float]:
    """Return what something gives, the bytes that it leaves, those at its peak, its CPU seconds."""
    begun = time.process_time()
    do()  # untraced, since tracing takes time
    seconds = time.process_time() - begun
    tracemalloc.start()
    result = do()
    left, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return result, left, peak, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 4_000_000])
    arguments = parser.parse_args()
    print("| rows | shared, bytes a row | in a process | fetched, us a row "
          "| epoch drawn, us a row | at its peak, bytes a row |")  # fmt: skip
    print("|---|---|---|---|---|---|")
    for rows in arguments.rows:
        print(f"| {rows:,} | {' | '.join(figures(columns(rows)))} |", flush=True)


def figures(arrays: Arrays) -> list[str]:
    """Return the table's cells, each divided by the rows."""
    buffers: list[pickle.PickleBuffer] = []
    packed = pickle.dumps(arrays, protocol=5, buffer_callback=buffers.append)
    shared = len(packed) + sum(buffer.raw().nbytes for buffer in buffers)
    _, left, _, fetched = measured(lambda: pickle.loads(packed, buffers=buffers))
    _, _, peak, drawn = measured(lambda: draw(arrays))
    rows = len(arrays)
    return [
        f"{shared / rows:.0f}",
        f"{left / rows:.0f}",
        f"{fetched / rows * 1e6:.2f}",
        f"{drawn / rows * 1e6:.2f}",
        f"{peak / rows:.0f}",
    ]


if __name__ == "__main__":
    main()
