"""Small trained runs."""

import shutil

import pytest
from preparing import synthetic

from orchestrator.config.layers import resolve, with_overrides
from orchestrator.data.loading import load
from orchestrator.data.store.store import Store
from orchestrator.report.report import write_report
from orchestrator.run.directory import Run, about_data
from orchestrator.search.keep_ensemble import keep_ensemble
from orchestrator.search.retrain_winners import next_round
from orchestrator.training.trial import Assignment, run_trial

SMALL = [
    "train.epochs=1",
    "model.depth=2",
    "model.width=4",
    "model.hidden=8",
    "train.precision=fp32",
]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of one trained trial on 200 synthetic faces of 24x24; no test writes into it."""
    folder = tmp_path_factory.mktemp("trained")
    store = Store.open(synthetic(folder / "data", faces=200))
    config = resolve("default", settings=SMALL)
    made = Run.create(str(folder / "run"), config, about_data(store))
    run_trial(Assignment(made.trial("t000"), config, {}), load(store, config.data, "resident"))
    write_report(made)
    return made


@pytest.fixture(scope="session")
def together(trained: Run) -> Run:
    """A run like it, whose trial was retrained on two folds, which are kept as one network."""
    folder = trained.path.parent
    store = Store.open(trained.data["path"])
    folds = ["sweep.finalists=1", "sweep.confirm_folds=2"]
    config = resolve("default", settings=[*SMALL, *folds])
    made = Run.create(str(folder / "together"), config, about_data(store))
    shutil.copytree(trained.trial("t000").path, made.trial("t000").path)
    while following := next_round(made, config):
        dealt = with_overrides(config, {"data.folds": 2, "data.fold": following.fold})
        data = load(store, dealt.data, "resident")
        for assignment in following.assignments:
            run_trial(assignment, data)
    keep_ensemble(made, config)
    write_report(made)
    return made
