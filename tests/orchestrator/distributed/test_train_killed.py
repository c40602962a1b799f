"""`train` whose worker or driver is killed with SIGKILL ends as if it had been left alone."""

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


def words(data, out, *settings, epochs=4):
    return [
        *("train", "--data", str(data), "--out", str(out), "--epochs", str(epochs), "--set"),
        # Batches of two, so that an epoch takes long enough to be killed in.
        *("train.precision=fp32", "train.batch_size=2", "train.checkpoint_seconds=0", *settings),
    ]


def ours(kind):
    """Return Ray's processes of a kind that descend from this one."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if any(kind in word for word in process.cmdline()):
                found.append(process)
    return found


def rows_of(trial):
    """Count the epochs in a trial's file, which is replaced whole."""
    try:
        return len((trial.path / "metrics.csv").read_text().splitlines()) - 1
    except FileNotFoundError:
        return 0


PROCESS = {1: "OneWorker", 2: "RayTrainWorker"}
"""What a worker is called, by how many there are."""


def kill_worker(trial, workers, then=lambda: None):
    """Kill a worker of the trial, from a thread, as soon as there is a checkpoint."""

    def kill():
        wait_until(lambda: trial.starts)
        victim = ours(PROCESS[workers])[-1]  # to look for it takes about as long as an epoch
        wait_until((trial.path / FILE).exists)
        victim.kill()
        then()

    thread = threading.Thread(target=kill)
    thread.start()
    return thread


def assert_the_same(trial, whole, epochs=4):
    assert trial.metrics["epoch"].tolist() == list(range(1, epochs + 1))
    pd.testing.assert_frame_equal(
        trial.metrics.drop(columns=TIMES), whole.metrics.drop(columns=TIMES)
    )
    for file in ("model.safetensors", "predictions.parquet"):
        assert (trial.path / file).read_bytes() == (whole.path / file).read_bytes(), file
    assert trial.result.kept_epoch == whole.result.kept_epoch
    assert not (trial.path / FILE).exists()


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_is_killed_is_replaced_and_the_model_is_the_same(
    data, tmp_path, capfd, workers
):
    assert main([*words(data, tmp_path / "whole"), "--workers", str(workers)]) == 0
    capfd.readouterr()
    trial, killed = Run(tmp_path / "killed").trial("default"), []

    def note():
        killed.append(rows_of(trial))

    killer = kill_worker(trial, workers, then=note)
    assert main([*words(data, tmp_path / "killed"), "--workers", str(workers)]) == 0
    killer.join()
    assert killed == [1]  # in the second epoch
    out = capfd.readouterr().out
    assert "recovered: a worker was lost in epoch 2; went on from epoch 2" in out
    assert trial.result.restarts == 1
    assert_the_same(trial, Run(tmp_path / "whole").trial("default"))


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_workers_that_die_too_often_end_the_training_in_one_line(data, tmp_path, capfd):
    trial = Run(tmp_path / "run").trial("default")
    killer = kill_worker(trial, workers=1)
    assert main(words(data, tmp_path / "run", "train.max_failures=0")) == 1
    killer.join()
    said = capfd.readouterr().err
    assert "a worker died, perhaps because memory ran out; lower train.batch_size (2)" in said
    assert said.count("\n") == 1
    assert trial.result.state == "failed"
    assert trial.result.epochs == 1
    assert "a worker died" in trial.result.reason
    assert main(["train", "--out", str(tmp_path / "run"), "--resume"]) == 0
    assert "resumed: went on from epoch 2" in capfd.readouterr().out
    resumed = Run(tmp_path / "run").trial("default")
    assert resumed.metrics["epoch"].tolist() == [1, 2, 3, 4]
    assert resumed.result.state == "complete"


def start(arguments):
    command = [sys.executable, "-m", "orchestrator", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_a_driver_that_is_killed_can_be_resumed_to_the_same_model(data, tmp_path):
    epochs = 20  # to look for the driver's processes takes about as long as one
    whole = start(words(data, tmp_path / "whole", epochs=epochs))
    assert whole.communicate()[0]
    assert whole.returncode == 0
    trial = Run(tmp_path / "killed").trial("default")
    driver = start(words(data, tmp_path / "killed", epochs=epochs))
    descendants = []
    try:
        wait_until(lambda: trial.starts, driver)
        descendants += psutil.Process(driver.pid).children(recursive=True)
        wait_until((trial.path / FILE).exists, driver)
    finally:
        driver.kill()
        # Ray's processes follow their driver, but on a busy machine the worker may end its
        # training before it misses it.
        for process in descendants:
            with suppress(psutil.Error):
                process.kill()
        driver.communicate()
        psutil.wait_procs(descendants)
    assert driver.returncode == -signal.SIGKILL
    assert not trial.has_ended
    assert (trial.path / FILE).exists()
    resumed = start(["train", "--out", str(tmp_path / "killed"), "--resume"])
    out = resumed.communicate()[0]
    assert resumed.returncode == 0
    assert "resumed: went on from epoch " in out
    assert trial.result.restarts == 1
    assert_the_same(trial, Run(tmp_path / "whole").trial("default"), epochs)
