"""What is written for Weights & Biases, by their package where it is installed."""

import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fakes import SWEEP, make_run

from orchestrator.base.errors import InputError
from orchestrator.base.files import parse_uri
from orchestrator.run.directory import Run
from orchestrator.tracking.destination import Destination, track
from orchestrator.tracking.wandb_tracker import send

PROJECT = Destination("wandb", "faces")


class StandIn(ModuleType):
    """Their package, as far as it is used: an offline run is a folder that ends with its id."""

    Settings = dict

    def __init__(self) -> None:
        super().__init__("wandb")
        self.runs: list[StandInRun] = []

    def init(self, **settings: Any) -> "StandInRun":
        self.runs.append(StandInRun(len(self.runs), settings))
        return self.runs[-1]


class StandInRun:
    def __init__(self, number: int, settings: dict[str, Any]) -> None:
        folder = f"{settings['dir']}/wandb/offline-run-{number}-{settings['id']}"
        self.settings, self.dir = settings, f"{folder}/files"
        Path(self.dir).mkdir(parents=True)
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.saved: list[str] = []
        self.summary: dict[str, float] = {}
        self.exit_code: int | None = None

    def log(self, figures: dict[str, float], step: int) -> None:
        self.logged.append((step, figures))

    def save(self, path: str, **_how: str) -> None:
        self.saved.append(Path(path).name)

    def finish(self, exit_code: int) -> None:
        self.exit_code = exit_code


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    stand_in = StandIn()
    monkeypatch.setitem(sys.modules, "wandb", stand_in)
    return stand_in


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_run(tmp_path / "run", SWEEP[:4], rows=50)


def folders(run: Run) -> list[Path]:
    return sorted(Path(str(run.path)).glob("wandb/offline-run-*"))


def test_each_run_is_written_once_and_anew_when_there_is_more_to_tell(wandb: StandIn, run: Run):
    last = run.trial("t003")
    ending = (last.path / "result.json").read_bytes()
    (last.path / "result.json").unlink()
    (run.path / "notes.json").write_text('{"tags": ["keep"], "text": "cleaned labels"}')
    told = track(Run(run.path), PROJECT)
    assert told == f"written; wandb sync {run.path}/wandb/offline-run-* sends it"
    names = [one.settings["name"] for one in wandb.runs]
    assert names == ["run", "t000", "t001", "t002", "t003"]
    assert {(one.settings["project"], one.settings["mode"]) for one in wandb.runs} == {
        ("faces", "offline")
    }
    whole, plain = wandb.runs[0], wandb.runs[1]
    assert (whole.settings["tags"], whole.settings["notes"]) == (["keep"], "cleaned labels")
    assert whole.saved == ["config.yaml"]
    assert {one.settings["group"] for one in wandb.runs} == {"run"}
    assert [step for step, _ in plain.logged] == list(range(1, 11))
    rows = run.trial("t000").metrics
    assert plain.logged[-1][1]["acc_women"] == rows["acc_women"].iloc[-1]
    assert plain.summary["kept_acc_women"] == rows["acc_women"].iloc[-1]
    assert plain.settings["config"]["about.recipe"] == "plain"
    assert wandb.runs[3].settings["config"]["loss.gamma"] == "0.71"

    before = folders(run)
    track(Run(run.path), PROJECT)
    assert len(wandb.runs) == 5
    (last.path / "result.json").write_bytes(ending)
    track(Run(run.path), PROJECT)
    (again,) = wandb.runs[5:]
    assert (again.settings["name"], again.exit_code) == ("t003", 1)
    assert again.settings["id"] == wandb.runs[4].settings["id"]
    after = folders(run)
    assert len(after) == len(before) == 5  # the one that it had is gone
    shutil.rmtree(before[0])
    track(Run(run.path), PROJECT)
    assert len(wandb.runs) == 7


def test_a_run_on_an_object_store_has_no_place_for_it(wandb: StandIn):
    with pytest.raises(InputError, match=r"memory://run: --to wandb writes into the run; copy it"):
        send(parse_uri("memory://run"), "name", "faces", [])
    assert wandb.runs == []


def test_their_package_writes_them(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    if importlib.util.find_spec("wandb") is None:
        pytest.skip("needs wandb (pip install 'fairfront[wandb]'), which is not here")
    monkeypatch.chdir(tmp_path)
    track(run, PROJECT)
    written = [path.name for path in folders(run)]
    assert [name.rpartition("-")[2] for name in written] == ["run", "t000", "t001", "t002", "t003"]
    for path in folders(run):
        assert len(list(path.glob("*.wandb"))) == 1
    track(run, PROJECT)
    assert [path.name for path in folders(run)] == written
