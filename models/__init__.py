"""Networks by name, each from images in [0, 1] to one logit an image.

torch takes two seconds to import, and torchvision another: both are where they are first needed,
since the settings of networks are read by commands, and processes, that have no network.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from models.config import ModelConfig

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "MODELS",
    "ModelConfig",
    "build",
    "caches_features",
    "count_parameters",
    "last_layer",
    "normalises_over_batch",
    "note_on_size",
    "parameter_groups",
]


def _cnn(image_size: int, config: ModelConfig) -> "nn.Module":
    from models.cnn import CNN

    return CNN(image_size, config)


MODELS: "dict[str, Callable[[int, ModelConfig], nn.Module]]" = {"cnn": _cnn}
"""Makers of our own networks by name: (image size in pixels, config) to a module that takes images
of shape (n, 3, size, size), float in [0, 1], and gives logits of shape (n,). Any other name is a
network of torchvision's or, after ``timm:``, of timm's."""


def build(config: ModelConfig, image_size: int, *, pretrained: bool = True) -> "nn.Module":
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
    if config.name in MODELS:
        return MODELS[config.name](image_size, config)
    from models.backbone import BackboneNetwork

    return BackboneNetwork(image_size, config, pretrained=pretrained)


def parameter_groups(
    model: "nn.Module", config: ModelConfig
) -> "list[tuple[list[nn.Parameter], float]]":
    """Return the parameters that train, in groups with a factor each on the learning rate."""
    if config.name not in MODELS:
        from models.backbone import BackboneNetwork

        if isinstance(model, BackboneNetwork):
            return model.parameter_groups()
    return [([p for p in model.parameters() if p.requires_grad], 1.0)]


def last_layer(model: "nn.Module") -> "nn.Linear":
    """Return the layer that gives the logit."""
    from torch import nn

    return [module for module in model.modules() if isinstance(module, nn.Linear)][-1]


def caches_features(config: ModelConfig) -> bool:
    """Tell whether the network has a backbone that no training changes."""
    return config.name not in MODELS and config.unfreeze == "none"


def normalises_over_batch(model: "nn.Module") -> bool:
    """Tell whether a network made for training has layers that see the whole batch."""
    from torch.nn.modules.batchnorm import _BatchNorm

    norms = (module for module in model.modules() if isinstance(module, _BatchNorm))
    return any(module.training for module in norms)


def note_on_size(config: ModelConfig, image_size: int) -> str:
    """Say where a pretrained network sees smaller images than it was trained on; else nothing."""
    if config.name in MODELS:
        return ""
    from models import backbone

    return backbone.note_on_size(config, image_size)


def count_parameters(model: "nn.Module", *, trainable: bool = False) -> int:
    """Count a network's parameters; with `trainable`, only those that training changes."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trainable)
