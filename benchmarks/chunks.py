"""What a chunk of rows takes: memory to prepare and to load it, and time to stream its shard.

    python benchmarks/chunks.py [--rows 2048 8738]

Faces of 80 pixels, each case in a process of its own. "Prepared" is what `prepare` holds at its
peak for a chunk that it writes to a disk, and to fsspec's memory in place of an object store, less
what that keeps; "loaded" what is held as the shard of train is read; "a block" the CPU time of one
of its blocks, read by itself as a stream does; "footer" that of the shard's, which comes with it.
"""

import argparse
import multiprocessing
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from orchestrator.base.files import Anywhere, parse_uri
from orchestrator.data.prepare.chunks import Job, write_chunk

SIZE, BLOCKS = 80, 200


def table(rows: int, image: str) -> pa.Table:
    split = np.random.default_rng(0).choice(3, rows, p=[0.6, 0.2, 0.2])
    return pa.table(
        {
            "filename": [f"{row:07}.jpg" for row in range(rows)],
            "path": [image] * rows,
            "label": np.zeros(rows, np.int8),
            "gender": np.ones(rows, np.int8),
            "identity": np.zeros(rows, np.int32),
            "rank": np.zeros(rows, np.int32),
            "split": split.astype(np.int8),
        }
    )


def at_peak() -> int:
    """Return the bytes that this process has held at most since `forget_peak`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def forget_peak() -> int:
    Path("/proc/self/clear_refs").write_text("5")
    return at_peak()


def write(work: Anywhere, rows: int, image: str) -> tuple[Anywhere, int, int]:
    """Write a chunk; return train's shard, the bytes held meanwhile and those of its shards."""
    for name in ("train", "val", "test", "state"):
        (work / name).mkdir(parents=True, exist_ok=True)
    job = Job(work, SIZE, "f" * 64)
    write_chunk(job, 1, table(8, image))  # imports what it needs
    listed, before = table(rows, image), forget_peak()
    shards = write_chunk(job, 0, listed).shards
    return work / shards["train"].file, at_peak() - before, sum(s.bytes for s in shards.values())


def stream(file: Path) -> tuple[float, float]:
    """Return the CPU seconds, the medians, of a block and of the footer that comes with it."""
    footers, blocks, rng = [], [], np.random.default_rng(0)
    for _ in range(BLOCKS):
        begun = time.process_time()
        parquet = pq.ParquetFile(str(file), memory_map=True, page_checksum_verification=True)
        footers.append(time.process_time() - begun)
        block = int(rng.integers(parquet.num_row_groups))
        parquet.read_row_groups([block], columns=["image"], use_threads=False)
        parquet.close(force=True)
        blocks.append(time.process_time() - begun)
    return statistics.median(blocks), statistics.median(footers)


def figures(rows: int) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        pixels = np.random.default_rng(0).integers(0, 256, (218, 178, 3), np.uint8)
        image = f"{folder}/face.jpg"
        Image.fromarray(pixels).save(image)
        _, remote, kept = write(parse_uri("memory://chunks"), rows, image)
        file, local, _ = write(Path(folder), rows, image)
        before = forget_peak()
        pq.ParquetFile(str(file), page_checksum_verification=True).read(use_threads=False)
        loaded = at_peak() - before
        block, footer = stream(Path(str(file)))
        size = int.from_bytes(Path(str(file)).read_bytes()[-8:-4], "little")
    sizes = (rows * SIZE**2 * 3, local, remote - kept, loaded)
    return [
        *(f"{size / 2**20:.0f}" for size in sizes), f"{size / 2**10:.0f}",
        f"{block * 1e3:.2f}", f"{footer * 1e3:.2f}",
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[2048, 8738])
    arguments = parser.parse_args()
    print("| rows | pixels, MiB | prepared, MiB | to a store | loaded, MiB | footer, KiB "
          "| a block, ms | footer, ms |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|")
    for rows in arguments.rows:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            cells = " | ".join(pool.apply(figures, (rows,)))
            print(f"| {rows:,} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
