"""A trial's files, and that an interrupted one ends as if it had been left alone."""

from unittest.mock import Mock

import pandas as pd
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData
from toys import toy_data

import models
from orchestrator.base.errors import InputError
from orchestrator.config.layers import resolve, with_overrides
from orchestrator.run.trial import Trial
from orchestrator.training.checkpoint import FILE, Checkpoints
from orchestrator.training.loop import Training, TrainingError
from orchestrator.training.model_file import load_model, save_model
from orchestrator.training.trial import Assignment, run_trial

SETTINGS = ("train.precision=fp32", "train.epochs=3", "train.batch_size=16")
TIMES = ["seconds", "images_per_second"]


class KilledError(Exception):
    pass


def assign(folder, *settings):
    return Assignment(Trial(folder), resolve(settings=[*SETTINGS, *settings]), {})


def killed_after(epochs):
    def report(metrics, _kept):
        if metrics.epoch == epochs:
            raise KilledError

    return report


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A trial that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    run_trial(assign(folder), toy_data())
    return Trial(folder)


def test_a_trial_leaves_its_files_and_no_checkpoint(whole):
    names = {path.name for path in whole.path.iterdir() if "tfevents" not in path.name}
    assert names == {
        "params.json", "starts.txt", "metrics.csv", "predictions.parquet", "model.safetensors",
        "result.json",
    }  # fmt: skip
    assert whole.result.restarts == 0
    assert whole.result.epochs == 3


def test_a_trial_on_a_machine_that_is_taken_away_is_kept_after_its_epoch(whole, tmp_path):
    assignment = assign(tmp_path, "train.checkpoint_seconds=3600")
    asked = Mock(side_effect=[False, True])
    with pytest.raises(KilledError):
        run_trial(assignment, toy_data(), killed_after(2), asked)
    saved = Checkpoints(tmp_path, assignment.config).load()
    assert asked.call_count == len(saved["epochs"]) == 2
    run_trial(assign(tmp_path, "train.checkpoint_seconds=3600"), toy_data())
    pd.testing.assert_frame_equal(
        Trial(tmp_path).metrics.drop(columns=TIMES), whole.metrics.drop(columns=TIMES)
    )


@pytest.mark.parametrize("every", [0, 3600], ids=["from a checkpoint", "from the beginning"])
def test_an_interrupted_trial_ends_as_one_that_was_left_alone(whole, tmp_path, every):
    assignment = assign(tmp_path, f"train.checkpoint_seconds={every}")
    with pytest.raises(KilledError):
        run_trial(assignment, toy_data(), killed_after(2))
    assert (tmp_path / FILE).exists() == (every == 0)
    seen = []
    run_trial(assignment, toy_data(), lambda metrics, _kept: seen.append(metrics.epoch))
    assert seen == ([3] if every == 0 else [1, 2, 3])
    trial = Trial(tmp_path)
    for file in ("model.safetensors", "predictions.parquet"):
        assert (tmp_path / file).read_bytes() == (whole.path / file).read_bytes()
    pd.testing.assert_frame_equal(
        trial.metrics.drop(columns=TIMES), whole.metrics.drop(columns=TIMES)
    )
    assert trial.result.restarts == 1
    assert trial.result.kept_epoch == whole.result.kept_epoch
    assert not (tmp_path / FILE).exists()


def test_a_checkpoint_of_another_configuration_is_not_gone_on_from(tmp_path):
    with pytest.raises(KilledError):
        run_trial(assign(tmp_path, "train.checkpoint_seconds=0"), toy_data(), killed_after(1))
    other = Checkpoints(tmp_path, resolve(settings=[*SETTINGS, "train.lr=0.01"]))
    assert other.load() is None
    free = ("train.checkpoint_seconds=9", "train.max_failures=9")
    same = assign(tmp_path, *free, "workers=2", "data.residence=stream")
    assert Checkpoints(tmp_path, same.config).load() is not None


def test_a_damaged_checkpoint_is_one_line(tmp_path):
    assignment = assign(tmp_path)
    for damage in (b"damaged", b""):
        (tmp_path / FILE).write_bytes(damage)
        with pytest.raises(InputError, match=r"checkpoint.pt: damaged .*remove it to begin"):
            run_trial(assignment, toy_data())


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path):
    class Harmful:
        def __reduce__(self):
            return (print, ("run",))

    torch.save({"config": "", "state": Harmful()}, tmp_path / FILE)
    with pytest.raises(InputError, match="damaged"):
        Checkpoints(tmp_path, resolve()).load()


@pytest.mark.parametrize("where", ["__init__", "_step", "logits"])
def test_memory_that_runs_out_is_one_line(monkeypatch, tmp_path, where):
    monkeypatch.setattr(Training, where, lambda *_: torch.empty(2**60))
    with pytest.raises(TrainingError, match=r"^out of memory on cpu .*name=cnn .*batch_size=16"):
        run_trial(assign(tmp_path), toy_data())


def test_memory_that_a_gpu_lacks_is_one_line_and_other_errors_stay(monkeypatch, tmp_path):
    for error, expected in (
        (torch.OutOfMemoryError("CUDA out of memory. Tried to\nallocate 2 GiB"), TrainingError),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), RuntimeError),
    ):
        monkeypatch.setattr(Training, "_step", Mock(side_effect=error))
        with pytest.raises(RuntimeError) as caught:
            run_trial(assign(tmp_path), toy_data())
        assert type(caught.value) is expected
        assert "\n" not in str(caught.value)


def test_a_network_whose_weights_need_torchs_notes_on_versions_can_be_read_back(tmp_path):
    config = resolve(
        settings=["model.name=mnasnet0_5", "model.weights=random", "model.head=pooled"]
    )
    model = models.build(config.model, 32).eval()
    save_model(tmp_path, model, config, 32, torch.device("cpu"))
    again = load_model(tmp_path / "model.safetensors").network
    assert again.state_dict().keys() == model.state_dict().keys()
    for name, weights in again.state_dict().items():
        assert torch.equal(weights, model.state_dict()[name])


def test_a_model_file_of_another_network_is_one_line(tmp_path):
    config = resolve()
    model = models.build(config.model, 24)
    other = with_overrides(config, {"model.batch_norm": True})
    save_model(tmp_path, model, other, 24, torch.device("cpu"))
    with pytest.raises(InputError, match="its weights are not those of its network"):
        load_model(tmp_path / "model.safetensors")


def test_epochs_lost_before_the_first_checkpoint_are_shown_once(tmp_path):
    with pytest.raises(KilledError):
        run_trial(assign(tmp_path, "train.checkpoint_seconds=3600"), toy_data(), killed_after(2))
    run_trial(assign(tmp_path, "train.checkpoint_seconds=3600"), toy_data())
    events = EventAccumulator(str(tmp_path)).Reload()
    steps = [event.step for event in events.Scalars("val_loss")]
    assert steps == list(range(1, len(steps) + 1))
    trial = Trial(tmp_path)
    kept = trial.metrics.set_index("epoch").loc[trial.result.kept_epoch]
    assert events.Scalars("kept/acc_women")[-1].value == pytest.approx(kept["acc_women"])
    start = events.PluginTagToContent("hparams")["_hparams_/session_start_info"]
    settings = HParamsPluginData.FromString(start).session_start_info.hparams
    assert settings["recipe"].string_value == "default"


def test_the_model_file_is_all_that_prediction_needs(whole):
    trained = load_model(whole.path / "model.safetensors")
    assert trained.image_size == 24
    assert trained.precision == "fp32"
