"""A frozen backbone: what its features cost once, and what an epoch costs on them from then on.

    python benchmarks/features.py [DATA] [--model resnet50] [--heads pooled flatten] [--epochs 6]

The first `train` computes the features of all faces through Ray Data and keeps them beside the
data; the second finds them there. "First pass" is the time that the backbone takes for the faces
of one epoch of train, by the rate of the whole computation; it is what every epoch would cost
without the cache.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from orchestrator.data.store.store import Store
from orchestrator.run.trial import Trial


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?")
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--weights", default="random", help="they do not change the time")
    parser.add_argument("--heads", nargs="+", default=["pooled", "flatten"])
    parser.add_argument("--epochs", type=int, default=6)
    arguments = parser.parse_args()
    print("| head | features, images/s | first pass, s | cached epoch, s | times as fast |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        data = arguments.data or prepared(folder)
        train = sum(Store.open(data).meta.strata("train").values())
        for head in arguments.heads:
            settings = [f"model.name={arguments.model}", f"model.weights={arguments.weights}"]
            settings += [f"model.head={head}", f"train.epochs={arguments.epochs}"]
            printed = run("train", "--data", data, "--out", f"{folder}/{head}1", "--set", *settings)
            rates = re.findall(r"computing features: .* ([\d,]+) images/s", printed)
            if not rates:
                sys.exit(f"{data}/features has these already; remove it first")
            rate = float(rates[-1].replace(",", ""))
            begun = time.perf_counter()
            run("train", "--data", data, "--out", f"{folder}/{head}2", "--set", *settings)
            whole = time.perf_counter() - begun
            epochs = Trial(Path(folder, f"{head}2", "trials", "default")).metrics
            epoch = float((train / epochs["images_per_second"][1:]).median())
            print(f"| {head} | {rate:,.0f} | {train / rate:.1f} | {epoch:.3f} | "
                  f"{train / rate / epoch:.0f} |", flush=True)  # fmt: skip
            print(f"(the whole second command: {whole:.0f} s)", file=sys.stderr)


def prepared(folder: str) -> str:
    run("prepare", "synthetic:3000", "--out", f"{folder}/data")
    return f"{folder}/data"


def run(*words: str) -> str:
    done = subprocess.run([sys.executable, "-m", "orchestrator", *words], text=True, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip
    if done.returncode:
        sys.exit(done.stdout[-2000:])
    return done.stdout


if __name__ == "__main__":
    main()
