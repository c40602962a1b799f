"""Nodes with an address each, of which one is lost, and another one joins; DATA and RUN on S3."""

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from namespaces import ADDRESSES, Network, kill, network, runs
from preparing import synthetic
from s3_server import KEY, SECRET, S3Server
from upath import UPath
from waiting import HANGS, wait_until

from orchestrator.base.files import parse_uri, read_bytes, read_json
from orchestrator.run.directory import Run
from orchestrator.training.checkpoint import FILE

pytestmark = pytest.mark.slow
ROOT = "s3://faces/nodes"
SETTINGS = ("train.precision=fp32", "train.batch_size=2", "train.checkpoint_seconds=0")
"""Small batches, so that an epoch takes long enough to be killed in."""
NOT_FOR_TRIALS = ("--num-cpus=0",)
"""What a head of KubeRay's usually is."""


class Cluster:
    """A head, and a second node that comes and goes."""

    def __init__(self, joined: Network, head: tuple[str, ...]) -> None:
        self.network, self._head = joined, head
        self.start()

    def start(self) -> None:
        self.head = self.network.start_node(0, *self._head)
        self.second = self.network.start_node(1)
        self.network.wait_for_nodes()

    def replace(self) -> None:
        kill(self.second)
        self.second = self.network.start_node(1)
        self.network.wait_for_nodes()


@contextmanager
def cluster(s3: S3Server, *head: str) -> Iterator[Cluster]:
    with network() as joined:
        joined.environment |= {
            "AWS_ENDPOINT_URL": s3.appear(joined.names[0], ADDRESSES[0]),
            "AWS_DEFAULT_REGION": "eu-west-1",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
        }
        yield Cluster(joined, head)


@pytest.fixture(scope="module")
def data(s3: S3Server, tmp_path_factory: pytest.TempPathFactory) -> str:  # noqa: ARG001
    made = synthetic(tmp_path_factory.mktemp("nodes") / "data", faces=240)
    UPath(ROOT).fs.put(str(made), f"{ROOT}/data", recursive=True)
    return f"{ROOT}/data"


def test_a_submitted_sweep_survives_the_loss_of_the_node_that_has_its_data(
    s3: S3Server, data: str
) -> None:
    run, trials, epochs = Run(parse_uri(f"{ROOT}/swept")), 3, 6
    words = ["sweep", "--data", data, "--out", str(run.path), "--trials", str(trials)]
    words += ["--finalists", "0", "--epochs", str(epochs)]
    with cluster(s3, *NOT_FOR_TRIALS) as joined:
        sweep = joined.network.submit(*words, "--set", *SETTINGS, "sweep.halving=false")
        wait_until(lambda: epochs_of(run, "t001"), sweep, every=0.2)
        assert runs(joined.second, "ImplicitFunc")
        joined.replace()
        said = sweep.communicate(timeout=HANGS)[0]
    assert sweep.returncode == 0, said
    assert "it goes on from its checkpoint" in said
    assert [trial.id for trial in run.complete()] == [f"t{number:03}" for number in range(trials)]
    assert_whole(run)
    assert read_json(run.path / "summary.json")["trials"]["complete"] == trials
    assert (run.path / "report.html").exists()
    assert read_json(run.path / "submitted.json")["command"][0] == "sweep"


def epochs_of(run: Run, trial: str) -> int:
    """Return the epochs that a trial has written down, while it is trained."""
    file = run.trial(trial).path / "metrics.csv"
    return len(read_bytes(file).splitlines()) - 1 if file.exists() else 0


def assert_whole(run: Run) -> None:
    """Assert that no trial has lost an epoch, or trained one twice."""
    for trial in run.ended():
        assert trial.metrics["epoch"].tolist() == list(range(1, trial.result.epochs + 1))


@pytest.mark.nodes
def test_a_training_on_two_nodes_survives_the_loss_of_one_and_of_the_store_for_a_minute(
    s3: S3Server, data: str
) -> None:
    run = Run(parse_uri(f"{ROOT}/trained"))
    trial = run.trial("default")
    words = ["train", "--data", data, "--out", str(run.path), "--workers", "2"]
    with cluster(s3) as joined:
        training = joined.network.submit(*words, "--epochs", "12", "--set", *SETTINGS)
        wait_until((trial.path / FILE).exists, training, every=0.2)
        assert runs(joined.second, "RayTrainWorker")
        joined.replace()
        before = epochs_of(run, "default")
        wait_until(lambda: epochs_of(run, "default") > before, training, every=0.2)
        s3.stop()
        try:
            time.sleep(60)
        finally:
            s3.start()
        said = training.communicate(timeout=HANGS)[0]
    assert training.returncode == 0, said
    assert "recovered: " in said
    assert trial.result.restarts == 1
    assert trial.metrics["epoch"].tolist() == list(range(1, 13))
    assert (run.path / "report.html").exists()


@pytest.mark.nodes
def test_a_sweep_goes_on_after_the_loss_of_its_head(s3: S3Server, tmp_path: Path) -> None:
    """On a disk, whose lock goes with the session; a lease on S3 would expire in two minutes."""
    data, run = synthetic(tmp_path / "data", faces=240), Run(tmp_path / "run")
    words = ["sweep", "--data", str(data), "--out", str(run.path), "--trials", "4"]
    words += ["--finalists", "0", "--epochs", "6", "--set", *SETTINGS, "sweep.halving=false"]
    with cluster(s3) as joined:
        sweep = joined.network.submit(*(f"file://{w}" if w[0] == "/" else w for w in words))
        wait_until(lambda: epochs_of(run, "t003") > 1, sweep)
        kill(joined.head)
        kill(joined.second)
        sweep.send_signal(signal.SIGINT)  # it would look for its job for five minutes
        assert sweep.wait(HANGS) == 130
        joined.start()
        again = joined.network.run("submit", "--wait", "--again", str(run.path), "--", "--resume")
        said = again.communicate(timeout=HANGS)[0]
    assert again.returncode == 0, said
    assert len(run.complete()) == 4
    assert_whole(run)
    assert len(json.loads((run.path / "submitted.json").read_text())["before"]) == 1
