"""What fairfront does on a GPU, in one table; for a machine that is at hand for minutes.

    python benchmarks/gpu.py [--only cnn lockstep ...] [--small] [--minutes 8]

Needs no network and draws its own data: random pixels where only speed counts, synthetic faces
where a network is to learn. Each part begins when the minutes that are left allow, and prints its
lines as it ends, so that a run that is cut off has told what it knew. ``--small`` is the rehearsal
on a CPU: the same parts on next to nothing.

Floors are computed here. By arithmetic: the network's operations, as `torch.utils.flop_counter`
counts them forward and backward, at the speed of a large bf16 matrix product on the same card. By
memory: what each operation of a step reads and writes, added up, at the speed of a large copy.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lockstep import images_per_second as lockstep_rate
from lockstep import synchronise
from overhead import wall_and_training
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten
from training import SIDE, measured_peak, pixels

import models
from models import triton_kernels
from orchestrator.base.machine import cores
from orchestrator.config.layers import resolve
from orchestrator.config.settings import Config
from orchestrator.data.store.arrays import Arrays
from orchestrator.run.directory import Run
from orchestrator.training import loop
from orchestrator.training.images import held_for
from orchestrator.training.inference import pick_device, predict_logits, uses_bf16
from orchestrator.training.loop import Training

TRAIN, VAL = 95_306, 38_516
"""Faces of the published recipe's splits, after under-sampling."""
KERAS_EPOCH = 428.0
"""Seconds of the published run's one epoch."""

DEVICE = pick_device()
SMALL = False
OUT = Path(os.environ.get("OUT") or tempfile.mkdtemp())


def scaled(number: int, small: int) -> int:
    return small if SMALL else number


# -- the card --


def card() -> Iterator[str]:
    name = torch.cuda.get_device_name() if DEVICE.type == "cuda" else "CPU"
    FLOOR.update(peak=measured_peak(DEVICE, 1.0), copy=copy_speed())
    yield (
        f"{name}, torch {torch.__version__}, {cores()} cores; bf16 product "
        f"{FLOOR['peak'] / 1e12:.0f} TFLOP/s, copy {FLOOR['copy'] / 1e12:.2f} TB/s"
    )


FLOOR: dict[str, float] = {}


def copy_speed() -> float:
    """Return the bytes a second, read and written, of a large copy."""
    source = torch.empty(scaled(2**31, 2**26), dtype=torch.uint8, device=DEVICE)
    target, best = torch.empty_like(source), 0.0
    for _ in range(5):
        synchronise(DEVICE)
        start = time.perf_counter()
        target.copy_(source)
        synchronise(DEVICE)
        best = max(best, 2 * source.nbytes / (time.perf_counter() - start))
    return best


class Traffic(TorchDispatchMode):
    """Counts the bytes that operations read and write, and their floating-point operations."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if not func.is_view and not str(func).startswith(("aten.detach", "aten.empty")):
            self.count(args, kwargs, made)
        return made

    def count(self, *seen: Any) -> None:
        self.bytes += sum(t.nbytes for t in tree_flatten(seen)[0] if isinstance(t, Tensor))

    @contextmanager
    def counting_ours(self) -> Iterator[None]:
        """Count our own kernels as well, which are no operations of torch's."""
        before = triton_kernels.forward, triton_kernels.backward

        def counted(kernel: Any) -> Any:
            def call(*args: Any) -> Any:
                made = kernel(*args)
                self.count(args, made)
                return made

            return call

        triton_kernels.forward, triton_kernels.backward = map(counted, before)
        try:
            yield
        finally:
            triton_kernels.forward, triton_kernels.backward = before


def floors(config: Config, side: int, rows: int) -> tuple[float, float]:
    """Return the seconds an image by arithmetic and by memory, of a step of so many rows."""
    from torch.utils.flop_counter import FlopCounterMode

    training = Training(config, network(config, side), *_both(rows, rows, side), DEVICE)
    drawn = next(iter(training._batches.epoch(0)))
    operations, traffic = FlopCounterMode(display=False), Traffic()
    training._optimiser.before_step()
    with operations:
        training._step(drawn)
    training._optimiser.before_step()
    with traffic, traffic.counting_ours():
        training._step(drawn)
    by_arithmetic = operations.get_total_flops() / rows / FLOOR["peak"]
    return by_arithmetic, traffic.bytes / rows / FLOOR["copy"]


# -- training --


def network(config: Config, side: int) -> nn.Module:
    torch.manual_seed(config.seed)
    return models.build(config.model, side)


PIXELS: dict[tuple[int, int], Arrays] = {}


def _both(train: int, val: int, side: int = SIDE) -> tuple[Arrays, Arrays]:
    return tuple(_pixels(rows, side) for rows in (train, val))  # type: ignore[return-value]


def _pixels(rows: int, side: int) -> Arrays:
    if (rows, side) not in PIXELS:
        PIXELS[rows, side] = pixels(rows, rows, side)
    return PIXELS[rows, side]


class Direct:
    """Stands in for `Recorded`: launches each kernel of each step."""

    def __init__(self, device: torch.device) -> None:
        pass

    def __call__(self, step: Callable[[Any], Tensor], drawn: Any) -> Tensor:
        return step(drawn)


@contextmanager
def launching_each_kernel() -> Iterator[None]:
    """Train without CUDA graphs."""
    before = loop.Recorded
    loop.Recorded = Direct  # type: ignore[assignment,misc]
    try:
        yield
    finally:
        loop.Recorded = before  # type: ignore[misc]


def timed(config: Config, train: Arrays, val: Arrays, epochs: int) -> dict[str, float]:
    """Train; return medians over the epochs after the first, and the first's seconds."""
    training = Training(config, network(config, train.images.shape[1]), train, val, DEVICE)
    metrics = []
    for epoch in training:
        metrics.append(epoch)
        if len(metrics) == epochs:
            break
    rate = statistics.median(epoch.images_per_second for epoch in metrics[1:])
    whole = statistics.median(epoch.seconds for epoch in metrics[1:])
    memory = torch.cuda.max_memory_allocated() / 2**30 if DEVICE.type == "cuda" else 0.0
    return {"rate": rate, "epoch": whole, "first": metrics[0].seconds, "memory": memory}


def cnn() -> Iterator[str]:
    train, val = _both(scaled(TRAIN, 300), scaled(VAL, 100))
    few = _pixels(scaled(TRAIN // 10, 200), SIDE)
    yield "| CNN | batch | way | epoch, s | with validation | images/s | of floor | GiB |"
    yield "|---|---|---|---|---|---|---|---|"
    for batch in scaled_batches(32, 256, 1024, 4096):
        config = plain(batch)
        by_arithmetic, by_memory = floors(config, SIDE, batch)
        for way in ("recorded", "a launch a kernel"):
            if way == "recorded":
                seen = timed(config, train, val, epochs=scaled(4, 2))
            else:  # is slow: a tenth of the faces tell
                with launching_each_kernel():
                    seen = timed(config, few, val, epochs=3)
            rate = seen["rate"]
            whole = f"{seen['epoch']:.3f}" if way == "recorded" else ""
            yield (
                f"| published | {batch} | {way} | {len(train) / rate:.3f} | {whole} | "
                f"{rate:,.0f} | {by_memory * rate:.0%} memory, {by_arithmetic * rate:.0%} "
                f"arithmetic | {seen['memory']:.1f} |"
            )


def scaled_batches(*batches: int) -> tuple[int, ...]:
    return (16, 32) if SMALL else batches


def plain(batch: int, *more: str) -> Config:
    return resolve(
        "reference",
        settings=[f"train.batch_size={batch}", "balance.policy=none", "train.patience=null",
                  "train.epochs=20", *more],
    )  # fmt: skip


def profile() -> Iterator[str]:
    """Say where the time of a step goes, kernel by kernel."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiling

    if DEVICE.type != "cuda":
        yield "nothing to say of a CPU"
        return
    for name, config, side in (
        ("cnn", plain(32), SIDE),
        ("cnn", plain(1024), SIDE),
        ("resnet50", plain(128, *FINE_TUNED), 224),
    ):
        rows = config.train.batch_size
        training = Training(config, network(config, side), *_both(rows, rows, side), DEVICE)
        drawn = next(iter(training._batches.epoch(0)))
        for number in range(8):
            if number == 3:
                synchronise(DEVICE)
                profiler = profiling(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU])
                profiler.__enter__()
            training._optimiser.before_step()
            training._step(drawn)
        synchronise(DEVICE)
        profiler.__exit__(None, None, None)
        kernels = [k for k in profiler.key_averages() if "CUDA" in str(k.device_type)]
        kernels = [k for k in kernels if not k.key.startswith("Optimizer.")]  # an annotation
        kernels.sort(key=lambda kernel: -kernel.self_device_time_total)
        total = sum(kernel.self_device_time_total for kernel in kernels)
        count = sum(kernel.count for kernel in kernels)
        lines = [
            f"{name}, batch {rows}, {side} px: {total / 5:,.0f} us a step, {count / 5:.0f} kernels"
        ]
        lines += [
            f"{k.self_device_time_total / 5:9.1f} us {k.self_device_time_total / total:6.1%} "
            f"x{k.count / 5:.0f} {k.key}"
            for k in kernels
        ]
        (OUT / f"profile-{name}-{rows}.txt").write_text("\n".join(lines))
        yield from (line[:110] for line in lines[:12])


FINE_TUNED = (
    "model.name=resnet50", "model.weights=random", "model.unfreeze=all", "model.head=pooled",
)  # fmt: skip


def resnet(*more: str, sizes: Any = ((80, 256), (224, 128))) -> Iterator[str]:
    yield "| ResNet50 | pixels | batch | images/s | of bf16 peak | of floor by memory | GiB |"
    yield "|---|---|---|---|---|---|---|"
    for side, batch in sizes if not SMALL else ((80, 8),):
        config = plain(batch, *FINE_TUNED, *more)
        train, val = _both(scaled(40 * batch, 16), 8, side)
        by_arithmetic, by_memory = floors(plain(batch, *FINE_TUNED), side, batch)
        seen = timed(config, train, val, epochs=3)
        yield (
            f"| fine-tuned {' '.join(more)} | {side} | {batch} | {seen['rate']:,.0f} | "
            f"{by_arithmetic * seen['rate']:.0%} | {by_memory * seen['rate']:.0%} | "
            f"{seen['memory']:.1f} |"
        )
        rate = evaluation_rate(network(config, side).to(DEVICE), train)
        yield f"| evaluation, as of its features | {side} | | {rate:,.0f} | | | |"


def compiled() -> Iterator[str]:
    if not SMALL:  # it takes a minute to compile
        yield from resnet("train.compile=true", sizes=((224, 128),))


def evaluation_rate(model: nn.Module, arrays: Arrays) -> float:
    model = model.to(memory_format=torch.channels_last)
    images, bf16 = held_for(arrays.images, DEVICE), uses_bf16("auto", DEVICE)
    rates = []
    for _ in range(3):
        start = time.perf_counter()
        predict_logits(model, images, len(arrays), bf16)
        rates.append(len(arrays) / (time.perf_counter() - start))
    return max(rates)


def lockstep() -> Iterator[str]:
    train = _pixels(scaled(10_000, 300), SIDE)
    yield "| trials | batch | way | images/s over all | 100 trials x 10 epochs, s |"
    yield "|---|---|---|---|---|"
    for trials in (1, 8, 32, 100) if not SMALL else (1,):
        rate = side_by_side(trials, train)
        yield f"| {trials} | 32 | side by side | {rate:,.0f} | {1000 * TRAIN / rate:,.0f} |"
    for trials, way in ((8, "grouped"), (100, "grouped"), (8, "loop")) if not SMALL else ():
        rate = lockstep_rate(trials, way, train, DEVICE)
        yield f"| {trials} | 32 | as one, {way} | {rate:,.0f} | {1000 * TRAIN / rate:,.0f} |"


def side_by_side(trials: int, train: Arrays) -> float:
    """Train trials as they are, each a graph on a stream of its own, launched in turn."""
    val, trainings = _pixels(64, SIDE), []
    for seed in range(trials):
        config = plain(32, f"seed={seed}")
        trainings.append(Training(config, network(config, SIDE), train, val, DEVICE))
        trainings[seed]._batches.images = trainings[0]._batches.images  # one copy is enough here
    drawn = [iter(training._batches.epoch(0)) for training in trainings]
    own = [torch.cuda.Stream() if DEVICE.type == "cuda" else None for _ in trainings]

    def step(number: int) -> None:
        training = trainings[number]
        training._optimiser.before_step()
        take = training._recorded or Direct(DEVICE)
        take(training._step, next(drawn[number]))
        training._optimiser.after_step()

    for number in range(trials):
        for _ in range(5):
            step(number)
    synchronise(DEVICE)
    start, steps = time.perf_counter(), scaled(100, 1)
    for _ in range(steps):
        for number, stream in enumerate(own):
            with torch.cuda.stream(stream):
                step(number)
    synchronise(DEVICE)
    return trials * 32 * steps / (time.perf_counter() - start)


# -- the whole program --


def fairfront(*words: str) -> float:
    """Run a command; return its seconds."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", *words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"fairfront {' '.join(words)}: {done.stdout[-800:]}{done.stderr[-800:]}")
    return time.perf_counter() - start


FOLDER = Path(tempfile.mkdtemp(prefix="fairfront-gpu-"))
FACES = 80_000
"""Synthetic faces, of which 48,000 are trained on."""


def faces() -> str:
    """Prepare synthetic faces once; return where."""
    data = FOLDER / "data"
    if not data.exists():
        took = fairfront("prepare", f"synthetic:{scaled(FACES, 400)}", "--out", str(data))
        print(f"prepare of {scaled(FACES, 400):,} synthetic faces: {took:.1f} s", flush=True)
    return str(data)


def accuracy() -> Iterator[str]:
    """The same recipe's figures after five epochs, at batch 32 and at larger ones."""
    from orchestrator.data.loading import load
    from orchestrator.data.store.store import Store

    config = plain(32)
    data = load(Store.open(faces()), config.data, "resident")
    yield "| batch | rate | fair after 5 epochs, seeds | accuracy |"
    yield "|---|---|---|---|"
    for batch, rate in ((32, 1e-3), (256, 2.8e-3), (1024, 5.6e-3)):
        seen = []
        for seed in range(scaled(3, 1)):
            config = resolve(
                settings=[f"train.batch_size={batch}", f"train.lr={rate}", f"seed={seed}",
                          f"train.epochs={scaled(5, 1)}"]
            )  # fmt: skip
            training = Training(config, network(config, SIDE), data["train"], data["val"], DEVICE)
            *_, last = training
            seen.append(last)
        fair = ", ".join(f"{epoch.fair:.4f}" for epoch in seen)
        yield f"| {batch} | {rate} | {fair} | {np.mean([e.accuracy for e in seen]):.4f} |"


def sweeps() -> Iterator[str]:
    """Twelve trials with Ray, some at a time on the GPU, whose processes take turns or share it."""
    yield "| sweep of 12 | in all, s | first start to end | training, s | overhead |"
    yield "|---|---|---|---|---|"
    for concurrent in (1, 4) if not SMALL else (1,):
        yield sweep(concurrent, f"sweep{concurrent}")
    if shutil.which("nvidia-cuda-mps-control") is None:
        yield "no nvidia-cuda-mps-control here"
        return
    with multi_process_service():
        for concurrent in (4, 12):
            yield "by MPS: " + sweep(concurrent, f"mps{concurrent}")


def sweep(concurrent: int, name: str) -> str:
    """Sweep; return a line of the table."""
    out = FOLDER / name
    whole = fairfront(
        "sweep", "--data", faces(), "--out", str(out), "--trials", str(scaled(12, 2)),
        "--finalists", "0", "--concurrent", str(concurrent), "--epochs", str(scaled(8, 1)),
        "--set", "sweep.halving=false", "train.patience=null",
    )  # fmt: skip
    ended = Run.open(str(out)).complete()
    wall, busy = wall_and_training(ended, concurrent)
    devices = sorted({trial.result.device for trial in ended})
    rate = statistics.median(trial.result.images_per_second for trial in ended)
    return (
        f"| {concurrent} at a time | {whole:.1f} | {wall:.1f} | {busy:.1f} | {wall / busy - 1:.0%} "
        f"| {rate:,.0f} images/s a trial, {devices}"
    )


@contextmanager
def multi_process_service() -> Iterator[None]:
    """Have the processes that use the card run side by side on it, by NVIDIA's own service."""
    folder = tempfile.mkdtemp(prefix="mps-")
    places = {"CUDA_MPS_PIPE_DIRECTORY": folder, "CUDA_MPS_LOG_DIRECTORY": folder}
    os.environ.update(places)
    control = "nvidia-cuda-mps-control"
    subprocess.run([control, "-d"], check=True)
    try:
        yield
    finally:
        subprocess.run([control], input="quit\n", text=True, check=False, timeout=30)
        for name in places:
            del os.environ[name]


def demo() -> Iterator[str]:
    yield f"fairfront demo: {fairfront('demo', '--out', str(FOLDER / 'demo')):.1f} s"


def predict() -> Iterator[str]:
    """Predict from JPEG files at two sizes; the difference is without the start."""
    import csv

    rate = decoders_sum()
    yield f"decoders, one a core: {rate:,.0f} images/s in all"
    run = FOLDER / "sweep1"
    files = sorted((FOLDER / "jpeg").rglob("*.jpg"))
    took = []
    counts = (scaled(100_000, 300), scaled(500_000, 600))
    for count in counts:
        table = FOLDER / f"{count}.csv"
        with table.open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["filename"])
            rows.writerows([str(files[at % len(files)])] for at in range(count))
        took.append(
            fairfront("predict", "--run", str(run), "--images", str(table),
                      "--out", f"{table}.labels.csv")
        )  # fmt: skip
    steady = (counts[1] - counts[0]) / (took[1] - took[0])
    yield (
        f"predict: {counts[0]:,} in {took[0]:.1f} s, {counts[1]:,} in {took[1]:.1f} s: "
        f"{steady:,.0f} images/s, {steady / rate:.2f} of the decoders'"
    )


def decoders_sum() -> float:
    """Make some JPEG files; return how many a second all cores decode at once."""
    code = (
        "import sys, time, torch; from pathlib import Path; import numpy as np\n"
        "from orchestrator.data.reading.decode import decode_into\n"
        "torch.set_num_threads(1)\n"
        "files = [p.read_bytes() for p in sorted(Path(sys.argv[1]).rglob('*.jpg'))[:1500]]\n"
        "image = np.zeros((80, 80, 3), np.uint8)\n"
        "begin = float(sys.argv[2]); decode_into(image, files[0])\n"
        "time.sleep(max(0, begin - time.time())); n = 0\n"
        "while time.time() < begin + 3:\n"
        "    decode_into(image, files[n % len(files)]); n += 1\n"
        "print(n / 3)\n"
    )
    make_jpegs(FOLDER / "jpeg", scaled(3000, 100))
    begin = str(time.time() + 12)
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(FOLDER / "jpeg"), begin],
                         stdout=subprocess.PIPE, text=True)
        for _ in range(cores())
    ]  # fmt: skip
    return sum(float(process.communicate()[0]) for process in started)


def make_jpegs(folder: Path, count: int) -> None:
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        # Smooth noise: as many bytes as a face of CelebA's.
        small = rng.integers(0, 256, (28, 22, 3), dtype=np.uint8)
        Image.fromarray(small).resize((178, 218)).save(folder / f"{number}.jpg", quality=90)


GPU_TESTS = "tests/orchestrator/training/test_on_gpu.py"


def tests() -> Iterator[str]:
    words = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", GPU_TESTS]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    (OUT / "tests.txt").write_text(done.stdout + done.stderr)
    yield from done.stdout.splitlines()[-30:]


PARTS = (
    tests, cnn, profile, lockstep, accuracy, sweeps, predict, resnet, demo, compiled,
)  # fmt: skip


def main() -> None:
    global SMALL  # noqa: PLW0603
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=[part.__name__ for part in PARTS])
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--minutes", type=float, default=8)
    arguments = parser.parse_args()
    SMALL = arguments.small
    started = time.monotonic()
    for part in (card, *PARTS):
        if arguments.only and part.__name__ not in ("card", *arguments.only):
            continue
        left = 60 * arguments.minutes - (time.monotonic() - started)
        if left < 0:
            print(f"-- {part.__name__}: no time left --", flush=True)
            continue
        begun = time.monotonic()
        try:
            for line in part():
                print(line, flush=True)
        except Exception:
            traceback.print_exc(limit=-6)
        if DEVICE.type == "cuda":
            torch.cuda.empty_cache()
        print(f"-- {part.__name__}: {time.monotonic() - begun:.0f} s --\n", flush=True)


if __name__ == "__main__":
    main()
