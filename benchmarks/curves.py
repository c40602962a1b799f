r"""Write the learning curves of a sweep as numbers, for `replay.py`.

    fairfront sweep --data DATA --out RUN --space benchmarks/curves_space.py --objective pareto \
        --trials 62 --epochs 24 --set sweep.sampler=random sweep.halving=false
    python benchmarks/curves.py RUN > benchmarks/curves.csv

A row for each epoch of each complete trial that has parameters: what the trial would have kept had
it ended then, on validation.
"""

import sys
from pathlib import Path

import pandas as pd

from orchestrator.run.directory import Run
from orchestrator.training.early_stopping import kept_so_far


def main() -> None:
    rows = []
    for trial in Run.open(sys.argv[1]).complete():
        params = {f"param.{name}": value for name, value in trial.params.items()}
        if not params:
            continue
        table = pd.read_csv(Path(trial.path, "metrics.csv"), dtype=str).astype(float)
        for epoch, kept in kept_so_far(table, trial.result.config.train):
            figures = {
                "mean_accuracy": round((kept.acc_women + kept.acc_men) / 2, 6),
                "gap": round(kept.gap, 6),
                "fair": round(kept.fair, 6),
            }
            rows.append({"trial": trial.id, "epoch": epoch, **params, **figures})
    pd.DataFrame(rows).to_csv(sys.stdout, index=False)


if __name__ == "__main__":
    main()
