"""A network on other faces: figures as fairlearn and scikit-learn have them, and what shifted."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fairlearn.metrics import MetricFrame, false_positive_rate, selection_rate, true_positive_rate
from PIL import Image, ImageStat
from preparing import synthetic
from scipy.special import expit
from sklearn.metrics import accuracy_score, roc_auc_score

from orchestrator.base.files import read_json, remove_tree
from orchestrator.cli import main
from orchestrator.data.store.store import Store
from orchestrator.judging.appearance import appearance
from orchestrator.report.report import write_report
from orchestrator.run.directory import Run


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Other faces, prepared likewise."""
    return synthetic(tmp_path_factory.mktemp("faces") / "other", faces=150)


@pytest.fixture(autouse=True)
def none_kept(trained: Run) -> Any:
    yield
    remove_tree(trained.evaluations_path)


def evaluate(run: Run, data: Path, *words: str) -> int:
    return main(["evaluate", "--run", str(run.path), "--data", str(data), "--quiet", *words])


def test_figures_are_those_of_fairlearn_and_scikit_learn(
    trained: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    data = Path(trained.data["path"])
    rows = trained.trial("t000").predictions.query("split == 'test'")
    threshold = f"{expit(rows['logit'].median()):.9f}"  # a network of one epoch labels nobody 1
    assert evaluate(trained, data, "--threshold", threshold) == 0
    said = capsys.readouterr().out
    assert f"{data} is what this run was trained on: its" in said
    assert "Trial t000 at threshold" in said
    found = read_json(trained.evaluations_path / f"data-test-t000-{threshold}.json")
    predicted = (expit(rows["logit"].astype(float)) > float(threshold)).astype(int)
    frame = MetricFrame(
        metrics={
            "acc": accuracy_score,
            "tpr": true_positive_rate,
            "fpr": false_positive_rate,
            "selection_rate": selection_rate,
        },
        y_true=rows["label"],
        y_pred=predicted,
        sensitive_features=rows["gender"],
    )
    for who, gender in (("women", -1), ("men", 1)):
        expected, of = frame.by_group.loc[gender], found["rates"][who]
        assert found[f"acc_{who}"] == pytest.approx(expected["acc"])
        for rate in ("tpr", "fpr", "selection_rate"):
            assert of[rate] == pytest.approx(expected[rate])
            assert of[f"{rate}_ci95"][0] <= of[rate] <= of[f"{rate}_ci95"][1]
        group = rows[rows["gender"] == gender]
        assert of["auc"] == pytest.approx(roc_auc_score(group["label"], group["logit"]))
    assert found["gap"] == pytest.approx(frame.difference()["acc"])
    assert found["accuracy"] == pytest.approx(frame.overall["acc"])
    assert found["own_data"]
    assert found["faces"] == len(rows)
    assert evaluate(trained, data) == 0
    at_half = read_json(trained.evaluations_path / "data-test-t000.json")
    summary = read_json(trained.path / "summary.json")["best"]["test"]
    for name, value in summary.items():
        assert at_half[name] == (value if name == "rates" else pytest.approx(value))


def test_other_faces_prepared_or_not(
    trained: Run, other: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A data set, and the table that it was made of, give the same."""
    assert evaluate(trained, other, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["faces"] == 150
    assert not found["own_data"]
    assert read_json(trained.evaluations_path / "other-t000.json") == found
    rows = pd.DataFrame(
        [line.split(",") for line in (other / "faces" / "manifest.csv").read_text().split()]
    )
    assert len(rows) == 151
    assert evaluate(trained, other / "faces" / "manifest.csv", "--name", "table", "--json") == 0
    again = json.loads(capsys.readouterr().out)
    for name in ("acc_women", "acc_men", "gap", "fair", "n_women"):
        assert again[name] == pytest.approx(found[name])
    words = ["--threshold", "shared", "--split", "val"]
    assert evaluate(trained, other, *words, "--name", "table") == 2
    assert "another evaluation, of" in capsys.readouterr().err


def test_looks_and_faces_trained_on_are_said(
    trained: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    data = Path(trained.data["path"])
    assert evaluate(trained, data, "--split", "all") == 0
    assert "the network was trained on and chosen by these faces" in capsys.readouterr().out
    assert evaluate(trained, data, "--split", "all", "--threshold", "0.3") == 0
    assert "looked at for 1 other choice of trial and threshold" in capsys.readouterr().out
    table = data / "faces" / "manifest.csv"
    assert evaluate(trained, table) == 0
    assert "faces have the names of faces that the network was trained" in capsys.readouterr().out


def test_an_ensemble_was_trained_on_train_and_val(
    together: Run, other: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = Path(together.data["path"])
    assert evaluate(together, data, "--split", "val") == 0
    assert "the network was trained on these faces" in capsys.readouterr().out
    assert evaluate(together, data / "faces" / "manifest.csv") == 0
    counts = together.data["counts"]
    seen = sum(counts[split][who][c] for split in ("train", "val") for who in ("women", "men")
               for c in ("0", "1"))  # fmt: skip
    assert f"{seen} of the 200 faces have the names of" in capsys.readouterr().out
    assert drift(together, other / "faces" / "images", "--json") in (0, 3)
    test = together.trial("t000-ensemble").predicted()["test"].logit
    positives = json.loads(capsys.readouterr().out)["positives"]
    assert positives["test"] == pytest.approx((test > 0).mean())


def test_shares_that_differ_are_told_from_chance(
    trained: Run, other: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(trained, other, "--shift", "--json") == 0
    same = json.loads(capsys.readouterr().out)["shift"]
    assert {"women", "class 1", "class 1 among women"} <= {one["name"] for one in same}
    assert not any(one["differs"] for one in same)
    manifest = pd.read_csv(other / "faces" / "manifest.csv")
    women = manifest[manifest["gender"] == -1]
    some = pd.concat([women, manifest[manifest["gender"] == 1].head(4)])
    some.to_csv(other / "faces" / "women.csv", index=False)
    assert evaluate(trained, other / "faces" / "women.csv", "--shift") == 0
    said = capsys.readouterr().out
    assert "differ from those of the faces it was trained on, beyond what chance" in said
    found = read_json(trained.evaluations_path / "women.csv-t000.json")["shift"]
    assert found[0]["name"] == "women"
    assert found[0]["differs"]


def test_what_cannot_be_evaluated_is_one_line(
    trained: Run, other: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, said in (
        ((trained.path / "config.yaml",), "no source of faces"),
        ((other, "--images", str(other)), "is a prepared data set; leave --images out"),
        ((other, "--name", "a/b"), "--name a/b: give a name without /"),
        (("synthetic:20",), "has no images yet; prepare it first"),
        ((other / "faces" / "manifest.csv", "--split", "val"), "has no splits"),
    ):
        assert evaluate(trained, *words) == 2  # type: ignore[arg-type]
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1


def drift(run: Run, images: Path, *words: str) -> int:
    return main(["drift", "--run", str(run.path), "--images", str(images), "--quiet", *words])


def test_faces_of_the_same_kind_do_not_drift_and_darker_ones_do(
    trained: Run, other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert drift(trained, other / "faces" / "images", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert not found["drift"]
    assert found["images"] == 150
    assert found["positives"]["val"] < found["positives"]["new_ci95"][1]
    (tmp_path / "dark").mkdir()
    for file in (other / "faces" / "images").iterdir():
        dark = Image.open(file).point(lambda value: value // 3)
        dark.save(tmp_path / "dark" / file.name)
    assert drift(trained, tmp_path / "dark") == 3
    said = capsys.readouterr().out
    assert said.startswith("Drift: ")
    assert "brightness" in said
    assert said.count("\n") == 1


def test_few_images_say_nothing(
    trained: Run, other: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = next((other / "faces" / "images").iterdir())
    assert drift(trained, one) == 2
    assert "1 images could be read, and of fewer than 100" in capsys.readouterr().err


def test_appearance_is_pillows() -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3), dtype=np.uint8)
    grey = ImageStat.Stat(Image.fromarray(image[0]).convert("L"))
    brightness, contrast, _ = appearance(image)[0]
    assert brightness == pytest.approx(grey.mean[0] / 255, abs=0.003)
    assert contrast == pytest.approx(grey.stddev[0] / 255, abs=0.003)
    flat = np.full((1, 16, 16, 3), 77, np.uint8)
    assert appearance(flat)[0] == pytest.approx([77 / 255, 0, 0], abs=1e-6)


def test_the_report_says_where_it_fails_and_what_other_faces_said(
    trained: Run, other: Path, tmp_path: Path
) -> None:
    run = Run(shutil.copytree(trained.path, tmp_path / "run"))
    assert evaluate(run, other, "--name", "<other>") == 0
    summary = write_report(run)
    known = Store.open(run.data["path"]).attributes()
    assert known is not None
    test = run.trial("t000").predictions.query("split == 'test'").set_index("filename")
    right = (test["logit"] > 0) == (test["label"] == 1)
    cells = 0
    for gender in (-1, 1):
        group = test.index[test["gender"] == gender]
        for name in known:
            has = known.loc[group, name]
            cells += min(has.sum(), (~has).sum()) >= 20
    assert summary["failures"]["looked_at"] == cells
    for one in summary["failures"]["found"]:
        group = test.index[test["gender"] == (-1 if one["gender"] == "women" else 1)]
        has = known.loc[group, one["attribute"]]
        assert one["accuracy"] == right[group][has].mean()
    names = [one["name"] for one in summary["evaluations"]]
    assert "<other>" in names
    page = (run.path / "report.html").read_text(encoding="utf-8")
    assert "&lt;other&gt;" in page
    assert "<other>" not in page
    assert f"Of {cells} groups of an attribute and a gender" in page


def test_where_it_fails_is_not_said_where_the_faces_are_not_there(
    trained: Run, tmp_path: Path
) -> None:
    run = Run(shutil.copytree(trained.path, tmp_path / "run"))
    recorded = run.path / "config.yaml"
    recorded.write_text(recorded.read_text().replace(trained.data["path"], "/nowhere/data"))
    assert write_report(Run(run.path))["failures"] is None
    page = (run.path / "report.html").read_text(encoding="utf-8")
    assert "is not at hand" in page
