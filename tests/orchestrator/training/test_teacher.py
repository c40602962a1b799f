"""Learning from other networks: their probabilities beside the labels, or in their place."""

import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from scipy.special import expit, logit
from toys import SIDE, toy_arrays, toy_data

import models
from orchestrator.base.errors import InputError
from orchestrator.cli import main
from orchestrator.config.layers import resolve
from orchestrator.run.trial import Trial
from orchestrator.training.loop import Training
from orchestrator.training.teacher import targets

TRAIN = toy_arrays(40, 1)


def teach(folder, filenames, probability, *, split="val"):
    folder.mkdir()
    rows = pd.DataFrame({"filename": list(filenames), "split": split, "gender": 1, "label": 0})
    rows["logit"] = logit(np.asarray(probability)).astype(np.float32)
    Trial(folder).write_predictions(rows.sample(frac=1, random_state=0))  # in any order
    return folder


def loss(folder, trust):
    settings = [f"loss.teacher={folder}", f"loss.trust={trust}"]
    return resolve("plain", settings=settings).loss


@pytest.mark.parametrize("trust", [0.0, 0.3, 1.0])
def test_a_share_of_each_label_is_the_teachers_probability_of_that_face(tmp_path, trust):
    names = TRAIN.filename.to_pylist()
    believed = np.random.default_rng(0).uniform(0.01, 0.99, len(names))
    others = [f"other-{n}" for n in range(7)]
    folder = teach(tmp_path / "t", [*others, *names], [*[0.5] * 7, *believed])
    found = targets(loss(folder, trust), TRAIN.label, TRAIN.filename)
    assert found.dtype == np.float32
    assert found == pytest.approx((1 - trust) * TRAIN.label + trust * believed, abs=2e-6)


def test_without_a_teacher_labels_are_learned():
    found = targets(resolve("plain").loss, TRAIN.label, TRAIN.filename)
    assert found.tolist() == TRAIN.label.tolist()


def test_a_face_that_the_teacher_has_not_judged_is_named(tmp_path):
    names = TRAIN.filename.to_pylist()
    # What a trial says of test is of no use: its networks are judged there.
    folder = teach(tmp_path / "t", names[:38], [0.5] * 38)
    with pytest.raises(
        InputError, match=rf"not judged 2 of 40 training faces, the first is {names[38]}"
    ):
        targets(loss(folder, 0.5), TRAIN.label, TRAIN.filename)
    folder = teach(tmp_path / "test", names, [0.5] * 40, split="test")
    with pytest.raises(InputError, match="not judged 40 of 40 training faces"):
        targets(loss(folder, 0.5), TRAIN.label, TRAIN.filename)


def test_a_teacher_that_is_not_there_or_damaged_is_named(tmp_path):
    missing = re.escape(f"loss.teacher={tmp_path}/none: no predictions.parquet there")
    with pytest.raises(InputError, match=missing):
        targets(loss(tmp_path / "none", 0.5), TRAIN.label, TRAIN.filename)
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "predictions.parquet").write_bytes(b"no table")
    with pytest.raises(InputError, match=r"t/predictions\.parquet: "):
        targets(loss(tmp_path / "t", 0.5), TRAIN.label, TRAIN.filename)


def test_a_network_that_trusts_its_teacher_alone_learns_what_that_says(tmp_path):
    data = toy_data()
    train = data["train"]
    names = pa.concat_arrays([train.filename, data["val"].filename]).to_pylist()
    label = np.concatenate([train.label, data["val"].label])
    folder = teach(tmp_path / "t", names, np.where(label == 1, 0.02, 0.98))  # all the other way
    accuracy = {}
    for trust in (0.2, 1.0):
        settings = [f"loss.teacher={folder}", f"loss.trust={trust}", "train.precision=fp32",
                    "train.epochs=6", "train.batch_size=8", "train.keep=last"]  # fmt: skip
        config = resolve("plain", settings=settings)
        torch.manual_seed(0)
        training = Training(config, models.build(config.model, SIDE), train, data["val"])
        list(training)
        said = expit(training.logits(data["val"]))
        accuracy[trust] = np.mean((said > 0.5) == (data["val"].label == 1))
    assert accuracy[0.2] > 0.9
    assert accuracy[1.0] < 0.1


def test_what_cannot_be_learned_from_is_refused_before_a_run_is_made(tmp_path, capsys):
    data, out = tmp_path / "data", tmp_path / "run"
    assert main(["prepare", "synthetic:60", "--image-size", "24", "--out", str(data), "-q"]) == 0
    folder = teach(tmp_path / "t", TRAIN.filename.to_pylist(), [0.5] * 40)
    for settings, message in (
        ([f"loss.teacher={tmp_path}/none"], "no predictions.parquet there"),
        ([f"loss.teacher={folder}"], "training faces, the first is"),
        ([f"loss.teacher={folder}", "train.optimiser=lbfgs"], "fits heads to labels alone"),
    ):
        words = ["train", "--data", str(data), "--out", str(out), "--set", *settings]
        assert main(words) == 2
        line = capsys.readouterr().err.splitlines()[-1]
        assert line.startswith("fairfront: ")
        assert message in line
        assert not out.exists()
