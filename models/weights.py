"""Weights of backbones: from a hub by name, or from a file."""

import io
from collections.abc import Mapping
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from models.config import ModelConfig
from models.zoo import TIMM, Zoo
from orchestrator.base.errors import InputError
from orchestrator.base.files import parse_uri, reason_of


def load_weights(network: nn.Module, zoo: Zoo, config: ModelConfig, cut: str) -> None:
    """Load what a backbone starts from.

    Parameters
    ----------
    network
        The network ``config.name`` without the module `cut`.
    zoo
        The library that it is from.
    config
        Where the weights are: ``weights``, which is not ``random``.
    cut
        The name of the module that was cut off, whose weights are left out.

    Raises
    ------
    InputError
        The file is missing, or is no state dict of this network, or the download failed.
    """
    named = zoo.weights(config)
    if config.weights is None or config.weights in named:
        read = zoo.download(config)
    else:
        read = _read(config.weights, named)
    renamed = {zoo.renamed(str(key)): value for key, value in read.items()}
    state = {key: value for key, value in renamed.items() if not key.startswith(f"{cut}.")}
    ours = network.state_dict()
    if difference := _difference(ours, state):
        raise InputError(
            f"{config.weights}: not the weights of {_whose(config.name)}: {difference}; give "
            "its state dict with --set model.weights=FILE"
        )
    ours.update(state)  # keeps torch's notes on versions, without which MNASNet refuses to load
    network.load_state_dict(ours)


def _whose(name: str) -> str:
    return f"timm's {name.removeprefix(TIMM)}" if name.startswith(TIMM) else f"torchvision's {name}"


def _read(where: str, names: list[str]) -> dict[str, Any]:
    file = parse_uri(where)
    try:
        content = file.read_bytes()
    except Exception as error:  # file systems raise what the libraries beneath them do
        raise InputError(
            f"{file}: cannot read the weights ({reason_of(error)}); give --set model.weights a "
            f"file, or one of random, null{''.join(f', {name}' for name in names)}"
        ) from None
    try:
        if file.suffix == ".safetensors":
            return dict(safetensors.torch.load(content))
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception:  # a pickle of anything else, or garbage, fails in many ways
        raise InputError(
            f"{file}: neither a state dict saved by torch nor safetensors; mend --set model.weights"
        ) from None
    return dict(state) if isinstance(state, Mapping) else {}


def _difference(expected: Mapping[str, Tensor], state: Mapping[str, Any]) -> str | None:
    """Say how a state dict differs from the one expected in its names and shapes."""
    # Weights saved by torch before 0.4.1 lack these counters, and an eval-mode layer ignores them.
    missing = [k for k in expected if k not in state and not k.endswith(".num_batches_tracked")]
    unknown = [key for key in state if key not in expected]
    if missing or unknown:
        kind, keys = ("lacks", missing) if missing else ("has the unknown", unknown)
        more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
        return f"it {kind} {keys[0]}{more}"
    for key, value in state.items():
        shape = tuple(getattr(value, "shape", ()))
        if not isinstance(value, Tensor) or shape != tuple(expected[key].shape):
            return f"{key} has shape {shape}, not {tuple(expected[key].shape)}"
    return None
