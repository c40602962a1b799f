"""Which network a trial trains, by which loss and method."""

from typing import Any, Literal

from pydantic import Field, field_validator

from orchestrator.base.files import parse_uri
from orchestrator.base.strict import Strict


def names_file(weights: str) -> bool:
    """Tell whether `ModelConfig.weights` names a file or URI, and not weights on a hub."""
    return bool({".", "/"} & set(weights))


class ModelConfig(Strict):
    """A network by name, and what it is made with; the defaults are the published recipe's."""

    name: str = "cnn"
    """A key of `models.MODELS`, a classification network of torchvision, such as resnet50, or one
    of timm's with ``timm:`` before its name, such as timm:resnet50.a1_in1k."""
    head: Literal["flatten", "pooled", "stages"] = "flatten"
    """What the head sees: the whole map of features, or their means over it (pretrained networks:
    what their own last layer sees). stages, of pretrained networks: the means over the map that
    each of its stages ends with, which know more of colour and texture."""
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
    image_size: int | tuple[int, ...] | None = None
    """Pixels a side that a pretrained network sees, to which the data's images are resized as its
    weights' were; null: the data's. Of several, as [112, 160], it sees each image at all, and the
    head what it makes of each. The CNN always sees the data's."""
    mirror: bool = False
    """Show a pretrained network the mirror image, too; the head sees the means of what it makes of
    both."""
    weights: str | None = None
    """What a pretrained network starts from: null for its first weights on its hub, a name of
    others on torchvision's (IMAGENET1K_V2), a file or URI with a state dict, or random. The CNN's
    are always random."""
    unfreeze: Literal["none", "last_stage", "all"] = "none"
    """What is trained of a pretrained network, beside the head."""
    lr_backbone: float = Field(default=0.1, gt=0, le=1)
    """The first unfrozen stage's factor on `train.lr`. Those between it and the head, whose factor
    is 1, rise by equal ratios (Howard and Ruder, ULMFiT, ACL 2018). Random weights have 1."""

    @field_validator("image_size", mode="before")
    @classmethod
    def _sizes(cls, given: Any) -> Any:
        """Take one size or a list of several, which JSON and YAML have in a tuple's place."""
        sizes = given if isinstance(given, list | tuple) else [given]
        wrong = any(type(size) is not int or size < 8 for size in sizes)
        if given is not None and (wrong or not sizes or len(set(sizes)) < len(sizes)):
            raise ValueError(f"{given}: give pixels, 8 or more, or several, as [112, 160]")
        return tuple(sizes) if len(sizes) > 1 else sizes[0]

    @field_validator("weights")
    @classmethod
    def _absolute(cls, weights: str | None) -> str | None:
        """Make a file's path absolute, so that workers elsewhere agree on it; names have no dot."""
        return str(parse_uri(weights)) if weights and names_file(weights) else weights

    @property
    def sizes(self) -> tuple[int | None, ...]:
        """The sizes at which a pretrained network sees an image; None: the data's."""
        return self.image_size if isinstance(self.image_size, tuple) else (self.image_size,)


class LossConfig(Strict):
    """A loss by name. focal with ``gamma=0`` and no class balancing is plain cross-entropy."""

    name: Literal["focal", "gce"] = "focal"
    """A key of `models.losses.LOSSES`."""
    smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Label smoothing: the share of each label that is spread over both classes alike."""
    gamma: float = Field(default=0.0, ge=0)
    """focal: how much easy examples are discounted: ``(1 - p_t) ** gamma``."""
    alpha: float = Field(default=0.25, ge=0, le=1)
    """The weight of class 1 (class 0 has ``1 - alpha``); acts only with `class_balancing`."""
    class_balancing: bool = False
    q: float = Field(default=0.7, gt=0, le=1)
    """gce: near 0 it is cross-entropy, at 1 the mean absolute error, which noise moves least."""
    teacher: str | None = None
    """Networks whose word is taken beside the labels': the folder of a finished trial that has
    judged all training faces, as the ensemble of a sweep's finalists has
    (``RUN/ensembles/ID-ensemble``), each by networks that were not trained on it."""
    trust: float = Field(default=0.5, ge=0, le=1)
    """How much of each label is the teacher's probability instead."""

    @field_validator("teacher")
    @classmethod
    def _absolute(cls, teacher: str | None) -> str | None:
        return str(parse_uri(teacher)) if teacher else None


class MethodConfig(Strict):
    """How the losses of a batch become what is minimised."""

    name: Literal["erm", "group_dro", "gap_penalty"] = "erm"
    """A key of `models.methods.METHODS`."""
    step: float = Field(default=0.01, gt=0)
    """group_dro: how fast weight moves to the groups of large loss."""
    penalty: float = Field(default=1.0, ge=0)
    """gap_penalty: the weight of the gap beside the loss."""
