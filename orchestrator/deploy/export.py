"""A trained network as a folder that is of use without fairfront.

::

    OUT/model.onnx  model.int8.onnx  model.pt2  model.safetensors     the formats asked for
    OUT/model.json              settings, threshold, figures by gender, and how ONNX was checked
    OUT/example_<format>.py     labels images with one of them
    OUT/README.md               the model card
"""

import importlib.util
import tempfile
from collections.abc import Collection, Mapping, Set
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

from orchestrator import __version__
from orchestrator.base.errors import InputError
from orchestrator.base.files import (
    make_folder,
    read_bytes,
    refuse_existing,
    refuse_unwritable,
    write_json,
    write_text,
)
from orchestrator.data.store.store import Store
from orchestrator.deploy.card import CARD, model_card
from orchestrator.deploy.shipped import FORMATS, OPSET, WRITERS, Shipped, trace
from orchestrator.judging.judge import evaluate_trial
from orchestrator.run.directory import Run
from orchestrator.run.trial import Trial
from orchestrator.training.model_file import TrainedModel, load_model

TOLERANCE = 1e-4
"""Between the probabilities that ONNX and torch give."""


def export(
    run: Run, trial_id: str, formats: Collection[str], out: Path, threshold: float
) -> dict[str, Any]:
    """Write a trial's network, with all that is needed to use it.

    Parameters
    ----------
    run
        The run.
    trial_id
        A complete trial of it.
    formats
        Of `FORMATS`; ``onnx-int8`` brings ``onnx``.
    out
        A folder that does not exist, or is empty; it gets all or nothing.
    threshold
        A probability above it means class 1.

    Returns
    -------
    What ``model.json`` holds.

    Raises
    ------
    InputError
        `out` is taken or cannot be written to, the network cannot be had in a format, or ONNX
        gives other probabilities than the run.
    """
    refuse_existing(out, "a folder")
    make_folder(out.parent)
    refuse_unwritable(out.parent)
    trial, wanted = run.trial(trial_id), {*formats}
    if "onnx-int8" in wanted:
        wanted.add("onnx")
    store = run.open_data() if "onnx" in wanted else None
    _refuse_impossible(run, trial, wanted, store)
    trained = load_model(trial.path / "model.safetensors")
    about = {"formats": sorted(wanted), **_about(run, trial, trained, threshold)}
    shipped = Shipped(trained)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as beside:
        folder = Path(beside) / out.name
        folder.mkdir()
        _write_files(folder, trial, shipped, wanted)
        if "onnx" in wanted:
            checked = {} if store is None else _check_onnx(folder, shipped, store, trial, about)
            about |= {"opset": OPSET, "checks": checked}
        write_json(folder / "model.json", about)
        write_text(folder / CARD, model_card(about))
        if out.exists():
            out.rmdir()
        folder.replace(out)
    return about


def _refuse_impossible(run: Run, trial: Trial, wanted: Set[str], store: Store | None) -> None:
    """Raise `InputError` for what cannot be made, before any of it is."""
    name = trial.result.config.model.name
    if "safetensors" in wanted and name != "cnn":
        raise InputError(
            f"--format safetensors: has weights alone, and {name} is built by another library; "
            "choose onnx or pt2, which hold the network"
        )
    if "onnx" in wanted and not all(
        importlib.util.find_spec(package) for package in ("onnx", "onnxruntime", "onnxscript")
    ):
        raise InputError("--format onnx: needs packages; pip install 'fairfront[export]'")
    if "onnx-int8" in wanted and store is None:
        raise InputError(
            f"--format onnx-int8: takes its ranges from faces, and {run.data['path']} is not the "
            "data set of the run, or not here; choose onnx"
        )


def _about(run: Run, trial: Trial, trained: TrainedModel, threshold: float) -> dict[str, Any]:
    fair_lambda = run.config.fair_lambda
    judged = evaluate_trial(trial, fair_lambda).judged["fixed"]
    return {
        "fairfront": __version__,
        "trial": trial.id,
        "recipe": trial.result.recipe,
        "parameters": trial.params,
        "model": trained.config.model_dump(),
        "members": trained.members,
        "image_size": trained.image_size,
        "precision": trained.precision,
        "input": "images: uint8 (n, height, width, 3), RGB, upright, of any size",
        "output": "probability: float32 (n,), of class 1",
        "threshold": threshold,
        "fair_lambda": fair_lambda,
        "data": {name: run.data[name] for name in ("fingerprint", "counts") if name in run.data},
        "metrics_at_0.5": {split: asdict(judged.metrics[split]) for split in ("val", "test")},
    }


def _write_files(folder: Path, trial: Trial, shipped: Shipped, wanted: Set[str]) -> None:
    """Write the networks, and how each is used."""
    if graphs := WRITERS.keys() & wanted:
        program = trace(shipped)
        for name in graphs:
            WRITERS[name](program, folder / FORMATS[name])
    if "safetensors" in wanted:
        copied = read_bytes(trial.path / "model.safetensors")
        (folder / FORMATS["safetensors"]).write_bytes(copied)
    for name in wanted - {"onnx-int8"}:
        example = resources.files("orchestrator.deploy") / "examples" / f"{name}.py.txt"
        write_text(folder / f"example_{name}.py", example.read_text(encoding="utf-8"))


def _check_onnx(
    folder: Path, shipped: Shipped, store: Store, trial: Trial, about: Mapping[str, Any]
) -> dict[str, Any]:
    """Hold ONNX against torch and the run; perhaps write it in 8 bits, and say what that costs."""
    from orchestrator.deploy.onnx_check import compare, quantise

    of_run, checks = trial.predicted()["test"], {}
    for name in sorted({"onnx", "onnx-int8"} & {*about["formats"]}):
        file = folder / FORMATS[name]
        if name == "onnx-int8":
            quantise(folder / FORMATS["onnx"], file, store)
        found = compare(file, shipped, store, of_run, about["threshold"])
        if name == "onnx" and found.largest_difference > TOLERANCE:
            raise InputError(
                f"{trial.path}: in ONNX its probabilities of {found.faces:,} test faces differ by "
                f"up to {found.largest_difference:.2g} from torch's; choose pt2"
            )
        checks[name] = asdict(found)
    return checks
