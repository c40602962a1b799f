"""Where backbones come from: what torchvision and timm have to answer alike."""

from typing import NamedTuple, Protocol

from torch import Tensor, nn

from models.config import ModelConfig

TIMM = "timm:"
"""Before the names of timm's networks."""


class Preprocessing(NamedTuple):
    """What a network's weights were trained on."""

    mean: tuple[float, ...]
    """By channel, of pixels in [0, 1]; so is `std`."""
    std: tuple[float, ...]
    interpolation: str
    """How images were resized: bilinear or bicubic."""
    image_size: int
    """Pixels a side."""


class Zoo(Protocol):
    """A library of networks with pretrained weights; a module of ours for each."""

    def make(self, name: str) -> nn.Module:
        """Make a network, its weights random; `InputError` where there is none of that name."""

    def cut(self, network: nn.Module, config: ModelConfig) -> str:
        """Cut off what the head replaces; return the name of the network's last layer."""

    def preprocessing(self, config: ModelConfig) -> Preprocessing:
        """Return what ``config.weights`` were trained on."""

    def weights(self, config: ModelConfig) -> list[str]:
        """Return the names of the network's weights that ``model.weights`` may give."""

    def download(self, config: ModelConfig) -> dict[str, Tensor]:
        """Fetch weights by name, or the network's first; `InputError` where that fails."""

    def renamed(self, key: str) -> str:
        """Return how the network calls a parameter that a file of its weights has as `key`."""
