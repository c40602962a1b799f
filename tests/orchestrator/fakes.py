"""Run directories without training: logits of a set quality, written by the run's own writers."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from orchestrator.config.layers import resolve, with_overrides
from orchestrator.config.settings import Config
from orchestrator.judging.fairness import group_metrics, predict_labels
from orchestrator.run.directory import Run
from orchestrator.run.trial import Trial, TrialResult


@dataclass
class FakeTrial:
    """What a trial should come out as; accuracies are targets, met up to sampling noise."""

    id: str
    acc_women: float = 0.9
    acc_men: float = 0.95
    recipe: str = "default"
    state: str = "complete"
    reason: str | None = None
    params: dict[str, Any] = field(default_factory=dict)
    epochs: int = 10
    tunes_plain: bool = False
    """Whether it is cross-entropy without weights, though none of the baselines."""

    def configured(self, config: Config) -> Config:
        """Give all but plain, and what tunes it, something that these have not."""
        plain = self.recipe == "plain" or self.tunes_plain
        return config if plain else with_overrides(config, {"loss.gamma": 1.0})


SWEEP = [
    FakeTrial("t000", 0.905, 0.952, "plain"),
    FakeTrial("t001", 0.888, 0.906, "reference", epochs=4),
    FakeTrial("t002", 0.899, 0.948, params={"loss.gamma": 0.71, "balance.policy": "none"}),
    FakeTrial("t003", state="failed", reason="CUDA out of memory\nTried to allocate 2 GiB"),
    FakeTrial("t004", 0.921, 0.944, params={"loss.gamma": 1.92, "balance.policy": "weights"}),
    FakeTrial("t005", 0.872, 0.941, params={"loss.gamma": 4.4, "balance.policy": "undersample"}),
    FakeTrial("t006", 0.915, 0.957, params={"loss.gamma": 0.05, "balance.policy": "none"}),
    FakeTrial("t007", 0.908, 0.927, params={"loss.gamma": 2.6, "balance.policy": "weights"}),
    FakeTrial("t008", 0.913, 0.951, params={"loss.gamma": 1.1, "balance.policy": "weights"}),
    FakeTrial("t009", 0.74, 0.885, params={"loss.gamma": 4.9, "balance.policy": "undersample"}),
    FakeTrial("t010", 0.918, 0.946, params={"loss.gamma": 1.7, "balance.policy": "weights"}),
    FakeTrial("t011", 0.890, 0.939, params={"loss.gamma": 3.1, "balance.policy": "none"}),
    FakeTrial("t012", 0.902, 0.921, state="pruned", reason="stopped at epoch 3", epochs=3),
    FakeTrial("t013", 0.894, 0.903, params={"loss.gamma": 2.2, "balance.policy": "weights"}),
]


def make_run(
    folder: Path,
    trials: Sequence[FakeTrial] = SWEEP,
    *,
    rows: int = 2000,
    seed: int = 0,
    config: Config | None = None,
) -> Run:
    """Write a run of `trials`, each with `rows` faces in val and in test.

    By default of a sweep that retrains none; what `confirm_run` makes is shown as it is.
    """
    config = config or resolve(settings=["sweep.finalists=0"])
    data = {"path": "data/faces", "fingerprint": "5f" * 32, "image_size": 80}
    run = Run.create(str(folder), config, data)
    faces, difficulty = _sampled(rows, seed)
    for number, fake in enumerate(trials):
        noise = np.random.default_rng([seed, number])
        _write_trial(run.trial(fake.id), fake, faces, difficulty, noise, fake.configured(config))
    return run


def confirm_run(
    run: Run,
    trials: Sequence[FakeTrial],
    *,
    seeds: int = 3,
    folds: int | None = None,
    rows: int = 2000,
    seed: int = 0,
    sd: float = 0.004,
) -> None:
    """Retrain trials of what `make_run` made with as many rows; accuracies vary by `sd`."""
    faces, difficulty = _sampled(rows, seed)
    for number, fake in enumerate(trials):
        for k, fold in product(range(1, seeds + 1), range(folds or 1)):
            rng = np.random.default_rng([seed, number, k, fold, 1])
            women, men = np.array([fake.acc_women, fake.acc_men]) + sd * rng.standard_normal(2)
            name, overrides = f"{fake.id}-seed{k}", {"seed": run.config.seed + k}
            if folds:
                name, overrides = f"{name}-fold{fold}of{folds}", {
                    **overrides, "data.folds": folds, "data.fold": fold,
                }  # fmt: skip
            dealt = f"fold{fold}-" + faces["filename"]
            shown = faces.assign(filename=faces["filename"].where(faces["split"] == "test", dealt))
            _write_trial(
                Trial(run.path / "confirm" / fake.id / name),
                replace(fake, acc_women=women, acc_men=men),
                shown if folds else faces,
                difficulty,
                rng,
                fake.configured(with_overrides(run.config, overrides)),
            )


def _sampled(rows: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(seed)
    faces = _faces(rows, rng)
    return faces, rng.standard_normal(len(faces))


def _faces(rows: int, rng: np.random.Generator) -> pd.DataFrame:
    gender = np.where(rng.random(2 * rows) < 0.59, -1, 1).astype(np.int8)
    share = np.where(gender == -1, 0.249, 0.113)
    return pd.DataFrame(
        {
            "filename": [f"{n:06d}.jpg" for n in range(2 * rows)],
            "split": np.repeat(["val", "test"], rows),
            "gender": gender,
            "label": (rng.random(2 * rows) < share).astype(np.int8),
        }
    )


def _write_trial(
    trial: Trial,
    fake: FakeTrial,
    faces: pd.DataFrame,
    difficulty: np.ndarray,
    rng: np.random.Generator,
    config: Config,
) -> None:
    trial.write_params(fake.params)
    finished = fake.state != "failed"
    speed = 640.0 + 3.5 * (sum(fake.id.encode()) % 7)
    if finished:
        # The same faces are hard for every trial, as they are for real networks.
        ease = 0.95 * difficulty + np.sqrt(1 - 0.95**2) * rng.standard_normal(len(faces))
        logit = _logits(fake, faces, ease, rng)
        trial.write_predictions(faces.assign(logit=logit))
        trial.write_metrics(_epochs(faces.assign(logit=logit), fake.epochs, speed))
    trial.write_result(
        TrialResult(
            trial_id=trial.id,
            state=fake.state,
            recipe=fake.recipe,
            epochs=fake.epochs if finished else 0,
            kept_epoch=fake.epochs if finished else 0,
            seconds=9.3 * fake.epochs if finished else 1.5,
            images_per_second=speed if finished else 0.0,
            device="cpu",
            reason=fake.reason,
            config=config,
        )
    )


def _logits(
    fake: FakeTrial, faces: pd.DataFrame, ease: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    target = np.where(faces["gender"] == -1, fake.acc_women, fake.acc_men)
    order = pd.Series(ease).groupby(faces["gender"].to_numpy()).rank(pct=True).to_numpy()
    sign = np.where(faces["label"] == 1, 1.0, -1.0) * np.where(order <= target, 1.0, -1.0)
    return (sign * (0.05 + np.abs(rng.normal(2, 1, len(faces))))).astype(np.float32)


def _epochs(predictions: pd.DataFrame, epochs: int, speed: float) -> pd.DataFrame:
    """Accuracies that rise to those of the kept, last epoch."""
    val = predictions[predictions["split"] == "val"]
    last = group_metrics(val["label"], predict_labels(val["logit"]), val["gender"])
    rows = []
    for epoch in range(1, epochs + 1):
        short = 0.1 * (epochs - epoch) / epochs
        rows.append(
            {
                "epoch": epoch,
                "lr": 1e-3,
                "train_loss": 0.2 + short,
                "val_loss": 0.25 + short,
                "accuracy": last.accuracy - short,
                "acc_women": last.acc_women - short,
                "acc_men": last.acc_men - short,
                "gap": last.gap,
                "fair": last.fair - short,
                "fair_lambda1": last.fair_lambda1 - short,
                "worst_gender": last.worst_gender - short,
                "worst_group": last.worst_group - short,
                "seconds": 9.3,
                "images_per_second": speed,
            }
        )
    return pd.DataFrame(rows)
