"""A sweep of fitted heads, from the command line: its files, Ctrl-C, going on, and its networks."""

import numpy as np
import onnxruntime
import pyarrow.parquet as pq
import pytest
import torch
from preparing import synthetic
from torchvision.models import resnet18

from orchestrator.base.errors import InputError
from orchestrator.base.files import read_json
from orchestrator.cli import main
from orchestrator.judging.judge import evaluate, score_rank
from orchestrator.run.directory import Run
from orchestrator.run.trial import ENSEMBLE, Trial
from orchestrator.search import fit_trials
from orchestrator.training.images import held_for
from orchestrator.training.inference import predict_logits
from orchestrator.training.model_file import load_model

pytestmark = pytest.mark.usefixtures("ray_cluster")


def interrupted_at(trial_id):
    def run_trial(assignment, data):
        if assignment.trial.id == trial_id:
            raise KeyboardInterrupt
        fit(assignment, data)

    fit = fit_trials.run_trial
    return run_trial


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A search that was interrupted in its fourth trial, and gone on with.

    Its network sees each face at two sizes, and mirrored.
    """
    folder = tmp_path_factory.mktemp("heads")
    data, out = synthetic(folder / "data"), folder / "run"
    torch.manual_seed(0)
    torch.save(resnet18().state_dict(), folder / "resnet18.pth")
    network = ["model.name=resnet18", f"model.weights={folder / 'resnet18.pth'}"]
    settings = [
        "--set",
        *network,
        "model.image_size=[32,48]",
        "model.mirror=true",
        "sweep.confirm_folds=2",
        "train.precision=fp32",
    ]
    words = ["sweep", "--data", data, "--out", out, "--space", "heads", "--trials", 5]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit_trials, "run_trial", interrupted_at("t003"))
        assert main([str(word) for word in [*words, "--finalists", 1, *settings]]) == 130
    assert [trial.id for trial in Run.open(str(out)).complete()] == ["t000", "t001", "t002"]
    assert main(["sweep", "--out", str(out), "--resume"]) == 0
    return Run.open(str(out))


def test_all_trials_end_and_what_won_is_retrained(run):
    ended = run.ended()
    assert [trial.id for trial in ended] == [f"t00{number}" for number in range(5)]
    assert {trial.result.state for trial in ended} == {"complete"}
    optimisers = [trial.result.config.train.optimiser for trial in ended]
    assert optimisers == ["lbfgs", "adam", "lbfgs", "lbfgs", "lbfgs"]  # the second is the recipe
    assert (run.path / "report.html").exists()
    assert list(run.confirm_path.glob("t00*/*-fold1of2/result.json"))


def test_the_search_goes_by_figures_of_all_folds(run):
    evaluated = {one.id: one for one in evaluate(run)}
    assert evaluated["t001"].out_of_fold is None
    for name in ("t000", "t002", "t003", "t004"):
        row = run.trial(name).metrics.iloc[0]
        assert score_rank(evaluated[name]) == (-row["fair"], row["gap"], name)


def test_the_backbone_is_kept_once_and_found_by_all_networks(run):
    (backbone,) = (run.path / "backbones").iterdir()
    test = run.open_data().load("test")
    models = [*run.path.glob("trials/t00[0234]/model.safetensors")]
    models += run.path.glob("confirm/t000/*/model.safetensors")
    assert len(models) == 6
    for file in models:
        assert file.stat().st_size < backbone.stat().st_size / 100
        predicted = Trial(file.parent).predicted()["test"]
        images = held_for(test.images[np.argsort(test.filename)], torch.device("cpu"))
        logit = predict_logits(load_model(file).network, images, len(test))
        # Features are kept in float16.
        np.testing.assert_allclose(logit, predicted.logit, rtol=2e-3, atol=0.02)


def test_the_heads_of_all_folds_are_one_that_says_the_mean_of_theirs(run, tmp_path):
    (trial,) = run.ensembles()
    folder = run.confirm_path / trial.id.removesuffix(ENSEMBLE)
    members = [folder / member for member in trial.result.members]
    files = [path / "model.safetensors" for path in (*members, trial.path)]
    assert len(members) == 2
    assert files[-1].stat().st_size < 100_000  # the backbone is the run's
    test = run.open_data().load("test")
    images = held_for(test.images, torch.device("cpu"))
    networks = [load_model(file).network for file in files]
    *each, together = [predict_logits(network, images, len(test)) for network in networks]
    assert np.ptp(each[0] - each[1]) > 0.01
    np.testing.assert_allclose(together, np.mean(each, axis=0), rtol=1e-4, atol=1e-4)
    words = ["--run", str(run.path), "--out"]
    data, out = ["--images", run.data["path"], "--split", "test"], tmp_path / "labels.parquet"
    assert main(["predict", *words, str(out), *data, "--quiet"]) == 0
    labels = pq.read_table(out).to_pandas().set_index("filename").loc[test.filename.to_pylist()]
    assert set(labels["trial"]) == {trial.id}
    np.testing.assert_allclose(labels["logit"], together, atol=1e-4)
    assert main(["export", *words, str(tmp_path / "shipped"), "--format", "onnx"]) == 0
    about = read_json(tmp_path / "shipped" / "model.json")
    assert about["trial"] == trial.id
    assert about["checks"]["onnx"]["labels_changed"] == 0
    session = onnxruntime.InferenceSession(tmp_path / "shipped" / "model.onnx")
    (probability,) = session.run(None, {"images": np.asarray(test.images)})
    np.testing.assert_allclose(probability, labels["probability"], atol=1e-4)


def test_a_model_without_its_backbone_is_told(run, tmp_path):
    file = run.path / "trials" / "t000" / "model.safetensors"
    (tmp_path / "model.safetensors").write_bytes(file.read_bytes())
    with pytest.raises(InputError, match=r"its backbone, backbones/.*, is in none of the folders"):
        load_model(tmp_path / "model.safetensors")
