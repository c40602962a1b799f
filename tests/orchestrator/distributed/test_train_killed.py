"""`train` whose worker or driver is killed with SIGKILL ends as if it had been left alone."""

import re
import signal
import subprocess
import sys
import threading
from contextlib import suppress

import pandas as pd
import psutil
import pytest
from preparing import synthetic
from waiting import wait_until

from orchestrator.cli import main
from orchestrator.run.directory import Run
from orchestrator.training.checkpoint import FILE

TIMES = ["seconds", "images_per_second"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return synthetic(tmp_path_factory.mktemp("killed") / "data")


EPOCHS = {1: 8, 2: 3}
"""By the number of workers; two take long to come together after each step."""


def quick(data, out, workers, *settings):
    return [
        *("--data", str(data), "--out", str(out), "--workers", str(workers)),
        *("--epochs", str(EPOCHS[workers]), "--set"),
        # Batches of two, so that an epoch takes long enough to be killed in.
        *("train.precision=fp32", "train.batch_size=2", "train.checkpoint_seconds=0", *settings),
    ]


def words(data, out, *settings, workers=1):
    return ["train", "--recipe", "plain", *quick(data, out, workers, *settings)]


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory, ray_cluster):  # noqa: ARG001
    """A training on one worker that was left alone."""
    out = tmp_path_factory.mktemp("whole") / "run"
    assert main(words(data, out)) == 0
    return Run(out).trial("plain")


def ours(kind, driver=None):
    """Return Ray's processes of a kind that descend from a driver; None: from this process."""
    found = []
    for process in psutil.Process(driver).children(recursive=True):
        with suppress(psutil.Error):
            if any(kind in word for word in process.cmdline()):
                found.append(process)
    return found


PROCESS = {1: "OneWorker", 2: "RayTrainWorker"}
"""What a worker is called, by how many there are."""


def kill_worker(trial, workers):
    """Kill a worker of the trial, from a thread, as soon as there is a checkpoint."""

    def kill():
        wait_until(lambda: trial.starts)
        victim = ours(PROCESS[workers])[-1]  # to look for it takes about as long as an epoch
        wait_until((trial.path / FILE).exists)
        victim.kill()

    thread = threading.Thread(target=kill)
    thread.start()
    return thread


def assert_the_same(trial, whole):
    assert trial.metrics["epoch"].tolist() == whole.metrics["epoch"].tolist()
    pd.testing.assert_frame_equal(
        trial.metrics.drop(columns=TIMES), whole.metrics.drop(columns=TIMES)
    )
    for file in ("model.safetensors", "predictions.parquet"):
        assert (trial.path / file).read_bytes() == (whole.path / file).read_bytes(), file
    assert trial.result.kept_epoch == whole.result.kept_epoch
    assert not (trial.path / FILE).exists()


def trial_of_a_sweep(data, out, workers):
    """Train as often, on as many workers, in a sweep."""
    assert main(["sweep", "--trials", "1", "--finalists", "0", *quick(data, out, workers)]) == 0
    (trial,) = Run.open(str(out)).complete()
    assert trial.result.config.workers == workers
    return trial


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_is_killed_is_replaced_and_the_model_is_the_same(
    data, whole, tmp_path, capfd, workers
):
    if workers > 1:
        whole = trial_of_a_sweep(data, tmp_path / "swept", workers)
    capfd.readouterr()
    trial = Run(tmp_path / "killed").trial("plain")
    killer = kill_worker(trial, workers)
    assert main(words(data, tmp_path / "killed", workers=workers)) == 0
    killer.join()
    out = capfd.readouterr().out
    recovered = r"recovered: a worker was lost in epoch (\d); went on from epoch (\d)"
    ((lost, began),) = re.findall(recovered, out)
    assert 2 <= int(began) <= int(lost)  # it was killed once there was a checkpoint
    assert trial.result.restarts == 1
    assert_the_same(trial, whole)


@pytest.mark.usefixtures("ray_cluster")
def test_trials_of_more_workers_than_there_are_devices_are_refused(data, tmp_path, capfd):
    words = ["sweep", "--data", data, "--out", tmp_path / "run", "--trials", "1"]
    assert main([*map(str, words), "--workers", "64"]) == 2
    assert "--workers 64: the cluster has 2 devices" in capfd.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_workers_that_die_too_often_end_the_training_in_one_line(data, tmp_path, capfd):
    trial = Run(tmp_path / "run").trial("plain")
    killer = kill_worker(trial, workers=1)
    assert main(words(data, tmp_path / "run", "train.max_failures=0")) == 1
    killer.join()
    said = capfd.readouterr().err
    assert "a worker died, perhaps because memory ran out; lower train.batch_size (2)" in said
    assert said.count("\n") == 1
    assert trial.result.state == "failed"
    assert trial.result.epochs == len(trial.metrics)
    assert "a worker died" in trial.result.reason
    assert main(["train", "--out", str(tmp_path / "run"), "--resume"]) == 0
    assert "resumed: went on from epoch " in capfd.readouterr().out
    resumed = Run(tmp_path / "run").trial("plain")
    assert resumed.metrics["epoch"].tolist() == list(range(1, EPOCHS[1] + 1))
    assert resumed.result.state == "complete"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_driver_that_is_killed_can_be_resumed_to_the_same_model(data, whole, tmp_path, capfd):
    trial = Run(tmp_path / "killed").trial("plain")
    command = [sys.executable, "-m", "orchestrator", *words(data, tmp_path / "killed")]
    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    descendants = []
    try:
        wait_until(lambda: ours(PROCESS[1], driver.pid), driver, every=0.1)
        descendants += psutil.Process(driver.pid).children(recursive=True)
        wait_until((trial.path / FILE).exists, driver)
    finally:
        driver.kill()
        # Ray's processes follow their driver, but on a busy machine the worker may end its
        # training before it misses it.
        for process in descendants:
            with suppress(psutil.Error):
                process.kill()
        driver.wait()
        psutil.wait_procs(descendants)
    assert driver.returncode == -signal.SIGKILL
    assert not trial.has_ended
    assert (trial.path / FILE).exists()
    assert main(["train", "--out", str(tmp_path / "killed"), "--resume"]) == 0
    assert "resumed: went on from epoch " in capfd.readouterr().out
    assert trial.result.restarts == 1
    assert_the_same(trial, whole)
