"""The main job on one small cluster: sweep, resume, report, predict, train."""

import json
import shutil
from contextlib import contextmanager

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from preparing import synthetic

from orchestrator.base.files import read_json
from orchestrator.cli import main
from orchestrator.data.store.store import Store
from orchestrator.run.directory import Run

pytestmark = [
    pytest.mark.usefixtures("ray_cluster"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

QUICK = ("--epochs", "2", "--set", "train.precision=fp32", "train.batch_size=16")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("job")


@pytest.fixture(scope="module")
def data(folder):
    return synthetic(folder / "data")


def sweep(data, out, *more):
    words = ["sweep", "--data", data, "--out", out, "--concurrent", "1", "--finalists", "0"]
    words += [*QUICK, *more]
    return main([str(word) for word in words])


@pytest.fixture(scope="module")
def run(folder, data):
    """A sweep of four trials."""
    assert sweep(data, folder / "run", "--trials", "4") == 0
    return Run.open(str(folder / "run"))


def study_of(path):
    backend = JournalFileBackend(str(path / "optuna.journal"))
    return optuna.load_study(study_name=None, storage=JournalStorage(backend))


def results(run):
    table = pd.read_csv(run.path / "trials.csv")
    return table.drop(columns=["seconds", "images_per_second"])


def test_a_sweep_leaves_every_file_of_the_contract(run):
    files = {path.name for path in run.path.iterdir()}
    assert files >= {
        "config.yaml", "trials.csv", "pareto.csv", "summary.json", "report.html", "pareto.png",
        "optuna.journal", "progress.json", "trials", "sessions.jsonl",
    }  # fmt: skip
    assert run.sessions[0]["command"].startswith("fairfront sweep --data ")
    for trial in run.complete():
        names = {path.name for path in trial.path.iterdir()}
        assert names >= {"params.json", "metrics.csv", "model.safetensors", "predictions.parquet"}
        assert any("tfevents" in name for name in names)


def test_the_baselines_come_first_and_are_what_they_are_called(run):
    table = results(run)
    assert table["trial_id"].tolist() == ["t000", "t001", "t002", "t003"]
    assert table["recipe"].tolist() == ["plain", "reference", "default", "default"]
    plain, reference, *searched = (trial.result.config for trial in run.complete())
    assert plain.loss.gamma == 0
    assert reference.train.patience == 1
    assert (reference.balance.weight_women, reference.balance.weight_men) == (1.0, 0.1)
    assert all(config.recipe == "default" for config in searched)
    assert searched[0] != searched[1]


def test_the_study_was_told_the_kept_epochs_fair(run):
    study = study_of(run.path)
    kept = []
    for trial in run.complete():
        epochs = trial.metrics.set_index("epoch")
        kept.append(epochs.loc[trial.result.kept_epoch, "fair"])
    assert study.get_trials()[0].user_attrs["recipe"] == "plain"
    assert [trial.value for trial in study.get_trials()] == pytest.approx(kept)
    assert [t.params for t in study.get_trials()] == [trial.params for trial in run.complete()]


def test_predictions_hold_every_row_of_val_and_test_once(run, data):
    store = Store.open(str(data))
    for trial in run.complete():
        for split, rows in trial.predictions.groupby("split"):
            arrays = store.load(split)
            assert rows["filename"].tolist() == arrays.filename.tolist()
            np.testing.assert_array_equal(rows["label"], arrays.label)


def test_the_same_seed_gives_the_same_trials_again(run, folder, data):
    assert sweep(data, folder / "again", "--trials", "4") == 0
    again = Run.open(str(folder / "again"))
    pd.testing.assert_frame_equal(results(run), results(again))
    for trial in run.complete():
        for file in ("model.safetensors", "predictions.parquet"):
            assert (again.trial(trial.id).path / file).read_bytes() == (
                trial.path / file
            ).read_bytes()


def test_resume_extends_a_sweep_and_leaves_what_was_done(run, folder, capfd, monkeypatch):
    assert not (run.path / "submitted.json").exists()  # it was no job; the next is
    monkeypatch.setenv("FAIRFRONT_SUBMITTED", '{"command": ["sweep"]}')
    monkeypatch.setenv("FAIRFRONT_TRACK", "mlflow:http://me:s3cret@host")
    told = []

    @contextmanager
    def tracked(run, destinations, say):
        told.append([str(one) for one in destinations])
        say("it is away")
        try:
            yield
        finally:
            told.append((run.path / "report.html").exists())
            say("it was away")

    monkeypatch.setattr("orchestrator.cli.runs.tracked", tracked)
    copy = folder / "extended"
    shutil.copytree(run.path, copy)
    study_of(copy).ask()  # as a kill leaves it: a trial begun, and never told
    (copy / "report.html").unlink()
    capfd.readouterr()
    assert main(["sweep", "--out", str(copy), "--resume", "--trials", "6"]) == 0
    assert told == [["mlflow:http://host"], True]
    out, err = capfd.readouterr()
    assert "it is away\n" in out
    assert "fairfront: it was away\n" in err
    extended = Run.open(str(copy))
    assert read_json(copy / "submitted.json")["command"] == ["sweep"]
    assert [trial.id for trial in extended.complete()] == [f"t{n:03}" for n in range(6)]
    assert [trial.state.name for trial in study_of(copy).get_trials()] == ["COMPLETE"] * 6
    for trial in run.complete():
        for file in ("result.json", "metrics.csv", "predictions.parquet"):
            assert (copy / "trials" / trial.id / file).read_bytes() == (
                trial.path / file
            ).read_bytes()
    assert extended.config.sweep.trials == 6
    capfd.readouterr()
    assert main(["sweep", "--out", str(copy), "--resume", "--trials", "2"]) == 2
    assert "more" in capfd.readouterr().err


def test_a_run_is_never_overwritten_and_a_model_is_checked_first(run, folder, data, capfd):
    before = (run.path / "summary.json").read_bytes()
    assert sweep(data, run.path) == 2
    assert "a run exists already" in capfd.readouterr().err
    assert (run.path / "summary.json").read_bytes() == before
    assert sweep(data, folder / "none", "--set", "model.name=vgg") == 2
    assert "vgg" in capfd.readouterr().err
    assert not (folder / "none").exists()


def test_another_data_set_cannot_resume_a_run(run, folder, capfd):
    other = synthetic(folder / "other", faces=80)
    assert main(["sweep", "--data", str(other), "--out", str(run.path), "--resume"]) == 2
    assert "not the data" in capfd.readouterr().err


def test_a_trial_that_diverges_is_recorded_and_the_sweep_goes_on(folder, data, tmp_path):
    space = tmp_path / "space.py"
    space.write_text(
        "def suggest(trial):\n    return {'train.lr': [2e-3, 1e30][trial.number % 2]}\n"
    )
    assert sweep(data, folder / "failing", "--trials", "4", "--space", space) == 0
    failing = Run.open(str(folder / "failing"))
    states = [trial.result.state for trial in failing.ended()]
    assert states == ["complete", "complete", "complete", "failed"]
    assert "train.lr=1e+30" in failing.ended()[3].result.reason
    summary = json.loads((failing.path / "summary.json").read_text())
    assert summary["trials"] == {"complete": 3, "failed": 1, "pruned": 0, "unfinished": 0}


def test_predict_labels_as_the_trial_did(run, data, folder, capfd):
    faces = folder / "faces"
    shutil.copytree(data / "faces" / "images", faces / "images")
    (faces / "images" / "000001.jpg").write_bytes(b"no image")
    out = folder / "predictions.csv"
    words = ["predict", "--run", run.path, "--images", faces, "--out", out, "--proba"]
    assert main([str(word) for word in words]) == 1
    assert "1 could not be read, with no label: images/000001.jpg (" in capfd.readouterr().err
    predicted = pd.read_csv(out).set_index("filename")
    assert len(predicted) == 120
    assert predicted.loc["images/000001.jpg"].isna().all()
    best = json.loads((run.path / "summary.json").read_text())["best"]["trial_id"]
    trained = (
        run.trial(best).predictions.set_index("filename").drop("images/000001.jpg", errors="ignore")
    )
    both = trained.join(predicted.add_suffix("_predicted"))
    probability = 1 / (1 + np.exp(-both["logit"].astype(float)))
    np.testing.assert_allclose(both["probability_predicted"], probability, atol=1e-5)
    np.testing.assert_array_equal(both["label_predicted"], np.where(probability > 0.5, 1, -1))
    capfd.readouterr()
    assert main([str(word) for word in words]) == 2
    assert "exists already" in capfd.readouterr().err


def test_predict_labels_faces_that_are_prepared(run, data, folder):
    out = folder / "prepared.csv"
    words = ["predict", "--run", run.path, "--images", data, "--split", "val", "--out", out]
    assert main([str(word) for word in (*words, "--proba", "--keep-columns")]) == 0
    predicted = pd.read_csv(out).set_index("filename")
    best = json.loads((run.path / "summary.json").read_text())["best"]["trial_id"]
    trained = run.trial(best).predictions.query("split == 'val'").set_index("filename")
    assert sorted(predicted.index) == sorted(trained.index)
    trained = trained.loc[predicted.index]
    probability = 1 / (1 + np.exp(-trained["logit"].astype(float)))
    np.testing.assert_allclose(predicted["probability"], probability, atol=1e-5)
    np.testing.assert_array_equal(predicted["class"], trained["label"])
    np.testing.assert_array_equal(predicted["gender"], trained["gender"])


def test_predict_refuses_a_file_that_is_no_model(run, folder, capfd):
    copy = folder / "damaged"
    shutil.copytree(run.path, copy)
    faces = folder / "faces"
    faces.mkdir(exist_ok=True)
    (faces / "any.jpg").write_bytes(b"")
    (copy / "trials" / "t002" / "model.safetensors").write_bytes(b"damaged")
    words = ["predict", "--run", copy, "--trial", "t002", "--images", faces, "--out", folder / "p"]
    assert main([str(word) for word in words]) == 2
    assert "model.safetensors: not a model that fairfront wrote" in capfd.readouterr().err
    assert not (folder / "p").exists()


def test_resident_and_streamed_data_give_the_same_model(folder, data, capfd, monkeypatch):
    monkeypatch.setenv("FAIRFRONT_SUBMITTED", '{"command": ["train"]}')
    models = []
    for residence, said in (("resident", "data: resident"), ("stream", "data: streamed from disk")):
        out = folder / residence
        words = ["train", "--data", data, "--out", out, *QUICK, f"data.residence={residence}"]
        words += ["data.folds=3", "data.fold=1", "balance.policy=undersample"]
        assert main([str(word) for word in words]) == 0
        assert read_json(out / "submitted.json")["command"] == ["train"]
        printed = capfd.readouterr().out
        assert said in printed
        assert "balance undersample over gender: " in printed
        trial = Run.open(str(out)).trial("default")
        models.append((trial.path / "model.safetensors").read_bytes())
        images = trial.result.config.data
        assert (images.folds, images.fold) == (3, 1)
    assert models[0] == models[1]
