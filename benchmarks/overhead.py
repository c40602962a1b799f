"""What a sweep costs beside training, and what it would cost the way Ray's documentation shows.

    python benchmarks/overhead.py [--trials 24] [--nested 6] [--epochs 2]

Ours: `fairfront sweep` of short trials, one and two at a time. Overhead is the wall time from the
first trial's begin to the last one's end, over the trials' seconds in training, added up and
divided by how many ran at a time; the start of Ray and of the actors comes before. The documented
way: a Tune function that makes a `TorchTrainer` of one worker for each trial, with the faces passed
to it as a Ray data set, here in as few trials as tell; what is compared is trials an hour.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime

from orchestrator.run.directory import Run
from orchestrator.run.trial import Trial


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--nested", type=int, default=6)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--faces", type=int, default=3000)
    parser.add_argument("--ways", nargs="+", default=["1", "2", "nested"])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = f"{folder}/data"
        fairfront("prepare", f"synthetic:{arguments.faces}", "--out", data)
        print("| way | trials | wall, s | training / concurrency, s | overhead | trials an hour |")
        print("|---|---|---|---|---|---|")
        for way in arguments.ways:
            if way == "nested":
                nested(data, arguments.nested, arguments.epochs)
            else:
                ours(data, f"{folder}/{way}", int(way), arguments)


def ours(data: str, out: str, concurrent: int, arguments: argparse.Namespace) -> None:
    words = ["--data", data, "--out", out, "--trials", str(arguments.trials)]
    words += ["--concurrent", str(concurrent), "--epochs", str(arguments.epochs)]
    settings = ["sweep.halving=false", "sweep.sampler=random", "train.checkpoint_seconds=600"]
    settings += ["sweep.startup_trials=100"]
    fairfront("sweep", *words, "--finalists", "0", "--set", *settings)
    trials = Run.open(out).complete()
    wall, training = wall_and_training(trials, concurrent)
    print(f"| fairfront, {concurrent} at a time | {len(trials)} | {wall:.1f} | {training:.1f} | "
          f"{wall / training:.3f} | {3600 * len(trials) / wall:.0f} |", flush=True)  # fmt: skip


def wall_and_training(trials: Sequence[Trial], concurrent: int) -> tuple[float, float]:
    """Return the seconds from first begin to last end, and in training with so many at a time."""
    starts = [
        datetime.fromisoformat((trial.path / "starts.txt").read_text().split()[0]).timestamp()
        for trial in trials
    ]
    ends = [(trial.path / "result.json").stat().st_mtime for trial in trials]
    training = sum(trial.result.seconds for trial in trials) / concurrent
    return max(ends) - min(starts), training


def nested(data: str, trials: int, epochs: int) -> None:
    """Run trials as Ray's guide to Tune with Train does, one at a time."""
    code = [sys.executable, __file__, "--nested-run", data, str(trials), str(epochs)]
    try:
        done = subprocess.run(code, check=True, capture_output=True, text=True, timeout=1200)
    except subprocess.TimeoutExpired:
        print(f"| nested TorchTrainer | {trials} | over 1200 | | | under {3 * trials} |")
        return
    wall = float(done.stdout.splitlines()[-1])
    print(f"| nested TorchTrainer, one at a time | {trials} | {wall:.1f} | | | "
          f"{3600 * trials / wall:.0f} |")  # fmt: skip


def nested_run(data: str, trials: int, epochs: int) -> None:
    import ray
    import ray.data
    from ray import tune
    from ray.train import ScalingConfig
    from ray.train.torch import TorchTrainer

    from orchestrator.data.store.store import Store
    from orchestrator.distributed.ray_session import session

    def loop(config: dict) -> None:
        import torch
        from ray import train

        import models
        from models.config import LossConfig
        from models.losses import focal
        from orchestrator.config.layers import resolve

        model = train.torch.prepare_model(models.build(resolve("plain").model, 80))
        optimiser = torch.optim.Adam(model.parameters(), config["lr"])
        for _ in range(config["epochs"]):
            shard = train.get_dataset_shard("train")
            for batch in shard.iter_torch_batches(batch_size=32):
                optimiser.zero_grad()
                images = batch["image"].permute(0, 3, 1, 2).float() / 255
                with torch.autocast("cpu", torch.bfloat16):
                    logit = model(images)
                focal(logit.float(), batch["label"], LossConfig()).mean().backward()
                optimiser.step()
            train.report({"epoch": 1})

    with session(dashboard=True):
        store = Store.open(data)
        split = store.load("train")
        faces = ray.data.from_items(
            [{"image": i, "label": int(n)} for i, n in zip(split.images, split.label, strict=True)]
        ).materialize()

        def trial(config: dict) -> None:
            TorchTrainer(
                loop,
                train_loop_config=config,
                scaling_config=ScalingConfig(num_workers=1, resources_per_worker={"CPU": 0.9}),
                datasets={"train": faces},
            ).fit()

        begun = time.perf_counter()
        tune.Tuner(
            tune.with_resources(trial, {"CPU": 0.1}),
            param_space={"lr": tune.loguniform(1e-4, 1e-3), "epochs": epochs},
            # Two at a time would leave Ray Data no CPU of two.
            tune_config=tune.TuneConfig(num_samples=trials, max_concurrent_trials=1),
        ).fit()
        wall = time.perf_counter() - begun
    print(wall)


def fairfront(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "orchestrator", *words], check=True, capture_output=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--nested-run"]:
        nested_run(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        main()
