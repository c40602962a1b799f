"""The scheduler as Ray Tune calls it: with fake trials, and in one small run."""

import sys
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from ray import cloudpickle, tune
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher
from ray.tune.utils import flatten_dict

from orchestrator.config.layers import resolve
from orchestrator.run.trial import Trial
from orchestrator.search.halving import Halving, Rungs
from orchestrator.search.halving_scheduler import HalvingScheduler
from orchestrator.training.early_stopping import EpochMetrics
from orchestrator.training.trial import Assignment, report_row

PARETO = {"mean_accuracy": "maximize", "gap": "minimize"}


def epoch_of(number, women, men):
    gap, mean = abs(women - men), (women + men) / 2
    return EpochMetrics(
        epoch=number, lr=0.001, train_loss=0.1, val_loss=0.1, accuracy=mean, acc_women=women,
        acc_men=men, gap=gap, fair=mean - 2 * gap, fair_lambda1=mean - gap,
        worst_gender=min(women, men), worst_group=min(women, men),
        seconds=1.0, images_per_second=1.0,
    )  # fmt: skip


def assign(folder, number, *settings, recipe="default"):
    return Assignment(Trial(folder / f"t{number:03}"), resolve(recipe, settings=settings), {})


class Tuned:
    """A scheduler with trials that Tune calls a, b, c and so on."""

    def __init__(self, folder, recipes):
        self.assignments = {
            chr(97 + number): assign(folder, number, recipe=recipe)
            for number, recipe in enumerate(recipes)
        }
        self.scheduler = HalvingScheduler(Halving(PARETO, Rungs(10, fewest=1)), self.assignments)
        for name in self.assignments:
            self.scheduler.on_trial_add(None, SimpleNamespace(trial_id=name))

    def report(self, name, epoch, women, men):
        metrics = epoch_of(epoch, women, men)
        result = flatten_dict({**report_row(metrics, metrics), "trial_id": name, "done": False})
        return self.scheduler.on_trial_result(None, SimpleNamespace(trial_id=name), result)


def test_the_dominated_are_stopped_with_a_reason_and_the_baselines_are_not(tmp_path):
    tuned = Tuned(tmp_path, ["plain", "reference", "default", "default", "default"])
    decisions = [
        tuned.report(*result)
        for result in [
            ("c", 1, 0.9, 0.95), ("d", 1, 0.8, 0.95), ("a", 1, 0.7, 0.9), ("c", 2, 0.9, 0.9),
            ("b", 1, 0.6, 0.7), ("e", 1, 0.91, 0.95), ("c", 3, 0.9, 0.95),
        ]
    ]  # fmt: skip
    assert decisions == ["CONTINUE", "STOP", *["CONTINUE"] * 5]
    assert tuned.scheduler.stopped == {
        "d": "stopped at epoch 1: 1 of 2 trials are better there by non-dominated rank"
    }
    assert tuned.scheduler.debug_string().endswith("stopped 1 trials.")


def test_what_is_known_of_a_trial_that_goes_on_counts(tmp_path):
    left = assign(tmp_path, 0).trial
    left.path.mkdir()
    left.write_metrics(pd.DataFrame([asdict(epoch_of(1, 0.95, 0.95))]))
    tuned = Tuned(tmp_path, ["default", "default"])
    assert tuned.report("b", 1, 0.7, 0.9) == TrialScheduler.STOP


class Quality(Searcher):
    """Trials whose accuracies are given; notes what Tune tells it."""

    def __init__(self, folder, accuracies):
        super().__init__(metric="fair", mode="max")
        self._folder, self._left = folder, list(enumerate(accuracies))
        self.assignments, self.completed = {}, {}

    def suggest(self, trial_id):
        if not self._left:
            return Searcher.FINISHED
        number, accuracy = self._left.pop(0)
        self.assignments[trial_id] = assign(self._folder, number)
        return {"accuracy": accuracy, "folder": str(self._folder), "number": number}

    def on_trial_result(self, trial_id, result):
        pass

    def on_trial_complete(self, trial_id, result=None, error=False):
        self.completed[self.assignments[trial_id].trial.id] = (result and result["epoch"], error)

    def save(self, checkpoint_path):
        pass

    def restore(self, checkpoint_path):
        pass


class Follower(tune.Callback):
    def __init__(self):
        self.completed = []

    def on_trial_complete(self, trial, **_):
        self.completed.append(trial.config["number"])


def train(config):
    left = Path(config["folder"]) / f"left{config['number']}"
    try:
        for epoch in range(1, 11):
            metrics = epoch_of(epoch, config["accuracy"], config["accuracy"] + 0.01)
            tune.report(report_row(metrics, metrics))
    except BaseException as stopped:
        left.write_text(repr(stopped))
        raise


@pytest.mark.usefixtures("ray_cluster")
def test_tune_stops_what_the_scheduler_stops(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    # Ray's processes cannot import this module.
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    search = Quality(tmp_path, [0.8, 0.7, 0.9, 0.6, 0.95])
    scheduler = HalvingScheduler(Halving(PARETO, Rungs(10, fewest=1)), search.assignments)
    follower = Follower()
    results = tune.Tuner(
        tune.with_resources(train, {"CPU": 2}),  # one at a time, in the order given
        tune_config=tune.TuneConfig(
            search_alg=search, scheduler=scheduler, num_samples=5, max_concurrent_trials=1,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="tune", storage_path=str(tmp_path / "logs"), callbacks=[follower], verbose=0
        ),
    ).fit()  # fmt: skip
    assert not results.errors
    # Tune says "complete" of the stopped ones too: who was stopped only the scheduler knows.
    assert search.completed == {
        "t000": (10, False), "t001": (1, False), "t002": (10, False), "t003": (1, False),
        "t004": (10, False),
    }  # fmt: skip
    assert follower.completed == [0, 1, 2, 3, 4]
    reasons = {search.assignments[name].trial.id: why for name, why in scheduler.stopped.items()}
    assert reasons == {
        "t001": "stopped at epoch 1: 1 of 2 trials are better there by non-dominated rank",
        "t003": "stopped at epoch 1: 3 of 4 trials are better there by non-dominated rank",
    }
    # The training function leaves by SystemExit, which `except Exception` lets through, once its
    # actor is given to the next trial.
    assert {path.name: path.read_text() for path in tmp_path.glob("left*")} == {
        "left1": "SystemExit(0)", "left3": "SystemExit(0)",
    }  # fmt: skip
