"""How fast `prepare` is, against a bare pool of processes, and how much memory it takes.

    python benchmarks/prepare.py [MANIFEST] [--faces 20000] [--rounds 3] [--cpus N]
    python benchmarks/prepare.py [MANIFEST] --memory 10000 50000 192576

Without a MANIFEST, synthetic faces are drawn into `data/` once, and kept.

The first command lets the two take turns. The pool reads and decodes the same files, with the same
`decode`, in the same chunks and on as many processes, and throws the pixels away; `prepare` also
writes its shards. Both are timed at steady state: from when as many chunks are done as there are
processes, so that all of those have started, until the last chunk is done. The whole time, with
every start, is printed beside it.

The second runs `prepare` for each number of faces in a process of its own, twice: to time it, and
to sample the proportional set size (PSS) of that process and all below it, Ray's own among them.
"""

import argparse
import itertools
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from orchestrator.base.machine import COMPUTING
from orchestrator.data.prepare.chunks import chunk_rows
from orchestrator.data.prepare.prepare import Options, prepare
from orchestrator.data.reading.decode import decode_into
from orchestrator.data.reading.image_bytes import read_many
from orchestrator.data.sources.registry import open_source
from orchestrator.distributed.ray_session import session

DATA = Path("data")
SIZE = 80
SAMPLE_SECONDS = 0.2
SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Timing:
    """How long one run took."""

    steady: float
    """Images/s once every process is at work."""
    seconds: float
    """In all, with every start."""


def timed(begun: float, marks: list[tuple[float, int]], cpus: int) -> Timing:
    """Sum a run up from the time and the images done at the end of each chunk."""
    if len(marks) < 2 * cpus:
        raise SystemExit(f"{len(marks)} chunks are too few for {cpus} CPUs; give more faces")
    (start, before), (end, total) = marks[cpus - 1], marks[-1]
    return Timing((total - before) / (end - start), time.perf_counter() - begun)


def run_prepare(manifest: Path, images: Path, cpus: int, begun: float) -> Timing:
    """Prepare a manifest in this process; `begun` is when it was asked for."""
    marks: list[tuple[float, int]] = []

    def on_progress(done: int, _total: int) -> None:
        if done:
            marks.append((time.perf_counter(), done))

    DATA.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=DATA) as out, session(num_cpus=cpus):
        source = open_source(str(manifest), images=str(images))
        prepare(source, Path(out) / "prepared", Options(image_size=SIZE), on_progress)
        return timed(begun, marks, cpus)


@contextmanager
def preparing(manifest: Path, images: Path, cpus: int) -> Iterator[Future[Timing]]:
    """Run `run_prepare` in a fresh process."""
    with ProcessPoolExecutor(1, SPAWN) as fresh:
        yield fresh.submit(run_prepare, manifest, images, cpus, time.perf_counter())


def decode_chunk(paths: list[str]) -> int:
    """Read and decode some files to memory; return how many."""
    images = np.zeros((len(paths), SIZE, SIZE, 3), np.uint8)
    for image, data in zip(images, read_many(paths), strict=True):
        reason = decode_into(image, data)
        if reason is not None:
            raise ValueError(reason)
    return len(images)


def run_pool(paths: list[str], cpus: int) -> Timing:
    """Decode all files in a bare pool of processes."""
    size = chunk_rows(len(paths), SIZE)
    chunks = [paths[start : start + size] for start in range(0, len(paths), size)]
    begun, done, marks = time.perf_counter(), 0, []
    with SPAWN.Pool(cpus) as pool:
        for count in pool.imap_unordered(decode_chunk, chunks):
            done += count
            marks.append((time.perf_counter(), done))
        return timed(begun, marks, cpus)


def compare(manifest: Path, cpus: int, rounds: int) -> None:
    """Let `prepare` and the pool take turns, and print each round and the medians."""
    paths = open_source(str(manifest)).table["path"].tolist()
    for _ in read_many(paths):  # both find the files in the page cache
        pass
    print(f"{len(paths)} faces to {SIZE}x{SIZE}, {cpus} processes; images/s at steady state\n")
    print("| round | prepare | pool | ratio | prepare, whole | pool, whole |")
    print("|---|---|---|---|---|---|")
    ratios = []
    for turn in range(1, rounds + 1):
        pool = run_pool(paths, cpus)
        with preparing(manifest, manifest.parent, cpus) as future:
            ours = future.result()
        ratios.append(ours.steady / pool.steady)
        print(
            f"| {turn} | {ours.steady:,.0f} | {pool.steady:,.0f} | {ratios[-1]:.2f} | "
            f"{ours.seconds:.1f} s | {pool.seconds:.1f} s |",
            flush=True,
        )
    print(f"\nratio, median of {rounds}: {statistics.median(ratios):.2f}")


def set_size(process: psutil.Process) -> int:
    """Return a process's own memory and its share of what it shares, in bytes."""
    memory = process.memory_full_info()
    return int(getattr(memory, "pss", memory.uss))  # only Linux knows the shares


def store_size(process: psutil.Process) -> int:
    """Return the size that Ray's object store is given, or 0 if this is not its process."""
    option = "--object_store_memory="
    sizes = [arg.removeprefix(option) for arg in process.cmdline() if arg.startswith(option)]
    return int(sizes[0]) if sizes else 0


def over_all(measure: Callable[[psutil.Process], int]) -> int:
    """Sum a measure over all processes below this one."""
    total = 0
    for process in psutil.Process().children(recursive=True):
        try:
            total += measure(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue  # it has just ended
    return total


@contextmanager
def first_rows(manifest: Path, faces: int) -> Iterator[Path]:
    """Give a manifest of the first so many faces of another."""
    with tempfile.TemporaryDirectory() as folder, manifest.open() as rows:
        path = Path(folder) / "manifest.csv"
        path.write_text("".join(itertools.islice(rows, faces + 1)))
        yield path


def sample(running: Future[Timing]) -> tuple[int, int]:
    """Return the peak memory of the processes below this one, and the object store's size."""
    peak = store = 0
    while not running.done():
        peak = max(peak, over_all(set_size))
        store = max(store, over_all(store_size))
        time.sleep(SAMPLE_SECONDS)
    running.result()
    return peak, store


def measure_memory(manifest: Path, cpus: int, sizes: list[int]) -> None:
    """Print the time and the peak of the memory that each number of faces takes."""
    print(f"{cpus} processes, {SIZE}x{SIZE}\n")
    print("| faces | whole time | images/s at steady state | peak memory | object store's size |")
    print("|---|---|---|---|---|")
    for faces in sizes:
        with first_rows(manifest, faces) as rows:
            with preparing(rows, manifest.parent, cpus) as running:
                timing = running.result()
            with preparing(rows, manifest.parent, cpus) as running:
                peak, store = sample(running)
        print(
            f"| {faces:,} | {timing.seconds:.1f} s | {timing.steady:,.0f} | "
            f"{peak / 2**20:,.0f} MiB | {store / 2**20:,.0f} MiB |",
            flush=True,
        )


def draw_once(faces: int, cpus: int) -> Path:
    """Return a data set of synthetic faces, drawn into `data/` unless it is there already."""
    folder = DATA / f"benchmark-{faces}"
    if not folder.exists():
        with session(num_cpus=cpus):
            prepare(open_source(f"synthetic:{faces}"), folder, Options(image_size=SIZE))
    return folder


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("manifest", type=Path, nargs="?")
    parser.add_argument("--faces", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cpus", type=int, default=os.cpu_count())
    parser.add_argument("--memory", type=int, nargs="+", metavar="N")
    arguments = parser.parse_args()
    os.environ.update(COMPUTING)  # for the pool too, as Ray's workers have it
    most = max(arguments.memory or [arguments.faces])
    manifest = arguments.manifest
    if manifest is None:
        manifest = draw_once(most, arguments.cpus) / "faces" / "manifest.csv"
    if arguments.memory:
        measure_memory(manifest, arguments.cpus, arguments.memory)
    else:
        compare(manifest, arguments.cpus, arguments.rounds)


if __name__ == "__main__":
    main()
