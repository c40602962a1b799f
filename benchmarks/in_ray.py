"""What Ray costs the training loop: in a Tune actor, in `train`, and in Ray Train.

    python benchmarks/in_ray.py [DATA] [--rounds 3] [--epochs 5] [--batch 32]

Each round trains the same trial four ways, one after the other, with all cores: the bare loop on
arrays in memory, `fairfront sweep` with one trial at a time, `fairfront train` with one worker, and
the same in Ray Train, as it trains several. What is compared is a trial's images/s, the median over
its epochs without the first.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from orchestrator.base.machine import COMPUTING
from orchestrator.run.trial import Trial

BARE = """
import sys, torch, models
from orchestrator.config.layers import resolve
from orchestrator.data.loading import load
from orchestrator.training.loop import Training
from orchestrator.data.store.store import Store
torch.set_num_threads(int(sys.argv[2]))
config = resolve("plain", settings=sys.argv[3:])
data = load(Store.open(sys.argv[1]), config.data, "resident")
torch.manual_seed(0)
model = models.build(config.model, data["train"].images.shape[1])
for epoch in Training(config, model, data["train"], data["val"]):
    print(epoch.images_per_second)
"""

FAIRFRONT = """
import sys
from orchestrator.cli import main
sys.exit(main(sys.argv[1:]))
"""
IN_RAY_TRAIN = """
import sys
from orchestrator.distributed import one_worker as alone
from orchestrator.distributed import many_workers as trainer
from orchestrator.cli import main
alone.train_alone = trainer.train_on_workers
sys.exit(main(sys.argv[1:]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch", type=int, default=32)
    arguments = parser.parse_args()
    settings = [f"train.epochs={arguments.epochs}", f"train.batch_size={arguments.batch}"]
    ratios: dict[str, list[float]] = {"in a Tune actor": [], "in train": [], "in Ray Train": []}
    with tempfile.TemporaryDirectory() as folder:
        data = arguments.data or prepared(folder)
        print("| round | bare loop | in a Tune actor | `train` | Ray Train, one worker |")
        print("|---|---|---|---|---|")
        for number in range(arguments.rounds):
            bare = bare_loop(data, settings)
            rates = {
                "in a Tune actor": in_tune(data, f"{folder}/tune{number}", settings),
                "in train": in_train(data, f"{folder}/train{number}", settings),
                "in Ray Train": in_train(data, f"{folder}/ray{number}", settings, IN_RAY_TRAIN),
            }
            for way, rate in rates.items():
                ratios[way].append(rate / bare)
            shown = (f"{rate:.0f} ({rate / bare:.2f})" for rate in rates.values())
            print(f"| {number + 1} | {bare:.0f} | {' | '.join(shown)} |", flush=True)
    for way, values in ratios.items():
        print(f"{way} over bare, median: {statistics.median(values):.3f}")


def prepared(folder: str) -> str:
    fairfront("prepare", "synthetic:3000", "--out", f"{folder}/data")
    return f"{folder}/data"


def bare_loop(data: str, settings: list[str]) -> float:
    threads = str(os.cpu_count())
    environment = {**os.environ, **COMPUTING, "OMP_NUM_THREADS": threads}
    words = [sys.executable, "-c", BARE, data, threads, *settings]
    done = subprocess.run(words, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return statistics.median(float(line) for line in done.stdout.split()[1:])


def in_tune(data: str, out: str, settings: list[str]) -> float:
    words = ["--data", data, "--out", out, "--trials", "1", "--concurrent", "1"]
    fairfront("sweep", *words, "--finalists", "0", "--set", *settings)
    return rate_of(Path(out, "trials", "t000"))


def in_train(data: str, out: str, settings: list[str], code: str = FAIRFRONT) -> float:
    words = ["--data", data, "--out", out, "--recipe", "plain"]
    fairfront("train", *words, "--set", *settings, code=code)
    return rate_of(Path(out, "trials", "plain"))


def rate_of(trial: Path) -> float:
    return float(Trial(trial).metrics["images_per_second"][1:].median())


def fairfront(*words: str, code: str = FAIRFRONT) -> None:
    subprocess.run([sys.executable, "-c", code, *words], check=True, capture_output=True)


if __name__ == "__main__":
    main()
