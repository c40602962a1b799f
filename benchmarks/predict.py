"""`fairfront predict` from files, against the least that labelling them could take.

    python benchmarks/predict.py RUN FOLDER [--rows 10000 100000] [--rounds 3]

FOLDER has images, which tables name again and again. The floor is a pool of processes that decodes
them all and does nothing else, and a loop that runs the network on pixels in memory, with all
cores: on CPUs, which the two share, the sum of both times; with a GPU the longer one. Steady state
is the difference of two sizes, so that it is without the start. Memory is that of all processes,
what they share counted once (PSS), at its highest.

Each round measures the floor and both sizes after one another, since other programs come and go.
Where these leave no core alone, "CPU" is the ratio to trust: the seconds of a core that the floor's
two loops take for an image, over those that `predict` takes.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil
import torch

from orchestrator.base.machine import COMPUTING, cores
from orchestrator.data.reading.decode import decode
from orchestrator.data.reading.image_bytes import read_many
from orchestrator.run.directory import Run
from orchestrator.training.images import held_for
from orchestrator.training.inference import pick_device, predict_logits, uses_bf16
from orchestrator.training.model_file import load_model

SECONDS = 5.0
"""A measurement of the floor."""
LOOK = 0.2
"""Seconds between looks at the memory."""


def decode_all(size: int, paths: list[str], together: Any, told: Any) -> None:
    """Decode for `SECONDS`, all processes at the same time; tell how many images a second."""
    torch.set_num_threads(1)
    decode(next(iter(read_many(paths))), size)
    together.wait()
    done, started, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() < started + SECONDS:
        for data in read_many(paths[done % len(paths) :][:64]):
            decode(data, size)
            done += 1
    cpu = time.process_time() - cpu
    told.put((done / (time.perf_counter() - started), cpu / done))


def floor(model: Path, paths: list[str]) -> tuple[float, float, float, float]:
    """Return images/s of the decoders, of the network, and of both as far as they share cores.

    The last is the seconds of a core that an image takes.
    """
    trained, device = load_model(model), pick_device()
    context = get_context("spawn")
    together, told = context.Barrier(cores()), context.Queue()
    parts = [paths[at :: cores()] for at in range(cores())]
    given = [(trained.image_size, part, together, told) for part in parts]
    processes = [context.Process(target=decode_all, args=those) for those in given]
    for process in processes:
        process.start()
    rates = [told.get() for _ in processes]
    decoded, cpu = sum(rate for rate, _ in rates), median(of for _, of in rates)
    for process in processes:
        process.join()
    batch = [decode(data, trained.image_size) for data in read_many(paths[:1024])]
    images = held_for(np.stack(batch), device)
    network, autocast = trained.network.to(device), uses_bf16(trained.precision, device)
    predict_logits(network, images, len(batch), autocast)
    seen, started, busy = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() < started + SECONDS:
        predict_logits(network, images, len(batch), autocast)
        seen += len(batch)
    inferred = seen / (time.perf_counter() - started)
    cpu += (time.process_time() - busy) / seen
    shared = 1 / (1 / decoded + 1 / inferred) if device.type == "cpu" else min(decoded, inferred)
    return decoded, inferred, shared, cpu


def watched(process: "subprocess.Popen[Any]") -> tuple[float, float]:
    """Wait for a command; return the most GiB of it and all that it started, and their CPU time."""
    most, command = 0.0, psutil.Process(process.pid)
    seconds: dict[int, float] = {}
    while process.poll() is None:
        try:
            family = [command, *command.children(recursive=True)]
            most = max(most, sum(one.memory_full_info().pss for one in family))
            seconds |= {one.pid: sum(one.cpu_times()[:2]) for one in family}
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            pass
        time.sleep(LOOK)
    if process.returncode:
        raise SystemExit(f"predict ended with {process.returncode}")
    return most / 2**30, sum(seconds.values())


def label(run: str, folder: str, table: Path) -> tuple[float, float, float]:
    """Run the command; return the seconds that it took, its peak in GiB and its CPU time."""
    out = table.with_suffix(".labels.csv")
    words = ["--run", run, "--table", str(table), "--images", folder, "--out", str(out), "-q"]
    started = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "predict", *words], stdout=subprocess.DEVNULL
    ) as process:
        memory, cpu = watched(process)
    took = time.perf_counter() - started
    out.unlink()
    return took, memory, cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("folder")
    parser.add_argument("--rows", type=int, nargs=2, default=[10_000, 100_000])
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    names = sorted(path.name for path in Path(given.folder).iterdir())
    paths = [str(Path(given.folder, name)) for name in names]
    model = Path(Run.open(given.run).complete()[0].path) / "model.safetensors"
    few, many = given.rows
    heads = "round | decoders | network | floor | rows | s | GiB | rows | s | GiB | steady"
    print(f"| {heads} | of floor | CPU | start, s |\n" + "|---" * 14 + "|")
    ratios, by_cpu = [], []
    with tempfile.TemporaryDirectory() as work:
        for rows in given.rows:
            listed = (names * -(-rows // len(names)))[:rows]
            (Path(work) / f"{rows}.csv").write_text("\n".join(["filename", *listed]) + "\n")
        for number in range(1, given.rounds + 1):
            decoded, inferred, least, cpu = floor(model, paths)
            (short, small, before), (long, large, after) = (
                label(given.run, given.folder, Path(work) / f"{rows}.csv") for rows in given.rows
            )
            steady = (many - few) / (long - short)
            ratios.append(steady / least)
            by_cpu.append(cpu * (many - few) / (after - before))
            print(
                f"| {number} | {decoded:,.0f} | {inferred:,.0f} | {least:,.0f} | {few:,} | "
                f"{short:.1f} | {small:.2f} | {many:,} | {long:.1f} | {large:.2f} | "
                f"{steady:,.0f} | {ratios[-1]:.2f} | {by_cpu[-1]:.2f} | "
                f"{short - few / steady:.1f} |",
                flush=True,
            )
    print(f"\nOf the floor, median: {median(ratios):.2f}; by CPU time {median(by_cpu):.2f}")


if __name__ == "__main__":
    if not os.environ.keys() >= COMPUTING.keys():  # glibc reads them as a process starts
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **COMPUTING})
    main()
