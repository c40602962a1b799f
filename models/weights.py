"""Weights of torchvision's networks: from its hub by name, or from a file."""

import io
import re
from collections.abc import Mapping
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn
from torchvision import models as zoo

from models.config import ModelConfig
from orchestrator.base.errors import InputError
from orchestrator.base.files import one_line, parse_uri, reason_of

# NOTE: null means the first weights of a network, IMAGENET1K_V1, and not its newest. For ResNet50,
# V2 is better on ImageNet (80.9 against 76.1%), but it was trained with label smoothing, mixup and
# cutmix, and such training makes features that serve a new head worse while the backbone is frozen
# (Kornblith et al., Do Better ImageNet Models Transfer Better?, CVPR 2019). V1 is also trained as
# the published recipe's backbone was.


def load_weights(network: nn.Module, config: ModelConfig, cut: str) -> None:
    """Load what a network of torchvision's starts from.

    Parameters
    ----------
    network
        torchvision's ``config.name`` without the module `cut`.
    config
        Where the weights are: ``weights``, which is not ``random``.
    cut
        The name of the module that was cut off, whose weights are left out.

    Raises
    ------
    InputError
        The file is missing, or is no state dict of this network, or the download failed.
    """
    named = zoo.get_model_weights(config.name).__members__
    if config.weights is None or config.weights in named:
        read = _download(_on_hub(config))
    else:
        read = _read(config.weights, list(named))
    # torchvision's files of DenseNets have old names, which its own loading mends likewise.
    renamed = {re.sub(r"(denselayer\d+\.\w+)\.(?=\d\.)", r"\1", str(k)): v for k, v in read.items()}
    state = {key: value for key, value in renamed.items() if not key.startswith(f"{cut}.")}
    ours = network.state_dict()
    if difference := _difference(ours, state):
        raise InputError(
            f"{config.weights}: not the weights of torchvision's {config.name}: {difference}; give "
            "its state dict with --set model.weights=FILE"
        )
    ours.update(state)  # keeps torch's notes on versions, without which MNASNet refuses to load
    network.load_state_dict(ours)


def normalisation(config: ModelConfig) -> dict[str, list[float]]:
    """Return the ``mean`` and ``std`` by channel that a network's images are normalised with."""
    transforms = _on_hub(config).transforms()
    return {"mean": transforms.mean, "std": transforms.std}


def _on_hub(config: ModelConfig) -> Any:
    """Return the weights on torchvision's hub that are named, else the network's first."""
    weights = zoo.get_model_weights(config.name)
    return weights.__members__.get(config.weights) or next(iter(weights))


def _download(weights: Any) -> dict[str, Any]:
    try:
        return dict(weights.get_state_dict(progress=False, check_hash=True))
    except Exception as error:  # offline; a file that is not what was asked for
        raise InputError(
            f"model.weights: cannot download {weights.url} ({one_line(error)}); fetch that file "
            "where there is a network and give it with --set model.weights=FILE"
        ) from None


def _read(where: str, names: list[str]) -> dict[str, Any]:
    file = parse_uri(where)
    try:
        content = file.read_bytes()
    except Exception as error:  # file systems raise what the libraries beneath them do
        raise InputError(
            f"{file}: cannot read the weights ({reason_of(error)}); give --set model.weights a "
            f"file, random, null or one of {', '.join(names)}"
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
