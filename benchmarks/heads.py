"""How many heads of a frozen network a sweep fits and judges a minute.

    python benchmarks/heads.py [DATA] [--model resnet18] [--heads 100]

Each is judged on all faces of train and val, by heads that were fitted to other folds, and written
as any trial is. The time is that from the first searched trial's end to the last one's, by their
files: what the study, the fit, its judgement, the files and the display take, and not the
features, which are computed once, nor the published recipe, which trains a CNN.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from orchestrator.data.store.store import Store
from orchestrator.run.directory import Run
from orchestrator.run.progress import BASELINES
from orchestrator.run.trial import in_order_of_ending


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?")
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--weights", default="random", help="they do not change the time")
    parser.add_argument("--heads", type=int, default=100)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = arguments.data or f"{folder}/data"
        if not arguments.data:
            run("prepare", "synthetic:8000", "--image-size", "32", "--out", data)
        settings = [f"model.name={arguments.model}", f"model.weights={arguments.weights}"]
        trials = str(arguments.heads + len(BASELINES))
        run("sweep", "--data", data, "--out", f"{folder}/run", "--space", "heads", "--trials",
            trials, "--finalists", "0", "--set", *settings)  # fmt: skip
        ended = in_order_of_ending(Run.open(f"{folder}/run").complete())
        heads = [trial for trial in ended if trial.result.recipe not in BASELINES]
        times = [Path(str(trial.path), "result.json").stat().st_mtime for trial in heads]
        fit = sum(trial.result.seconds for trial in heads) / len(heads)
        counts = Store.open(data).meta.strata
        faces = sum(sum(counts(split).values()) for split in ("train", "val"))
    rate = 60 * (len(times) - 1) / (times[-1] - times[0])
    print(
        f"{rate:,.0f} heads a minute, of {faces:,} faces out of fold, from a trial's end to the "
        f"next; {fit:.3f} s of each within the trial"
    )


def run(*words: str) -> None:
    """Run a command, whose words are shown only if it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", *words], text=True, capture_output=True, check=False
    )
    if done.returncode:
        sys.exit(done.stdout + done.stderr)


if __name__ == "__main__":
    main()
