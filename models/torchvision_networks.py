"""torchvision's classification networks, as `models.zoo.Zoo` has them."""

import re
from difflib import get_close_matches
from typing import Any

from torch import Tensor, nn
from torchvision import models as zoo

from models.config import ModelConfig
from models.zoo import Preprocessing
from orchestrator.base.errors import InputError
from orchestrator.base.files import one_line

# NOTE: null means the first weights of a network, IMAGENET1K_V1, and not its newest. For ResNet50,
# V2 is better on ImageNet (80.9 against 76.1%), but it was trained with label smoothing, mixup and
# cutmix, and such training makes features that serve a new head worse while the backbone is frozen
# (Kornblith et al., Do Better ImageNet Models Transfer Better?, CVPR 2019). V1 is also trained as
# the published recipe's backbone was.


def make(name: str) -> nn.Module:
    """Make a network, its weights random."""
    networks = zoo.list_models(module=zoo)  # of classification alone
    if name not in networks:
        near = ", ".join(get_close_matches(name, networks, cutoff=0.5)) or "resnet50"
        raise InputError(
            f"model.name={name}: no such network; there are cnn, timm's (timm:NAME) and "
            f"torchvision's classification networks, such as {near}"
        )
    network: nn.Module = zoo.get_model(name, weights=None)
    if getattr(network, "aux_logits", False):
        raise InputError(
            f"model.name={name}: has auxiliary classifiers, which nothing here trains; choose "
            "another network, such as resnet50"
        )
    return network


def cut(network: nn.Module, config: ModelConfig) -> str:
    """Cut off what the head replaces; return the name of the network's last layer."""
    layers: list[str] = [n for n, part in network.named_modules() if isinstance(part, nn.Linear)]
    if not layers:
        raise InputError(
            f"model.name={config.name}: its last layer is not a dense one; choose another network, "
            "such as resnet50"
        )
    if config.head != "flatten":
        network.set_submodule(layers[-1], nn.Identity())
        return layers[-1]
    if not isinstance(getattr(network, "avgpool", None), nn.AdaptiveAvgPool2d):
        raise InputError(
            f"model.head=flatten: {config.name} has no map of features before a pooling layer; "
            "use model.head=pooled"
        )
    last = layers[-1].split(".")[0]
    network.set_submodule("avgpool", nn.Identity())
    network.set_submodule(last, nn.Identity())
    return last


def preprocessing(config: ModelConfig) -> Preprocessing:
    """Return what ``config.weights`` were trained on."""
    made = _on_hub(config).transforms()
    mean, std = tuple(made.mean), tuple(made.std)
    return Preprocessing(mean, std, made.interpolation.value, made.crop_size[0])


def weights(config: ModelConfig) -> list[str]:
    """Return the names of the network's weights."""
    return list(zoo.get_model_weights(config.name).__members__)


def download(config: ModelConfig) -> dict[str, Tensor]:
    """Fetch weights by name, or the network's first."""
    wanted = _on_hub(config)
    try:
        return dict(wanted.get_state_dict(progress=False, check_hash=True))
    except Exception as error:  # offline; a file that is not what was asked for
        raise InputError(
            f"model.weights: cannot download {wanted.url} ({one_line(error)}); fetch that file "
            "where there is a network and give it with --set model.weights=FILE"
        ) from None


def renamed(key: str) -> str:
    """Return the name of a parameter in files of DenseNets: old ones, which torchvision mends."""
    return re.sub(r"(denselayer\d+\.\w+)\.(?=\d\.)", r"\1", key)


def _on_hub(config: ModelConfig) -> Any:
    """Return the weights on torchvision's hub that are named, else the network's first."""
    named = zoo.get_model_weights(config.name)
    return named.__members__.get(config.weights) or next(iter(named))
