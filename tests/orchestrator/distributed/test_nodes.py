"""Two nodes with an address each, of which one is lost, and another one joins."""

import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from namespaces import Network, kill, network, runs
from preparing import synthetic
from waiting import HANGS, wait_until

from orchestrator.run.directory import Run
from orchestrator.training.checkpoint import FILE

pytestmark = pytest.mark.slow


SETTINGS = ("train.precision=fp32", "train.batch_size=2", "train.checkpoint_seconds=0")
"""Small batches, so that an epoch takes long enough to be killed in."""


SPACE = """
import time
from pathlib import Path

def suggest(trial):
    while trial.number >= 3 and not Path({joined!r}).exists():
        time.sleep(0.05)
    return {{"train.lr": trial.suggest_float("lr", 1e-4, 1e-3)}}
"""
"""Has the fourth trial and those after it wait for the node that joins."""


class Cluster:
    """A head, and a second node that comes and goes."""

    def __init__(self, joined: Network) -> None:
        self.network = joined
        joined.start_node(0)
        self.second = joined.start_node(1)
        joined.wait_for_nodes()

    def replace(self) -> None:
        kill(self.second)
        self.second = self.network.start_node(1)
        self.network.wait_for_nodes()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with network() as joined:
        yield Cluster(joined)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic(tmp_path_factory.mktemp("nodes") / "data", faces=240)


def test_a_sweep_survives_the_loss_of_a_node_and_uses_one_that_joins(
    cluster: Cluster, data: Path, tmp_path: Path
) -> None:
    run, space, joined = Run(tmp_path / "run"), tmp_path / "space.py", tmp_path / "joined"
    space.write_text(SPACE.format(joined=str(joined)))
    trials, epochs = 6, 6
    words = ["sweep", "--data", str(data), "--out", str(run.path), "--trials", str(trials)]
    words += ["--space", str(space), "--finalists", "0"]
    settings = [*SETTINGS, "sweep.halving=false"]
    sweep = cluster.network.run(*words, "--epochs", str(epochs), "--set", *settings)
    wait_until(lambda: runs(cluster.second, "ImplicitFunc"), sweep)
    wait_until(lambda: len(list(run.trials_path.glob("*/metrics.csv"))) >= 2, sweep)
    cluster.replace()
    joined.touch()
    wait_until(lambda: runs(cluster.second, "ImplicitFunc"), sweep)
    said = sweep.communicate(timeout=HANGS)[0]
    assert sweep.returncode == 0, said
    assert "it goes on from its checkpoint" in said
    table = pd.read_csv(run.path / "trials.csv")
    assert sorted(table["trial_id"]) == [f"t{number:03}" for number in range(trials)]
    assert set(table["state"]) == {"complete"}
    for trial in run.ended():
        assert trial.metrics["epoch"].tolist() == list(range(1, trial.result.epochs + 1))
    summary = json.loads((run.path / "summary.json").read_text())
    assert summary["trials"]["complete"] == trials
    assert (run.path / "report.html").exists()


@pytest.mark.nodes
def test_a_training_on_two_nodes_survives_the_loss_of_one(
    cluster: Cluster, data: Path, tmp_path: Path
) -> None:
    trial = Run(tmp_path / "run").trial("default")
    words = ["train", "--data", str(data), "--out", str(tmp_path / "run"), "--workers", "2"]
    training = cluster.network.run(*words, "--epochs", "12", "--set", *SETTINGS)
    wait_until((trial.path / FILE).exists, training)
    assert runs(cluster.second, "RayTrainWorker")
    cluster.replace()
    said = training.communicate(timeout=HANGS)[0]
    assert training.returncode == 0, said
    assert "recovered: " in said
    assert trial.result.restarts
    assert trial.metrics["epoch"].tolist() == list(range(1, 13))
    assert (tmp_path / "run" / "report.html").exists()
