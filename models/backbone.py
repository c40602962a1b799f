"""torchvision's and timm's networks under a head of our own, frozen or not."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.hooks import RemovableHandle

from models.cnn import dense, init_like_keras
from models.config import ModelConfig
from models.weights import load_weights
from models.zoo import TIMM, Zoo
from orchestrator.base.errors import InputError
from orchestrator.base.files import one_line


class BackboneNetwork(nn.Module):
    """A network of torchvision's or timm's as a backbone, and a dense head.

    The backbone ends before the network's last layer (``model.head=pooled``), or before its pooling
    (``flatten``); of ``stages`` the means over the maps that its stages end with are its features.
    Where it sees several sizes its features of each follow one another, and of an image and its
    mirror image they are the means.
    It has their parameter names under ``backbone.``. What is frozen of it
    has no gradients and stays in evaluation mode, so that its batch statistics never change, and
    torch keeps no activations of what lies before the first unfrozen stage.

    Parameters
    ----------
    image_size
        Pixels a side of the square images; they are resized here where the network is to see others
        (``model.image_size``).
    config
        The network, its weights, what is unfrozen of it, and the head.
    pretrained
        Load the weights; otherwise they are random.

    Raises
    ------
    InputError
        There is no such network, it does not fit such images or such a head, or its weights
        cannot be had.
    """

    mean: Tensor
    std: Tensor
    width: int
    """Features of an image."""

    def __init__(self, image_size: int, config: ModelConfig, *, pretrained: bool) -> None:
        super().__init__()
        zoo = zoo_of(config.name)
        self._config = config
        self.backbone = zoo.make(config.name)
        cut, known = zoo.cut(self.backbone, config), zoo.preprocessing(config)
        for name, values in {"mean": known.mean, "std": known.std}.items():
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)
        self._sides = [size or image_size for size in config.sizes]
        self._interpolation, last = known.interpolation, cut.split(".")[0]
        every = [_trace(self.backbone, side, last, config.name) for side in self._sides]
        self._stages, self._looks = every[0].stages, []
        self.width = sum(traced.width for traced in every)
        if config.head == "stages":
            self._looks = every[0].ends
            self.width = len(every) * sum(end.channels for end in self._looks)
            if len(self._stages) == 1:
                raise InputError(
                    f"model.head=stages: {config.name} does not come in stages; use pooled"
                )
        self.head = nn.Sequential(*dense(self.width, config))
        self.head.apply(init_like_keras)
        if config.unfreeze == "last_stage" and len(self._stages) == 1:
            raise InputError(
                f"model.unfreeze=last_stage: {config.name} does not come in stages; use none or all"
            )
        self.backbone.requires_grad_(config.unfreeze == "all")
        for parameter in (p for stage in self._unfrozen for p in _parameters(stage)):
            parameter.requires_grad_(True)
        if pretrained and config.weights != "random":
            load_weights(self.backbone, zoo, config, cut)
        self.train()

    def forward(self, images: Tensor) -> Tensor:
        """Give the logits of images.

        Parameters
        ----------
        images
            Shape (n, 3, image_size, image_size), RGB in [0, 1]; they are normalised here. Or what
            `features` made of them, shape (n, D).

        Returns
        -------
        Shape (n,); the probability of class 1 is their sigmoid.
        """
        logit: Tensor = self.head(images if images.ndim == 2 else self.features(images))
        return logit.squeeze(1)

    def features(self, images: Tensor) -> Tensor:
        """Return what the backbone makes of images, shape (n, 3, image_size, image_size).

        Returns
        -------
        Shape (n, D).
        """
        made = torch.cat([self._features(images, side) for side in self._sides], 1)
        if not self._config.mirror:
            return made
        mirrored = images.flip(3)
        return (made + torch.cat([self._features(mirrored, side) for side in self._sides], 1)) / 2

    def _features(self, images: Tensor, side: int) -> Tensor:
        """Return what the backbone makes of images that it sees at a size."""
        if images.shape[-1] != side:
            # Bicubic values run over at edges; those of real images, that were rounded, do not.
            images = interpolate(
                images, (side, side), mode=self._interpolation, antialias=True
            ).clamp(0, 1)
        means: list[Tensor] = []
        # Hooked for this call alone: a network that is copied, or exported, has none.
        hooks = [end.add_mean_to(means) for end in self._looks]
        try:
            last: Tensor = self.backbone((images - self.mean) / self.std)
        finally:
            for hook in hooks:
                hook.remove()
        return torch.cat(means, 1) if means else last.flatten(1)

    def train(self, mode: bool = True) -> Self:
        """Set training mode for what trains: frozen batch statistics and dropout stay as they are.

        Frozen layers normalise by the statistics that their weights were trained with.
        """
        super().train(mode)
        if self._config.unfreeze != "all":
            self.backbone.eval()
        for module in (module for stage in self._unfrozen for module in stage):
            module.train(mode)
        return self

    def parameter_groups(self) -> list[tuple[list[nn.Parameter], float]]:
        """Return what trains, each stage and then the head, with its factor on the learning rate.

        The first unfrozen stage has ``lr_backbone``, the head 1, and those between them rise by
        equal ratios: the nearer to the image, the more general are features, and the less there is
        to change (Howard and Ruder, Universal Language Model Fine-tuning, ACL 2018).
        """
        stages = [_parameters(stage) for stage in self._unfrozen]
        if stages:  # a class token belongs to no module of its own
            known = {parameter for stage in stages for parameter in stage}
            others = (p for p in self.backbone.parameters() if p.requires_grad and p not in known)
            stages[0] = [*others, *stages[0]]
        first = 1.0 if self._config.weights == "random" else self._config.lr_backbone
        factors = [first ** (1 - number / len(stages)) for number in range(len(stages))]
        return [*zip(stages, factors, strict=True), (list(self.head.parameters()), 1.0)]

    @property
    def _unfrozen(self) -> list[list[nn.Module]]:
        first = {"none": len(self._stages), "last_stage": -1, "all": 0}[self._config.unfreeze]
        return self._stages[first:]


def zoo_of(name: str) -> Zoo:
    """Return the library that has a network; both take seconds to import."""
    if name.startswith(TIMM):
        from models import timm_networks

        return timm_networks
    from models import torchvision_networks

    return torchvision_networks


def note_on_size(config: ModelConfig, image_size: int) -> str:
    """Say where images are smaller than those that the weights were trained on; else nothing.

    Parameters
    ----------
    config
        A pretrained network.
    image_size
        Pixels a side of the data's images.
    """
    if config.weights == "random":
        return ""
    trained = zoo_of(config.name).preprocessing(config).image_size
    seen = max(size or image_size for size in config.sizes)
    of_weights = f"{config.name}: its weights were trained on images of {trained} pixels"
    if seen < trained:
        return f"{of_weights}, and it sees {seen}; more may serve it, and take longer"
    if image_size < trained:
        return f"{of_weights}; the data's {image_size} are enlarged, and show no more than they did"
    return ""


class _End(NamedTuple):
    """The last block of a stage, or, where it has none, its last layer that gives a map."""

    layer: nn.Module
    channels: int
    sides: tuple[int, int]
    """The axes of its map's height and width."""

    def add_mean_to(self, means: list[Tensor]) -> RemovableHandle:
        """Have the layer add the mean over each map that it makes, shape (n, channels)."""

        def add(_layer: nn.Module, _inputs: object, output: Tensor) -> None:
            means.append(output.float().mean(self.sides))

        return self.layer.register_forward_hook(add)


class _Traced(NamedTuple):
    """What running a network once showed."""

    stages: list[list[nn.Module]]
    width: int
    """Features that it ends in."""
    ends: list[_End]
    """Of its stages, in order."""


def _parameters(modules: list[nn.Module]) -> list[nn.Parameter]:
    return [parameter for module in modules for parameter in module.parameters()]


@torch.inference_mode()
def _trace(network: nn.Module, image_size: int, last: str, name: str) -> _Traced:
    """Run a network once, to find its stages, how they end and how many features it gives.

    A new stage begins with the first layer that makes the map smaller, or after it where it has no
    parameters. For the ResNets these are what they call layer1 to layer4, and the layers
    before them. Layers of the child `last` belong to the last stage.
    """
    stages: list[list[nn.Module]] = [[]]
    ends: dict[int, _End] = {}
    side, begins = image_size, False

    def look(module: nn.Module, _inputs: object, output: Tensor) -> None:
        nonlocal side, begins
        # Two sides last but one in n, channels, height, width as in n, height, width, channels.
        if output.ndim == 4:
            begins, side = begins or output.shape[-2] < side, output.shape[-2]
        if next(module.parameters(), None) is not None:
            if begins and stages[-1]:
                stages.append([])
            stages[-1].append(module)
            begins = False
        # What follows the last block, as MobileNet's widening, was made for ImageNet's classes.
        if output.ndim == 4 and not begins and (_is_block(module) or not at_block(len(stages))):
            sides = (2, 3) if output.shape[2] == output.shape[3] else (1, 2)
            ends[len(stages)] = _End(module, output.shape[1 if sides == (2, 3) else 3], sides)

    def at_block(stage: int) -> bool:
        return stage in ends and _is_block(ends[stage].layer)

    network.eval()
    rest = dict(network.named_children())
    ending = rest.pop(last)
    hooks = [layer.register_forward_hook(look) for layer in _layers(rest.values())]
    try:
        features = network(torch.zeros(1, 3, image_size, image_size))
    except (RuntimeError, AssertionError, ValueError) as error:
        fit = "give model.name a network that does, such as resnet50, or prepare larger images"
        raise InputError(
            f"model.name={name}: does not take images of {image_size} pixels "
            f"({one_line(error)}); {fit}"
        ) from None
    finally:
        for hook in hooks:
            hook.remove()
    stages[-1].append(ending)
    return _Traced(stages, features.flatten(1).shape[1], [ends[at] for at in sorted(ends)])


def _is_block(module: nn.Module) -> bool:
    """Tell a block of several layers from one; timm's norms have their activation in them."""
    return next(module.children(), None) is not None and not isinstance(module, _NormBase)


def _layers(modules: Iterable[nn.Module]) -> Iterator[nn.Module]:
    """Give the modules in order, and in place of mere sequences what they hold."""
    for module in modules:
        if isinstance(module, nn.Sequential | nn.ModuleList):
            yield from _layers(module)
        else:
            yield module
