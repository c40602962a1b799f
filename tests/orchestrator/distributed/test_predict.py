import json
from contextlib import nullcontext
from pathlib import Path

import pandas as pd
import pytest
import torch
from fakes import SWEEP, make_run
from layouts import write_zip
from PIL import Image

import models
from orchestrator.base.errors import InputError
from orchestrator.cli import main
from orchestrator.cli import predict as command
from orchestrator.config.layers import resolve
from orchestrator.data.reading import zip_members as archives
from orchestrator.data.to_label import open_to_label
from orchestrator.distributed.predict import predict, write_predictions
from orchestrator.report.report import write_report
from orchestrator.run.directory import Run
from orchestrator.training.trial import save_model


@pytest.mark.usefixtures("ray_cluster")
def test_images_out_of_reach_are_one_line(tmp_path: Path) -> None:
    config = resolve()
    save_model(tmp_path, models.build(config.model, 80), config, 80, torch.device("cpu"))
    archive = write_zip(tmp_path / "faces.zip", {"a.jpg": b"no image"})
    path = archives.uri("a.jpg", archive)
    faces = pd.DataFrame({"filename": ["a.jpg"], "path": [path]})
    predicted = predict(tmp_path / "model.safetensors", faces)
    assert predicted["reason"].tolist() == ["not an image, or of a format that is not read"]
    archive.unlink()
    with pytest.raises(InputError) as caught:
        predict(tmp_path / "model.safetensors", faces)
    assert str(caught.value) == (f"{path}: no such file; mend that and run the same command again")


@pytest.mark.usefixtures("ray_cluster")
def test_a_name_that_is_no_utf8_is_kept(tmp_path: Path) -> None:
    config = resolve()
    save_model(tmp_path, models.build(config.model, 80), config, 80, torch.device("cpu"))
    images = tmp_path / "images"
    images.mkdir()
    (images / "a.jpg").write_bytes(b"no image")
    Image.new("RGB", (9, 9)).save(images / "Jos\udce9.png")  # a name in Latin-1
    predicted = predict(tmp_path / "model.safetensors", open_to_label(str(images)).images)
    assert predicted["filename"].tolist() == ["Jos\udce9.png", "a.jpg"]
    assert write_predictions(predicted, tmp_path / "labels.csv", proba=False) == 1
    assert b"\nJos\xe9.png," in (tmp_path / "labels.csv").read_bytes()


def test_the_threshold_is_a_half_or_the_trials_shared_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "run", SWEEP[:2], rows=600)
    for trial in run.complete():
        rows = trial.predictions
        trial.write_predictions(rows.assign(logit=rows["logit"] + 1))  # 0.5 is too low
    write_report(Run.open(str(run.path)))
    (tmp_path / "a.jpg").touch()
    used = []

    def predicted(_: Path, images: pd.DataFrame, threshold: float, _store: None) -> pd.DataFrame:
        used.append(threshold)
        return images.assign(label=1, probability=0.9, reason="")

    monkeypatch.setattr("orchestrator.distributed.predict.predict", predicted)
    monkeypatch.setattr(command, "in_ray", lambda **_: nullcontext())
    summary = json.loads((run.path / "summary.json").read_text())
    plain = summary["baselines"]["plain"]["thresholds"]["shared"]["threshold"]
    best = summary["best"]["thresholds"]["shared"]["threshold"]
    for number, (words, threshold) in enumerate(
        (
            ([], 0.5),
            (["--threshold", "shared"], best),
            (["--threshold", "shared", "--trial", "t000"], plain),
        )
    ):
        out = tmp_path / f"{number}.csv"
        options = ["--run", str(run.path), "--images", str(tmp_path), "--out", str(out)]
        assert main(["predict", *options, *words]) == 0
        assert used[-1] == threshold
        assert (f"at threshold {threshold:.4g}" in capsys.readouterr().out) == (threshold != 0.5)
    assert 0.5 not in (plain, best)


def test_images_of_which_none_can_be_read_leave_no_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "run", SWEEP[:2], rows=600)
    write_report(run)
    names = tmp_path / "faces.csv"
    names.write_text("filename\na.jpg\nb.jpg\n")
    (tmp_path / "a.jpg").touch()

    def predicted(_: Path, images: pd.DataFrame, *_others: object) -> pd.DataFrame:
        return images.assign(label=0, probability=0.5, reason="an empty file")

    monkeypatch.setattr("orchestrator.distributed.predict.predict", predicted)
    monkeypatch.setattr(command, "in_ray", lambda **_: nullcontext())
    options = ["--run", str(run.path), "--images", str(names), "--out", str(tmp_path / "out.csv")]
    assert main(["predict", *options]) == 2
    said = capsys.readouterr().err
    assert f"{names}: none of the 2 images can be read: a.jpg (an empty file), …; mend" in said
    assert said.count("\n") == 1
    assert not list(tmp_path.glob("out*"))


def test_labels_that_cannot_be_written_are_refused_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "run", SWEEP[:1], rows=600)
    write_report(run)
    (tmp_path / "a.jpg").touch()
    options = ["--run", str(run.path), "--images", str(tmp_path), "--out", "/proc/labels.csv"]
    assert main(["predict", *options]) == 2
    assert "/proc: cannot be written to (" in capsys.readouterr().err
