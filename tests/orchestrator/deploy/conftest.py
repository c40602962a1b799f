"""A small trained run."""

import pytest
from preparing import synthetic

from orchestrator.config.layers import resolve
from orchestrator.data.loading import load
from orchestrator.data.store.store import Store
from orchestrator.report.report import write_report
from orchestrator.run.directory import Run, about_data
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
