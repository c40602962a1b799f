"""Fairness methods and models on one data set, over seeds: the table of docs/results.md.

    python benchmarks/methods.py DATA --out RUNS [--seeds 3] [--epochs 6] [--only plain focal ...]

DATA is what `fairfront prepare` made. Every cell is a whole trial, as `train` runs it, on one
thread; as many run at a time as there are cores. Trials that RUNS already holds are not trained
again. The change of fair against plain is paired: the same faces are resampled for both, and in
each resample both are means over the seeds.
"""

import argparse
import multiprocessing
import os
import sys
from pathlib import Path

import numpy as np

CNN_WIDE = ("model.width=48", "model.batch_norm=true", "model.head=pooled", "model.depth=4")
AUGMENT = (
    "augment.shift=4",
    "augment.brightness=0.2",
    "augment.contrast=0.2",
    "augment.erase=0.25",
)
VARIANTS: dict[str, tuple[str, tuple[str, ...]]] = {
    # What is compared: a recipe and settings over it.
    "plain": ("plain", ()),
    "reference": ("reference", ("train.epochs=10",)),
    "reference, no gender weights": ("reference-unweighted", ("train.epochs=10",)),
    "focal loss, γ 2": ("focal", ()),
    "weights, gender × class, τ 1": ("strata-weights", ("balance.tau=1",)),
    "weights, gender × class, τ 0.5": ("strata-weights", ("balance.tau=0.5",)),
    "oversample gender × class": ("strata-oversample", ()),
    "undersample gender": ("plain", ("balance.policy=undersample",)),
    "group DRO": ("group-dro", ()),
    "gap penalty": ("gap-penalty", ()),
    "label smoothing 0.1": ("label-smoothing", ()),
    "generalised cross-entropy": ("gce", ()),
    "last layer retrained": ("last-layer", ()),
    "plain, augmented": ("plain", AUGMENT),
    "plain, EMA 0.998, decay 0.05": ("plain", ("train.ema=0.998", "train.weight_decay=0.05")),
    "CNN 3x32, batch norm": ("plain", ("model.batch_norm=true",)),
    "CNN 4x48, batch norm, pooled": ("plain", CNN_WIDE),
    "the same, augmented": ("plain", (*CNN_WIDE, *AUGMENT)),
    "resnet18 from scratch": (
        "plain", ("model.name=resnet18", "model.weights=random", "model.unfreeze=all",
                  "model.head=pooled", "model.hidden=0"),
    ),
}  # fmt: skip
FIGURES = ("acc_women", "acc_men", "gap", "worst_gender", "fair")
DRAWS = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    jobs = [
        (arguments.data, str(arguments.out), name, seed, arguments.epochs)
        for seed in range(arguments.seeds)
        for name in arguments.only
    ]
    with multiprocessing.get_context("spawn").Pool(arguments.processes) as pool:
        for done in pool.imap_unordered(train, jobs):
            print(done, file=sys.stderr, flush=True)
    print_table(arguments.out, arguments.only, arguments.seeds)


def folder(out: Path, name: str, seed: int) -> Path:
    return out / f"{list(VARIANTS).index(name):02}-seed{seed}"


def train(job: tuple[str, str, str, int, int]) -> str:
    import torch

    from orchestrator.config.layers import resolve
    from orchestrator.data.loading import load
    from orchestrator.data.store.store import Store
    from orchestrator.run.trial import Trial
    from orchestrator.training.trial import Assignment, run_trial

    data, out, name, seed, epochs = job
    trial = Trial(folder(Path(out), name, seed))
    if not trial.has_ended:
        torch.set_num_threads(1)
        recipe, settings = VARIANTS[name]
        config = resolve(recipe, settings=[f"train.epochs={epochs}", *settings, f"seed={seed}"])
        store = Store.open(data)
        run_trial(Assignment(trial, config, {}), load(store, config.data, "resident"))
    return f"{name}, seed {seed}: {trial.result.seconds:.0f} s"


def print_table(out: Path, names: list[str], seeds: int) -> None:
    from orchestrator.run.trial import Trial

    correct, women = {}, None
    for name in names:
        of_seeds = []
        for seed in range(seeds):
            predictions = Trial(folder(out, name, seed)).predictions
            test = predictions[predictions["split"] == "test"].sort_values("filename")
            of_seeds.append((test["logit"] > 0).to_numpy() == (test["label"] == 1).to_numpy())
            women = (test["gender"] == -1).to_numpy()
        correct[name] = np.stack(of_seeds)
    assert women is not None
    print("| | women | men | gap | worse gender | fair | fair − plain (95%) |")
    print("|---|---|---|---|---|---|---|")
    for name in names:
        each = figures(correct[name], women)  # of every seed
        cells = [f"{each[f].mean():.4f}" for f in FIGURES[:-1]]
        fair = each["fair"]
        cells.append(f"{fair.mean():.4f} ({fair.min():.3f} to {fair.max():.3f})")
        cells.append("" if name == "plain" else change(correct[name], correct["plain"], women))
        print(f"| {name} | {' | '.join(cells)} |")


def figures(correct: np.ndarray, women: np.ndarray) -> dict[str, np.ndarray]:
    """Return the metrics of each seed; `correct` has shape (seeds, n)."""
    acc_women, acc_men = correct[:, women].mean(1), correct[:, ~women].mean(1)
    gap = np.abs(acc_women - acc_men)
    fair = (acc_women + acc_men) / 2 - 2 * gap
    worst = np.minimum(acc_women, acc_men)
    return {"acc_women": acc_women, "acc_men": acc_men, "gap": gap, "worst_gender": worst,
            "fair": fair}  # fmt: skip


def change(now: np.ndarray, then: np.ndarray, women: np.ndarray) -> str:
    rng = np.random.default_rng(0)
    rows = [np.flatnonzero(women), np.flatnonzero(~women)]
    drawn = []
    for _ in range(DRAWS):
        picked = np.concatenate([rng.choice(group, len(group)) for group in rows])
        seeds = rng.integers(len(now), size=len(now))
        both = [figures(c[seeds][:, picked], women[picked])["fair"].mean() for c in (now, then)]
        drawn.append(both[0] - both[1])
    low, high = np.percentile(drawn, (2.5, 97.5))
    middle = figures(now, women)["fair"].mean() - figures(then, women)["fair"].mean()
    return f"{middle:+.4f} ({low:+.3f} to {high:+.3f})"


if __name__ == "__main__":
    from orchestrator.base.machine import COMPUTING

    os.environ.update(COMPUTING)  # the processes that are started read them
    os.environ["OMP_NUM_THREADS"] = "1"
    main()
