"""ResNet50 with a frozen ImageNet backbone and a trained head."""

import pickle
from collections.abc import Mapping
from typing import Any, Self

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torchvision.models import ResNet50_Weights, resnet50

from models.cnn import init_like_keras
from orchestrator.errors import InputError
from orchestrator.files import Anywhere, place

# NOTE: not IMAGENET1K_V2, though it is better on ImageNet (80.9 against 76.1%): it was trained with
# label smoothing, mixup and cutmix, and such training makes features that serve a new head worse
# while the backbone is frozen (Kornblith et al., Do Better ImageNet Models Transfer Better?, CVPR
# 2019). V1 is also trained as the published recipe's backbone was.
HUB_WEIGHTS = ResNet50_Weights.IMAGENET1K_V1

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class FrozenResNet50(nn.Module):
    """ResNet50 up to its last convolutions, frozen; then flatten, 512 units, ReLU, dropout, 1.

    The backbone has torchvision's parameter names under ``backbone.``. Its weights are random
    until `load_backbone`.

    Parameters
    ----------
    image_size
        Pixels a side of the square images.
    dropout
        The share of the 512 units that are dropped in training.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, image_size: int = 80, dropout: float = 0.5) -> None:
        super().__init__()
        self.backbone = resnet50(weights=None)
        self.backbone.avgpool = nn.Identity()
        self.backbone.fc = nn.Identity()
        self.backbone.requires_grad_(False)
        side = -(-image_size // 32)  # five strides of 2, each rounding up
        self.head = nn.Sequential(
            nn.Linear(2048 * side * side, 512), nn.ReLU(), nn.Dropout(dropout), nn.Linear(512, 1)
        )
        self.head.apply(init_like_keras)
        for name, values in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)
        self.train()

    def forward(self, images: Tensor) -> Tensor:
        """Give the logits of images.

        Parameters
        ----------
        images
            Shape (n, 3, image_size, image_size), RGB in [0, 1]; they are normalised here.

        Returns
        -------
        Shape (n,); the probability of class 1 is their sigmoid.
        """
        with torch.no_grad():  # keeps no activations of the backbone
            features = self.backbone((images - self.mean) / self.std)
        logit: Tensor = self.head(features)
        return logit.squeeze(1)

    def train(self, mode: bool = True) -> Self:
        """Set training mode for the head alone: the backbone's batch statistics stay frozen."""
        super().train(mode)
        self.backbone.eval()
        return self

    def load_backbone(self, weights: str | None) -> None:
        """Load the backbone's weights.

        Parameters
        ----------
        weights
            A file with the state dict of torchvision's ``resnet50`` (``.pth`` or
            ``.safetensors``), or None for torchvision's ImageNet weights, which are downloaded
            once and cached.

        Raises
        ------
        InputError
            The file is missing, or is no such state dict, or the download failed.
        """
        state = _download() if weights is None else _read(place(weights))
        state = {str(k): value for k, value in state.items() if not str(k).startswith("fc.")}
        if difference := _difference(self.backbone.state_dict(), state):
            raise InputError(
                f"{weights}: not the weights of torchvision's resnet50: {difference}; give its "
                "state dict with --set model.weights=FILE"
            )
        self.backbone.load_state_dict(state)


def _download() -> dict[str, Any]:
    try:
        return dict(HUB_WEIGHTS.get_state_dict(progress=False, check_hash=True))
    except (OSError, RuntimeError) as error:  # offline; a file that is not what was asked for
        raise InputError(
            f"model.weights: cannot download {HUB_WEIGHTS.url} ({error}); fetch that file where "
            "there is a network and give it with --set model.weights=FILE"
        ) from None


def _read(file: Anywhere) -> dict[str, Any]:
    try:
        if file.suffix == ".safetensors":
            return dict(safetensors.torch.load(file.read_bytes()))
        with file.open("rb") as opened:
            state = torch.load(opened, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(
            f"{file}: cannot read the weights ({error.strerror or error}); mend --set model.weights"
        ) from None
    except (safetensors.SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError):
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
