"""What a network goes by: kept with the run, shown in its report, and what cannot be had."""

import json
import shutil
from importlib import util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from orchestrator.cli import main
from orchestrator.data.store.store import Store
from orchestrator.deploy.explain import explain, figures
from orchestrator.deploy.explain_figure import smoothed
from orchestrator.judging.explanation import sentences
from orchestrator.report.report import write_report
from orchestrator.run.directory import Run
from orchestrator.training.attribution import SHARES
from orchestrator.training.model_file import load_model


@pytest.fixture
def run(trained: Run, tmp_path: Path) -> Run:
    return Run(Path(shutil.copytree(trained.path, tmp_path / "run")))


def test_it_is_kept_with_the_run_and_shown_in_its_report(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "image/png" not in (run.path / "report.html").read_text(encoding="utf-8")
    assert main(["explain", "--run", str(run.path), "--faces", "3", "--quiet"]) == 0
    said = capsys.readouterr().out
    about = json.loads((run.explanations_path / "t000.json").read_text())
    assert all(sentence in said for sentence in sentences(about))
    assert about["faces"] <= 12
    for of in about["looks_at"].values():
        assert of is None or sum(of.values()) == pytest.approx(1)
    with Image.open(run.explanations_path / "t000.png") as picture:
        assert picture.width > 900
    write_report(run)
    page = (run.path / "report.html").read_text(encoding="utf-8")
    assert "img-src data:;" in page
    assert '<img src="data:image/png;base64,' in page
    assert main(["explain", "--run", str(run.path), "--faces", "0"]) == 2
    assert "--faces 0: give at least 1" in capsys.readouterr().err


def test_figures_are_those_of_the_curves(trained: Run) -> None:
    store = Store.open(trained.data["path"])
    model = load_model(trained.trial("t000").path / "model.safetensors")
    told: list[tuple[int, int]] = []
    found = explain(model, store, 4, lambda done, total: told.append((done, total)))
    assert told[-1] == (len(found.label), len(found.label))
    logits = trained.trial("t000").predicted()["test"].logit
    assert np.isin(found.logit.round(3), logits.round(3)).all()  # faces of test, in fp32
    about = figures(found, "t000")
    for label in (0, 1):
        rows = (found.logit > 0) == (label == 1)
        of = about["taken"][str(label)]
        if rows.sum() < 2:
            assert of is None
            continue
        right = 1 / (1 + np.exp(-found.taken["maps"][rows] * (1 if label else -1)))
        other = 1 / (1 + np.exp(-found.taken["random"][rows] * (1 if label else -1)))
        np.testing.assert_allclose(of["maps"], right.mean(axis=0), rtol=1e-5)
        areas = [np.trapezoid(each, SHARES) for each in (other, right)]
        assert of["area"] == pytest.approx((areas[0] - areas[1]).mean(), abs=1e-6)
        assert of["area_ci95"][0] <= of["area"] <= of["area_ci95"][1]


def test_what_cannot_be_explained_is_one_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["explain", "--run", str(run.path)]
    with monkeypatch.context() as without:
        without.setattr(util, "find_spec", lambda _name: None)
        without.setattr("orchestrator.cli.explain.find_spec", lambda _name: None)
        assert main(words) == 2
    assert capsys.readouterr().err == (
        "fairfront: explain: needs a package; pip install 'fairfront[explain]'\n"
    )
    recorded = run.path / "config.yaml"
    recorded.write_text(recorded.read_text().replace(run.data["path"], "/nowhere"))
    assert main(words) == 2
    assert "/nowhere: not here, or another data set now" in capsys.readouterr().err
    assert not run.explanations_path.exists()


def test_a_map_is_averaged_over_squares() -> None:
    of = np.zeros((9, 9))
    of[4, 4] = 25
    found = smoothed(of)
    assert found.shape == (9, 9)
    assert found[2:7, 2:7] == pytest.approx(1)
    assert found.sum() == pytest.approx(25)
