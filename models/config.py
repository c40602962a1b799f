"""Which network a trial trains."""

from typing import Literal

from pydantic import Field, field_validator

from orchestrator.files import place
from orchestrator.strict import Strict


def names_file(weights: str) -> bool:
    """Tell whether `ModelConfig.weights` names a file or URI, and not weights on a hub."""
    return bool({".", "/"} & set(weights))


class ModelConfig(Strict):
    """A network by name, and what it is made with; the defaults are the published recipe's."""

    name: str = "cnn"
    """A key of `models.MODELS`, or a classification network of torchvision, such as resnet50."""
    head: Literal["flatten", "pooled"] = "flatten"
    """What the head sees: the whole map of features, or their means over it (torchvision's
    networks: what their own last layer sees)."""
    hidden: int = Field(default=512, ge=0)
    """Units of the head's hidden layer; 0: no such layer."""
    dropout: float = Field(default=0.5, ge=0, lt=1)
    """The share of the last layer's inputs that are dropped in training."""
    depth: int = Field(default=3, ge=1, le=8)
    """The CNN's stages, each with twice the channels of the one before and half the side."""
    width: int = Field(default=32, ge=1)
    """Channels of the CNN's first stage."""
    batch_norm: bool = False
    """Normalise each of the CNN's convolutions over the batch."""
    weights: str | None = None
    """What torchvision's network starts from: null for its first weights on torchvision's hub, a
    name of others there (IMAGENET1K_V2), a file or URI with a state dict, or random. The CNN's are
    always random."""
    unfreeze: Literal["none", "last_stage", "all"] = "none"
    """What is trained of torchvision's network, beside the head."""
    lr_backbone: float = Field(default=0.1, gt=0, le=1)
    """The first unfrozen stage's factor on `train.lr`. Those between it and the head, whose factor
    is 1, rise by equal ratios (Howard and Ruder, ULMFiT, ACL 2018). Random weights have 1."""

    @field_validator("weights")
    @classmethod
    def _absolute(cls, weights: str | None) -> str | None:
        """Make a file's path absolute, so that workers elsewhere agree on it; names have no dot."""
        return str(place(weights)) if weights and names_file(weights) else weights
