"""``model.safetensors``: a trained network, or several as one, and all that using it takes."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

import models
from models.config import ModelConfig
from models.ensemble import Ensemble
from orchestrator.base.errors import InputError
from orchestrator.base.files import Anywhere, one_line, writing
from orchestrator.base.here import copied_here
from orchestrator.config.settings import Config, Precision
from orchestrator.run.trial import Trial
from orchestrator.training.backbone_file import PREFIX, put_aside, read_backbone
from orchestrator.training.inference import computed_in

FILE = "model.safetensors"
ABOUT = "fairfront"
"""The key of the file's metadata; one alone, since several come in random order."""


@dataclass(frozen=True)
class TrainedModel:
    """A network read from ``model.safetensors``."""

    network: nn.Module
    """On the CPU, in evaluation mode."""
    image_size: int
    """Pixels a side of the images that it takes."""
    precision: Precision
    """It was evaluated in."""
    config: ModelConfig
    """What it, or each of its members, was built with."""
    members: int = 1
    """How many networks it is an ensemble of."""


def save_model(
    folder: Anywhere, model: nn.Module, config: Config, image_size: int, device: torch.device
) -> None:
    """Write ``model.safetensors``, whose metadata is all that `load_model` needs.

    Its precision is what it came to on the device of its training, so that thresholds found there
    are used on logits of the same kind wherever the model is. A fitted head has its backbone in a
    file beside, one for all trials of the run: they are hundreds, and differ in nothing else.
    """
    about = {
        "model": config.model.model_dump(),
        "image_size": image_size,
        "precision": computed_in(config.train.precision, device),
    }
    state = model.state_dict()
    if config.train.optimiser == "lbfgs":
        state, about["backbone"] = put_aside(model, Trial(folder).run_path)
    here = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    _write(folder, here, about)


def save_ensemble(folder: Anywhere, members: Sequence[Anywhere]) -> None:
    """Write several networks as one ``model.safetensors``, whose logits are the means of theirs.

    Fitted heads of one frozen backbone become one head, since they are linear: it sees a face once,
    and finds the backbone where they did.

    Parameters
    ----------
    folder
        Where.
    members
        Folders, each with the ``model.safetensors`` of one network, all built alike.

    Raises
    ------
    InputError
        One cannot be read, or is built otherwise than the first.
    """
    state: dict[str, Tensor] = {}
    abouts: list[dict[str, Any]] = []
    for number, member in enumerate(members):
        with _reading(member / FILE) as (about, weights):
            abouts.append(about)
            state |= {f"members.{number}.{name}": value for name, value in weights.items()}
    kinds = {about.pop("precision") for about in abouts}
    backbones = {about.pop("backbone", None) for about in abouts}
    if any(about != abouts[0] for about in abouts):
        raise InputError(f"{folder}: its members are not built alike; remove {members[0].parent}")
    about = {**abouts[0], "precision": "bf16" if kinds == {"bf16"} else "fp32"}
    if len(backbones) == 1 and None not in backbones:
        _write(folder, _mean_head(state, len(members)), {**about, "backbone": backbones.pop()})
    else:
        _write(folder, state, {**about, "members": len(members)})


def _mean_head(state: Mapping[str, Tensor], members: int) -> dict[str, Tensor]:
    """Return the mean of linear heads, from the state of an ensemble of them."""
    first = "members.0."
    names = [name.removeprefix(first) for name in state if name.startswith(first)]
    return {
        name: torch.stack([state[f"members.{number}.{name}"] for number in range(members)]).mean(0)
        for name in names
        if not name.startswith(PREFIX)
    }


def load_model(file: Anywhere) -> TrainedModel:
    """Read a trained network; one that is missing or damaged raises `InputError`."""
    with _reading(file) as (about, trained):
        config = ModelConfig.model_validate(about["model"])
        image_size, members = int(about["image_size"]), int(about.get("members", 1))
        built = [models.build(config, image_size, pretrained=False) for _ in range(members)]
        model = built[0] if members == 1 else Ensemble(built)
        state = model.state_dict()
        if trained.keys() != state.keys():
            raise ValueError("its weights are not those of its network")
        state.update(trained)  # what has torch's notes on versions, without which some do not load
        model.load_state_dict(state)
        precision = cast(Precision, about["precision"])
    network = model.to(memory_format=torch.channels_last).eval()
    return TrainedModel(network, image_size, precision, config, members)


def _write(folder: Anywhere, state: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    with writing(folder / FILE) as file:
        file.write(save(dict(state), metadata={ABOUT: json.dumps(about)}))


@contextmanager
def _reading(file: Anywhere) -> Iterator[tuple[dict[str, Any], dict[str, Tensor]]]:
    """Give a file's metadata and weights; what does not fit them is the file's fault."""
    if not file.exists():
        raise InputError(f"{file}: no model here; choose a complete trial with --trial")
    try:
        with copied_here(file) as here:
            with safe_open(str(here), "pt") as opened:
                about = json.loads(opened.metadata()[ABOUT])
            weights = load_file(str(here))
        if backbone := about.get("backbone"):
            weights |= read_backbone(file, backbone)
        yield about, weights
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{file}: not a model that fairfront wrote: {one_line(error)}") from None
