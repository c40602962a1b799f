"""Networks by name, each from images in [0, 1] to one logit an image."""

from collections.abc import Callable

from torch import nn

from models.cnn import ReferenceCNN
from models.config import ModelConfig
from orchestrator.errors import InputError

__all__ = ["MODELS", "ModelConfig", "build", "count_parameters"]


def _cnn(config: ModelConfig, image_size: int, _pretrained: bool) -> nn.Module:
    return ReferenceCNN(image_size, config.dropout)


def _resnet50_frozen(config: ModelConfig, image_size: int, pretrained: bool) -> nn.Module:
    from models.resnet import FrozenResNet50  # torchvision takes a second to import

    model = FrozenResNet50(image_size, config.dropout)
    if pretrained:
        model.load_backbone(config.weights)
    return model


MODELS: dict[str, Callable[[ModelConfig, int, bool], nn.Module]] = {
    "cnn": _cnn,
    "resnet50_frozen": _resnet50_frozen,
}
"""Makers of networks by name: (config, image size in pixels, pretrained) to a module that takes
images of shape (n, 3, size, size), float in [0, 1], and gives logits of shape (n,)."""


def build(config: ModelConfig, image_size: int, *, pretrained: bool = True) -> nn.Module:
    """Make a network, in float32 on the CPU, its new weights drawn from torch's global generator.

    Parameters
    ----------
    config
        Which network, and what it is made with.
    image_size
        Pixels a side of the square images.
    pretrained
        Load the pretrained weights that the network starts from. False where a trained model's
        weights follow: then nothing is fetched.

    Raises
    ------
    InputError
        No such network, images too small for it, or weights that cannot be had.
    """
    if config.name not in MODELS:
        raise InputError(
            f"model.name={config.name}: no such network; there are {', '.join(MODELS)}"
        )
    return MODELS[config.name](config, image_size, pretrained)


def count_parameters(model: nn.Module, *, trainable: bool = False) -> int:
    """Count a network's parameters; with `trainable`, only those that training changes."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trainable)
