"""What is exported gives the run's probabilities, without fairfront."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import ExifTags, Image
from waiting import HANGS

import models
from models.config import ModelConfig
from orchestrator.base.files import read_json
from orchestrator.cli import main
from orchestrator.data.reading.decode import decode
from orchestrator.deploy import export as module
from orchestrator.deploy.shipped import FORMATS, WRITERS, Shipped, trace
from orchestrator.judging.intended_use import INTENDED_USE, LIMITS
from orchestrator.run.directory import Run
from orchestrator.training.model_file import TrainedModel, load_model

SIZE = 24


@pytest.fixture(scope="module")
def run(trained: Run) -> Run:
    return trained


@pytest.fixture(scope="module")
def shipped(run: Run) -> Path:
    out = run.path.parent / "shipped"
    words = ["export", "--run", str(run.path), "--out", str(out), "--format", *FORMATS]
    assert main(words) == 0
    return out


def probability(run: Run, trial: str, file: Path) -> float:
    """What the trained network makes of an image file by fairfront's own means."""
    network = load_model(run.trial(trial).path / "model.safetensors").network
    pixels = torch.from_numpy(decode(file.read_bytes(), SIZE)).permute(2, 0, 1)[None] / 255
    with torch.inference_mode():
        return float(torch.sigmoid(network(pixels)))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Pictures of several sizes, one of them on its side."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    made = []
    for number, (height, width) in enumerate([(SIZE, SIZE), (109, 89), (60, 90), (13, 40)]):
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = 6 if number == 2 else 1
        made.append(folder / f"{number}.png")
        Image.fromarray(pixels).save(made[-1], exif=exif)
    return made


@pytest.mark.parametrize("name", ["onnx", "pt2", "safetensors"])
def test_its_example_labels_images_without_fairfront(
    name: str, shipped: Path, run: Run, pictures: list[Path], tmp_path: Path
) -> None:
    labels_alone(name, shipped, run, "t000", pictures, tmp_path)


def test_an_ensembles_example_does_too(together: Run, pictures: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "shipped"
    words = ["--run", str(together.path), "--out", str(out), "--format", "onnx", "safetensors"]
    assert main(["export", *words]) == 0
    about = read_json(out / "model.json")
    assert (about["trial"], about["members"]) == ("t000-ensemble", 2)
    assert about["checks"]["onnx"]["labels_changed"] == 0
    assert "the mean logit of\n2 networks" in (out / "README.md").read_text()
    labels_alone("safetensors", out, together, "t000-ensemble", pictures, tmp_path)


def labels_alone(
    name: str, shipped: Path, run: Run, trial: str, pictures: list[Path], tmp_path: Path
) -> None:
    moved = shutil.copytree(shipped, tmp_path / "elsewhere")
    # Ours may not be imported; what the example says it needs may.
    alone = (
        "import runpy, sys\n"
        "for ours in ('orchestrator', 'models', 'cluster', 'search_spaces', 'ray'):\n"
        "    sys.modules[ours] = None\n"
        "runpy.run_path(sys.argv.pop(1), run_name='__main__')"
    )
    command = [sys.executable, "-c", alone, str(moved / f"example_{name}.py"), *map(str, pictures)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=HANGS
    )
    assert done.returncode == 0, done.stderr
    header, *lines = done.stdout.splitlines()
    assert header == "filename,label,probability"
    for line, picture in zip(lines, pictures, strict=True):
        filename, label, given = line.split(",")
        expected = probability(run, trial, picture)
        assert filename == str(picture)
        assert float(given) == pytest.approx(expected, abs=1e-4)
        assert label == ("1" if expected > 0.5 else "-1")


def test_what_it_came_to_is_written_beside_it(shipped: Path, run: Run) -> None:
    about = read_json(shipped / "model.json")
    test = run.trial("t000").predicted()["test"]
    for found in about["checks"].values():
        assert found["faces"] == len(test.label)
    assert about["checks"]["onnx"]["largest_difference"] < 1e-5
    assert about["checks"]["onnx"]["labels_changed"] == 0
    assert about["checks"]["onnx"]["run"] == about["metrics_at_0.5"]["test"]
    assert 0 < about["checks"]["onnx-int8"]["largest_difference"] < 0.1
    assert ModelConfig.model_validate(about["model"]).depth == 2
    assert about["opset"] == 18
    card = (shipped / "README.md").read_text()
    women = about["metrics_at_0.5"]["test"]
    assert f"accuracy of {women['n_women']} women | {women['acc_women']:.4f} (" in card
    assert "model.int8.onnx" in card
    assert all(f"- {sentence}\n" in card for sentence in (*INTENDED_USE, *LIMITS))
    quantised = {node.op_type for node in onnx.load(shipped / "model.int8.onnx").graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= quantised


def test_any_number_of_pictures_of_any_size_are_taken_at_once(shipped: Path) -> None:
    session = onnxruntime.InferenceSession(shipped / "model.onnx")
    images = np.random.default_rng(1).integers(0, 256, (7, 33, 50, 3), dtype=np.uint8)
    together = session.run(None, {"images": images})[0]
    alone = [session.run(None, {"images": image[None]})[0][0] for image in images]
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_a_network_of_torchvisions_is_exported(tmp_path: Path) -> None:
    config = ModelConfig(name="resnet18", head="pooled", hidden=0, weights="random")
    torch.manual_seed(0)
    network = Shipped(TrainedModel(models.build(config, 32).eval(), 32, "fp32", config))
    WRITERS["onnx"](trace(network), tmp_path / "model.onnx")
    images = torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8)
    made = onnxruntime.InferenceSession(tmp_path / "model.onnx").run(
        None, {"images": images.numpy()}
    )
    with torch.inference_mode():
        np.testing.assert_allclose(made[0], network(images).numpy(), atol=1e-5)


@pytest.fixture
def complaint(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What `export` says of wrong words; it leaves nothing behind."""

    def refused(*words: str) -> str:
        assert main(["export", "--run", str(run.path), "--out", str(tmp_path / "out"), *words]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert not list(tmp_path.glob("*out*"))
        return said

    return refused


def test_wrong_words_are_one_line_and_leave_nothing(complaint, monkeypatch) -> None:
    assert "--trial t9: not a complete trial of this run; there is t000" in complaint(
        "--trial", "t9"
    )
    assert "invalid choice: 'coreml'" in complaint("--format", "coreml")
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda _name: None)
    assert "pip install 'fairfront[export]'" in complaint()


def test_what_is_there_is_not_written_over(run: Run, tmp_path: Path, capsys) -> None:
    (tmp_path / "a").touch()
    assert main(["export", "--run", str(run.path), "--out", str(tmp_path)]) == 2
    assert "a folder exists already; choose another --out" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_without_the_faces_onnx_is_not_checked_and_8_bits_cannot_be_had(
    complaint, run: Run, tmp_path: Path, capsys, monkeypatch
) -> None:
    monkeypatch.setattr(Run, "data", {**run.data, "fingerprint": "another"})
    assert "takes its ranges from faces" in complaint("--format", "onnx-int8")
    assert main(["export", "--run", str(run.path), "--out", str(tmp_path / "out")]) == 0
    assert "onnx: not checked, since " in capsys.readouterr().out
    assert "was not checked" in (tmp_path / "out" / "README.md").read_text()


def test_onnx_that_differs_from_torch_is_refused(complaint, monkeypatch) -> None:
    def worse(_program, file) -> None:
        with torch.no_grad():
            config = ModelConfig()
            other = Shipped(TrainedModel(models.build(config, 32).eval(), 32, "fp32", config))
        WRITERS_ONNX(trace(other), file)

    WRITERS_ONNX = WRITERS["onnx"]
    monkeypatch.setitem(WRITERS, "onnx", worse)
    assert "from torch's; choose pt2" in complaint()


def test_weights_alone_of_torchvisions_networks_are_refused(complaint, run) -> None:
    result = run.trial("t000").path / "result.json"
    before = result.read_text()
    values = json.loads(before)
    values["config"]["model"]["name"] = "resnet18"
    try:
        result.write_text(json.dumps(values))
        said = complaint("--format", "safetensors")
    finally:
        result.write_text(before)
    assert "has weights alone, and resnet18 is built by another library" in said
