"""What a sweep finds on real faces, against the recipes and against random search.

    python benchmarks/quality.py DATA OUT [--hours 0.5] [--space full] [--epochs 12] [--confirm 3]
                                 [--folds K] [--random RUN]

A sweep of so many hours; then random search that stops no trial, for as many epochs as it trained,
or one that was run before; then both confirm what they found on new seeds, and with --folds on each
fold of train and val. What counts of each is the trial with the best mean fair metric on validation
over those, and its mean on test. Folders of an earlier call are gone on with, so that it can be
interrupted.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd

from orchestrator.run.directory import Run

METRICS = ("fair", "accuracy", "gap", "acc_women", "acc_men", "worst_gender")
MANY = "1000"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("out", type=Path)
    parser.add_argument("--hours", default="0.5")
    parser.add_argument("--space", default="full")
    parser.add_argument("--objective", default="fair")
    parser.add_argument("--epochs", default="12")
    parser.add_argument("--confirm", default="3")
    parser.add_argument("--folds", default="null", help="retrain on each of so many")
    parser.add_argument("--random", type=Path, help="a run of random search on the same data")
    arguments = parser.parse_args()
    words = ["--data", arguments.data, "--space", arguments.space, "--trials", MANY]
    words += ["--epochs", arguments.epochs, "--objective", arguments.objective]
    ours, random = arguments.out / "sweep", arguments.random or arguments.out / "random"
    sweep(ours, *words, "--finalists", "0", "--hours", arguments.hours)
    epochs = spent(ours)
    budget = ["sweep.sampler=random", "sweep.halving=false", f"sweep.epoch_budget={epochs}"]
    if not arguments.random:
        sweep(random, *words, "--finalists", "0", "--set", *budget)
    print("| search | trials, of them complete | epochs | best |", *(f" {m} |" for m in METRICS))
    print("|---|---|---|---|" + "---|" * len(METRICS))
    folds = f"sweep.confirm_folds={arguments.folds}"
    for name, out in {"fairfront": ours, "random": random}.items():
        sweep(out, "--finalists", "8", "--confirm", arguments.confirm, "--set", folds)
        run = Run.open(out)
        confirmed = json.loads((out / "summary.json").read_text())["confirmed"]
        trials = confirmed["trials"]
        begin = f"| {name} | {len(list(run.ended()))}, {len(list(run.complete()))} | {spent(out)} |"
        print(row(f"{begin} {confirmed['best']}", trials[confirmed["best"]]))
        for trial in trials.values():
            if trial["recipe"] in ("plain", "reference"):
                print(row(f"| | | | {trial['recipe']}", trial))


def sweep(out: Path, *words: str) -> None:
    begun = [] if not (out / "config.yaml").exists() else ["--resume"]
    command = [sys.executable, "-m", "orchestrator", "sweep", "--out", str(out), *words, *begun]
    subprocess.run(command, check=True, stdout=sys.stderr)


def spent(out: Path) -> int:
    """Return the epochs that a search has trained, those of stopped trials among them."""
    return sum(len(pd.read_csv(path)) for path in out.glob("trials/*/metrics.csv"))


def row(begin: str, trial: dict) -> str:
    cells = (f"{trial['test'][name]:.4f}" for name in METRICS)
    return f"{begin} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
