"""What a row costs where it is no pixels: bytes of a split's columns, and time to draw an epoch.

    python benchmarks/rows.py [--rows 1000000 10000000]

Rows as CelebA's, with file names of ten letters, in blocks of 54. "Shared" is what the columns take
in the object store, once a node; "in a process" what each process has of its own (the kernel's
"Anonymous") once it has fetched them; "fetched" the CPU time that this takes. An epoch is drawn by
every worker: who is in it, in which order, dealt to whom, in which windows. Names are strings of
Python's, as at first, and Arrow's, as they are now.
"""

import argparse
import pickle
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import ray

from orchestrator.config.settings import BalanceConfig
from orchestrator.data.balance import draw_rows
from orchestrator.data.epoch_order import deal, epoch_order
from orchestrator.data.store.arrays import Arrays
from orchestrator.data.store.streaming import window_bounds
from orchestrator.distributed.ray_session import session

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
        filename=pa.array((f"{row:06}.jpg" for row in range(rows)), pa.large_string()),
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


def drawing(arrays: Arrays) -> tuple[float, int]:
    """Return the CPU seconds and the bytes, at their peak, of drawing an epoch."""
    begun = time.process_time()
    draw(arrays)  # untraced, since tracing takes time
    seconds = time.process_time() - begun
    tracemalloc.start()
    draw(arrays)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return seconds, peak


def own_bytes() -> int:
    """Return the bytes of this process that are no file's, and no shared memory."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    (kilobytes,) = (line.split()[1] for line in lines if line.startswith("Anonymous:"))
    return 1024 * int(kilobytes)


@ray.remote(max_calls=1)
def fetch(
    warm: "list[ray.ObjectRef[Arrays]]", references: "list[ray.ObjectRef[Arrays]]"
) -> tuple[float, int]:
    """Return the CPU seconds and the bytes of having columns that are in the object store."""
    ray.get(warm[0])  # imports what they are
    before, begun = own_bytes(), time.process_time()
    arrays = ray.get(references[0])
    seconds, left = time.process_time() - begun, own_bytes() - before
    assert len(arrays.filename) == len(arrays)
    return seconds, left


def shared_bytes(arrays: Arrays) -> int:
    buffers: list[pickle.PickleBuffer] = []
    packed = pickle.dumps(arrays, protocol=5, buffer_callback=buffers.append)
    return len(packed) + sum(buffer.raw().nbytes for buffer in buffers)


def figures(arrays: Arrays) -> list[str]:
    """Return the table's cells, each divided by the rows."""
    seconds, left = ray.get(fetch.remote([ray.put(columns(1))], [ray.put(arrays)]))
    drawn, peak = drawing(arrays)
    rows = len(arrays)
    return [
        f"{shared_bytes(arrays) / rows:.0f}",
        f"{left / rows:.1f}",
        f"{seconds / rows * 1e6:.3f}",
        f"{drawn / rows * 1e6:.2f}",
        f"{peak / rows:.0f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    arguments = parser.parse_args()
    with session():
        print("| rows | names | shared, bytes a row | in a process | fetched, us a row "
              "| epoch drawn, us a row | at its peak, bytes a row |")  # fmt: skip
        print("|---|---|---|---|---|---|---|")
        for rows in arguments.rows:
            arrow = columns(rows)
            python = replace(arrow, filename=arrow.filename.to_numpy(zero_copy_only=False))
            for names, arrays in (("Python's", python), ("Arrow's", arrow)):
                print(f"| {rows:,} | {names} | {' | '.join(figures(arrays))} |", flush=True)


if __name__ == "__main__":
    main()
