"""A whole sweep: stopped trials, retrainings, limits, and who may work on it; on one cluster."""

import json

import numpy as np
import pytest
import torch
from optuna.trial import FixedTrial
from preparing import synthetic

from orchestrator.base.locks import held
from orchestrator.cli import main
from orchestrator.config.layers import resolve
from orchestrator.data.store.store import Store
from orchestrator.run.directory import Run, about_data
from orchestrator.search.sweep import Outcome, Sweep
from orchestrator.training.model_file import load_model

pytestmark = [
    pytest.mark.usefixtures("ray_cluster"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("sweeps")


@pytest.fixture(scope="module")
def data(folder):
    return synthetic(folder / "data")


def sweep(data, out, *more):
    finalists = [] if "--finalists" in more else ["--finalists", "0"]
    words = ["sweep", "--data", data, "--out", out, *finalists, *more]
    words += ["train.precision=fp32"] if "--set" in more else []
    return main([str(word) for word in words])


@pytest.fixture(scope="module")
def run(folder, data):
    """A search that stops trials early, and retrains what won."""
    space = folder / "space.py"
    space.write_text(
        "def suggest(trial):\n"
        "    rate = trial.suggest_float('lr', 1e-5, 1e-3, log=True)\n"
        "    rate = rate if trial.number < 4 else 1e-9 * trial.number\n"
        "    return {'train.lr': rate, 'loss.gamma': 1.0}\n"
    )
    words = ["--epochs", "4", "--trials", "9", "--finalists", "1"]
    more = ["--space", space, "--concurrent", "1", "--sampler", "random"]
    settings = ["sweep.grace=1", "sweep.confirm_folds=2", "train.monitor=val_loss"]
    assert sweep(data, folder / "run", *words, *more, "--set", *settings) == 0
    return Run.open(str(folder / "run"))


def test_trials_that_are_dominated_are_stopped_and_never_on_the_front(run):
    states = {trial.id: trial.result.state for trial in run.ended()}
    pruned = {name for name, state in states.items() if state == "pruned"}
    assert pruned
    assert pruned <= {f"t{n:03}" for n in range(2, 9)}  # the baselines are never stopped
    for name in pruned:
        trial = run.trial(name)
        assert trial.result.reason.startswith(f"stopped at epoch {trial.result.epochs}: ")
        assert len(trial.metrics) == trial.result.epochs < 4
        assert not (trial.path / "model.safetensors").exists()
        assert not (trial.path / "checkpoint.pt").exists()
    summary = json.loads((run.path / "summary.json").read_text())
    assert not pruned & {entry["trial_id"] for entry in summary["pareto"]}
    assert summary["trials"]["pruned"] == len(pruned)


def test_the_finalists_were_retrained_on_every_fold(run):
    summary = json.loads((run.path / "summary.json").read_text())
    confirmed = summary["confirmed"]
    (searched,) = confirmed["trials"].keys() - {"t000", "t001"}
    best = confirmed["best"]
    assert best == summary["best"]["trial_id"]
    assert summary["verdict"]["trial_id"] == f"{best}-ensemble"
    (kept,) = run.ensembles()
    assert kept.result.members == [f"{best}-seed1-fold{n}of2" for n in (0, 1)]
    model = load_model(kept.path / "model.safetensors")
    faces = Store.open(run.data["path"]).load("test")
    expected = kept.predicted()["test"].logit
    images = torch.from_numpy(faces.images[np.argsort(faces.filename.to_pylist())])
    pixels = images.permute(0, 3, 1, 2) / 255
    with torch.inference_mode():
        np.testing.assert_allclose(model.network(pixels), expected, atol=1e-4)
    assert {path.name for path in (run.path / "confirm").iterdir()} == confirmed["trials"].keys()
    for name in ("t000", searched, "t001"):
        results = [
            json.loads((again / "result.json").read_text())
            for again in sorted((run.path / "confirm" / name).iterdir())
        ]
        assert {result["state"] for result in results} == {"complete"}
        assert all(result["config"]["seed"] == 1 for result in results)
        folds = [result["config"]["data"]["fold"] for result in results]
        assert folds == ([0] if name in confirmed["out"] else [0, 1])
    faces = run.data["counts"]
    judged = sum(faces[split][who][c] for split in ("train", "val") for who in ("women", "men")
                 for c in ("0", "1"))  # fmt: skip
    plain = confirmed["trials"]["t000"]["val"]
    assert plain["n_women"] + plain["n_men"] == judged
    assert summary["wall_search_seconds"] < summary["wall_seconds"]


def test_a_resume_finds_all_done_and_changes_nothing(run):
    before = {p: p.read_bytes() for p in run.path.glob("*/*/**/result.json")}
    assert main(["sweep", "--out", str(run.path), "--resume"]) == 0
    assert {p: p.read_bytes() for p in run.path.glob("*/*/**/result.json")} == before


def test_another_process_is_kept_off_a_run(run, capfd):
    before = (run.path / "config.yaml").read_bytes()
    with held(run.path / ".run.lock"):
        assert main(["sweep", "--out", str(run.path), "--resume", "--trials", "99"]) == 2
    assert (run.path / "config.yaml").read_bytes() == before
    assert "another fairfront is at work on this run" in capfd.readouterr().err


def test_a_sweep_that_has_had_enough_is_confirmed_and_goes_on_with_more(folder, data, capfd):
    """Of time, and of epochs; with its study in a database."""
    out, url = folder / "enough", f"sqlite:///{folder}/study.db"
    words = ["--trials", "9", "--epochs", "1", "--concurrent", "1", "--sampler", "random"]
    words += ["--study-storage", url, "--finalists", "1", "--hours", "0.0001"]
    settings = ["sweep.epoch_budget=1", "sweep.confirm_folds=null"]
    assert sweep(data, out, *words, "--set", *settings) == 1  # not even one trial
    said = capfd.readouterr().err
    assert "0.0001 hours are over, and 9 trials left; a larger --hours goes on" in said
    assert not (out / "optuna.journal").exists()
    resume = ["sweep", "--out", str(out), "--resume"]
    assert main([*resume, "--hours", "2"]) == 2
    assert "give that with --study-storage" in capfd.readouterr().err
    resume += ["--study-storage", url]
    assert main([*resume, "--hours", "2"]) == 0
    said = capfd.readouterr().err
    assert "no more trials: epochs trained: " in said
    assert "--resume with --set and a larger one goes on" in said
    retrained = out / "confirm" / "t000" / "t000-seed1" / "result.json"
    assert retrained.exists()
    ended = len(Run.open(str(out)).ended()) + 1
    more = ["--finalists", "0", "--set", f"sweep.epoch_budget={ended}"]
    assert main([*resume, *more]) == 0
    assert [trial.id for trial in Run.open(str(out)).complete()] == [
        f"t{number:03}" for number in range(ended)
    ]
    # The search has ended, of which one session retrains what won.
    retrained.unlink()
    more = ["--finalists", "1", "--hours", "0.0001", "--set", "sweep.epoch_budget=99"]
    with held(out / ".confirm.lock"):
        assert main([*resume, *more]) == 0
    assert "another session retrains what won" in capfd.readouterr().err
    assert not retrained.exists()
    assert main([*resume, *more]) == 0
    assert f"0.0001 hours are over, and {9 - ended} trials left" in capfd.readouterr().err
    assert len(Run.open(str(out)).ended()) == ended
    assert retrained.exists()


class Interrupted:
    """Trials of a sweep that had enough, of which one was interrupted."""

    remaining, elsewhere, interrupted, enough, faults = 5, 0, 1, "10 trials failed", {}


def test_a_sweep_interrupted_in_its_last_trials_is_not_at_its_end():
    session = Sweep(None, resolve(), None, None, None, [])
    assert session._outcome(Interrupted(), 1.0) == Outcome(done=False)
    ended = Interrupted()
    ended.interrupted = 0
    assert session._outcome(ended, 1.0).searched
    ended.faults = {"t003": "/run: Stale file handle"}
    left = session._outcome(ended, 1.0)
    assert (left.done, left.faulted, left.searched) == (True, True, False)
    assert left.why.startswith("the machine failed t003, which counts as not ended: /run: Stale")
    ended.interrupted = 1
    assert session._outcome(ended, 1.0) == Outcome(done=False)


def test_a_space_of_ones_own_stays_what_it_was(run, folder):
    file = folder / "space.py"
    written = file.read_text()
    assert (run.path / "space.py").read_text() == written
    file.write_text("def suggest(trial):\n    return {}\n")
    try:
        again = Sweep.open(run, run.config, None, None, [])
    finally:
        file.write_text(written)
    (said,) = again.words
    assert f"{file}: edited since the run began, which goes on with its own copy" in said
    assert Sweep.open(run, run.config, None, None, []).words == []
    assert again.space.suggest(FixedTrial({"lr": 1e-4}))["train.lr"] == 1e-4


def test_a_warm_start_says_what_it_took_in(run, folder, data, capfd):
    out, space = folder / "warm", folder / "space.py"
    words = ["--trials", "2", "--epochs", "4", "--space", space, "--warm-start", run.path]
    words += ["--concurrent", "1", "--objective", "pareto"]
    assert sweep(data, out, *words, "--set", "train.monitor=val_loss") == 0
    assert "trials of" in capfd.readouterr().out
    warm = Run.open(str(out))
    assert len(warm.complete()) == 2
    (out / "optuna.journal").unlink()
    words = Sweep.open(warm, warm.config, None, None, []).words
    assert ["lacked 2 trials" in words[0], words[1][:10]] == [True, "warm start"]
    assert sweep(data, folder / "cold", "--trials", "2", "--warm-start", folder / "none") == 2
    assert "no run here" in capfd.readouterr().err
    assert not (folder / "cold").exists()


def test_what_the_machine_failed_of_is_left_and_gone_on_with(folder, data, capfd):
    settings = ["train.epochs=1", "train.max_failures=1", "train.precision=fp32"]
    settings += ["sweep.trials=3", "sweep.concurrent=1", "sweep.finalists=0"]
    out = folder / "faults"
    Run.create(str(out), resolve(settings=settings), about_data(Store.open(str(data))))
    in_the_way = out / "trials" / "t001" / "starts.txt"  # a file that no worker can open
    in_the_way.mkdir(parents=True)
    more = ["sweep", "--out", str(out), "--resume"]
    assert main(more) == 1
    said = capfd.readouterr()
    fault = f"{in_the_way}: Is a directory"
    assert f"t001: {fault}; it goes on from its checkpoint\n" in said.out
    assert f"t001: {fault}; it is left for --resume\n" in said.out
    left = f"the machine failed t001, which counts as not ended: {fault}; mend that and go on"
    assert f"fairfront: {left}" in said.err
    ended = {trial.id: trial.result.state for trial in Run.open(str(out)).ended()}
    assert ended == dict.fromkeys(("t000", "t002"), "complete")
    in_the_way.rmdir()
    assert main(more) == 0
    assert len(Run.open(str(out)).complete()) == 3
    assert Run.open(str(out)).trial("t001").starts == 1
