"""What `train` refuses, and how it fails: one line, the right exit code, and nothing half-made."""

import shutil
import time

import pytest
import torch
from fakes import make_run
from preparing import synthetic, tree
from torchvision import models as zoo

from orchestrator.base.files import write_text
from orchestrator.cli import main
from orchestrator.cli.progress_text import EPOCH_HEADER
from orchestrator.config.layers import resolve
from orchestrator.data.store.store import Store
from orchestrator.run import progress
from orchestrator.run.directory import Run, about_data
from orchestrator.training.checkpoint import FILE

QUICK = ("train.precision=fp32", "train.batch_size=16")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return synthetic(tmp_path_factory.mktemp("faults") / "data")


def train(*words):
    return main(["train", *map(str, words)])


def begin(data, out, *settings):
    return train("--data", data, "--out", out, "--epochs", 2, "--set", *QUICK, *settings)


def one_line(capfd):
    said = capfd.readouterr().err
    assert said.startswith("fairfront: ")
    assert said.count("\n") == 1
    return said


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("3-2", "--workers: 3-2: give the smaller number first"),
        ("2-", "--workers: 2-: give a number, or a range as 2-4"),
        ("two", "--workers: two: give a number, or a range as 2-4"),
        ("0-2", "min_workers=0"),
    ],
)
def test_wrong_numbers_of_workers_are_one_line(words, says, tmp_path, capfd):
    assert train("--data", tmp_path, "--out", tmp_path / "run", "--workers", words) == 2
    assert says in one_line(capfd)
    assert not (tmp_path / "run").exists()


class Code:
    def __reduce__(self):
        return (print, ("run",))


def test_weights_that_cannot_be_had_leave_no_run(data, tmp_path, capfd):
    state = zoo.resnet18(weights=None).state_dict()
    shaped = state | {"conv1.weight": torch.zeros(64, 1, 7, 7)}
    for content, says in (
        (shaped, "conv1.weight has shape (64, 1, 7, 7), not (64, 3, 7, 7)"),
        (zoo.resnet34(weights=None).state_dict(), "it has the unknown layer1.2.conv1.weight and "),
        (Code(), "neither a state dict saved by torch nor safetensors"),
        (state | {"bn1.bias": Code()}, "neither a state dict saved by torch nor safetensors"),
    ):
        file = tmp_path / "weights.pth"
        torch.save(content, file)
        settings = ("model.name=resnet18", f"model.weights={file}", "model.head=pooled")
        assert begin(data, tmp_path / "run", *settings) == 2
        captured = capfd.readouterr()
        assert captured.out == ""  # no code was run
        assert f"{file}: " in captured.err
        assert says in captured.err
        assert captured.err.count("\n") == 1
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "words",
    [("--set", "train.lr=0.1"), ("--epochs", 3), ("--recipe", "plain"), ("--config", "other.yaml")],
)
def test_resume_refuses_what_would_change_the_training(words, tmp_path, capfd):
    run = make_run(tmp_path / "run", trials=[])
    assert train("--out", run.path, "--resume", *words) == 2
    said = one_line(capfd)
    named = "--set train.lr" if words[0] == "--set" else words[0]
    assert f"{named} cannot change with --resume (only --workers, --gpus-per-trial, " in said


def test_a_sweep_is_not_resumed_as_a_training(tmp_path, capfd):
    run = make_run(tmp_path / "run", trials=[])
    begun = progress.begin(run, "sweep", 4, 2, time.time())
    write_text(run.path / "progress.json", begun.model_dump_json())
    assert train("--out", run.path, "--resume") == 2
    assert f"{run.path}: a run of fairfront sweep; go on with that, not train" in one_line(capfd)
    assert train("--out", tmp_path / "nowhere", "--resume") == 2
    assert "nowhere: no run here" in one_line(capfd)


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_divergence_fails_the_trial_once_and_says_what_to_change(data, tmp_path, capfd, workers):
    out = tmp_path / "run"
    words = ("--data", data, "--out", out, "--workers", workers, "--set", *QUICK, "train.lr=1e30")
    assert train(*words) == 1
    said = one_line(capfd)
    assert "training diverged in epoch 1, step " in said
    assert "train.lr=1e+30, train.batch_size=16, loss.name=focal, loss.gamma=" in said
    assert "lower train.lr, or set train.clip_norm=1" in said
    trial = Run(out).trial("default")
    assert trial.result.state == "failed"
    assert f"fairfront: {trial.result.reason}\n" == said
    assert (trial.result.restarts, trial.starts) == (0, 1)  # it would only fail again
    assert not (trial.path / "model.safetensors").exists()
    assert progress.read(Run(out)).state == "failed"


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_finished_training_is_left_as_it_is(data, tmp_path, capfd):
    out = tmp_path / "run"
    assert begin(data, out) == 0
    assert EPOCH_HEADER in capfd.readouterr().out
    trial = Run(out).trial("default")
    before = tree(trial.path)
    assert train("--out", out, "--resume") == 0
    printed = capfd.readouterr().out
    assert f"{out}: this training has finished" in printed
    assert EPOCH_HEADER not in printed
    assert tree(trial.path) == before
    # Data of another kind are refused though nothing is left to do.
    other = tmp_path / "other"
    shutil.copytree(data, other)
    (other / "meta.json").write_text(
        (data / "meta.json").read_text().replace(Run(out).data["fingerprint"], "0" * 64)
    )
    assert train("--data", other, "--out", out, "--resume") == 2
    assert str(other) in one_line(capfd)
    assert tree(trial.path) == before


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_damaged_checkpoint_is_named_and_the_run_stays(data, tmp_path, capfd):
    out = tmp_path / "run"
    config = resolve(settings=[*QUICK, "workers=2"])
    run = Run.create(str(out), config, about_data(Store.open(str(data))))
    checkpoint = run.trial("default").path / FILE
    checkpoint.parent.mkdir()
    checkpoint.write_bytes(b"damaged")
    assert train("--out", out, "--resume", "--workers", 1) == 2
    said = one_line(capfd)
    assert f"{checkpoint}: damaged (" in said
    assert "remove it to begin the trial anew" in said
    assert checkpoint.exists()
    assert Run.open(str(out)).config.workers == 1
