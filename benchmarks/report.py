"""How long a report takes, and how large its page is.

    python benchmarks/report.py [--trials 500 --faces 20000]

A run is made up, without training: logits of trials that are good in some places of a space of
three parameters and poor in others, a third of them stopped early. The report is then written as
`fairfront report` does it, in a process of its own that is timed as a whole, imports among it, and
by its processor's time, which other work on the machine touches less.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from orchestrator.config.layers import resolve, with_overrides
from orchestrator.judging.fairness import group_metrics, predict_labels
from orchestrator.run.directory import Run
from orchestrator.run.trial import TrialResult

EPOCHS = 10


def make_run(folder: Path, trials: int, faces: int) -> Run:
    """Write a run whose trials have `faces` predictions each, half on validation, half on test."""
    rng = np.random.default_rng(0)
    config = resolve(settings=["sweep.finalists=0"])
    data = {"path": "data", "fingerprint": "5f" * 32, "image_size": 80}
    run = Run.create(str(folder), config, data)
    gender = np.where(rng.random(faces) < 0.59, -1, 1).astype(np.int8)
    table = pd.DataFrame(
        {
            "filename": [f"{n:06d}.jpg" for n in range(faces)],
            "split": np.where(np.arange(faces) < faces // 2, "val", "test"),
            "gender": gender,
            "label": (rng.random(faces) < np.where(gender == -1, 0.25, 0.11)).astype(np.int8),
        }
    )
    difficulty = rng.standard_normal(faces)
    for number in range(trials):
        recipe = ("plain", "reference")[number] if number < 2 else "default"
        params = {
            "gamma": float(rng.uniform(0, 5)),
            "lr": float(10 ** rng.uniform(-4, -2)),
            "policy": str(rng.choice(["none", "weights", "undersample"])),
        }
        pruned = number > 5 and rng.random() < 1 / 3
        quality = 2.2 - 0.2 * abs(params["gamma"] - 1.5) - 0.3 * abs(np.log10(params["lr"]) + 3)
        skew = 0.2 if params["policy"] == "none" else 0.05
        sure = quality + skew * gender + 0.9 * difficulty + 0.4 * rng.standard_normal(faces)
        logit = np.where(table["label"] == 1, sure, -sure).astype(np.float32)
        trial = run.trial(f"t{number:03d}")
        trial.write_params({} if number < 2 else params)
        trial.write_predictions(table.assign(logit=logit))
        epochs = 2 if pruned else EPOCHS
        trial.write_metrics(_epochs(table, logit, epochs))
        trial.write_result(
            TrialResult(
                trial_id=trial.id,
                state="pruned" if pruned else "complete",
                recipe=recipe,
                epochs=epochs,
                kept_epoch=epochs,
                seconds=9.3 * epochs,
                images_per_second=650.0,
                device="cpu",
                config=config if number == 0 else with_overrides(config, {"loss.gamma": 1.0}),
            )
        )
    return run


def _epochs(table: pd.DataFrame, logit: np.ndarray, epochs: int) -> pd.DataFrame:
    last = group_metrics(table["label"], predict_labels(logit), table["gender"])
    short = 0.1 * (1 - np.arange(1, epochs + 1) / epochs)
    return pd.DataFrame(
        {
            "epoch": np.arange(1, epochs + 1),
            "acc_women": last.acc_women - short,
            "acc_men": last.acc_men - short,
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--trials", type=int, nargs="+", default=[60, 500])
    parser.add_argument("--faces", type=int, default=20_000, help="predictions of a trial")
    arguments = parser.parse_args()
    for trials in arguments.trials:
        with tempfile.TemporaryDirectory() as folder:
            run = make_run(Path(folder) / "run", trials, arguments.faces)
            command = "import sys; from orchestrator.cli import main; sys.exit(main(sys.argv[1:]))"
            begun, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(
                [sys.executable, "-c", command, "report", str(run.path)],
                check=True,
                stdout=subprocess.DEVNULL,
            )
            wall, after = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
            processor = sum(
                getattr(after, name) - getattr(before, name) for name in ("ru_utime", "ru_stime")
            )
            size = (run.path / "report.html").stat().st_size
        print(
            f"{trials} trials x {arguments.faces:,} predictions: {wall:.1f} s, {processor:.1f} s "
            f"of a processor; the page is {size / 1e6:.2f} MB",
            flush=True,
        )


if __name__ == "__main__":
    main()
