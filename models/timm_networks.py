"""timm's networks, as `models.zoo.Zoo` has them: ``timm:NAME``, or ``timm:NAME.WEIGHTS``.

timm itself knows what its weights were trained on, how to take a head off and what its layers are
called, whatever the network.
"""

import warnings
from difflib import get_close_matches
from typing import Any

from torch import Tensor, nn

from models.config import ModelConfig
from models.zoo import TIMM, Preprocessing
from orchestrator.base.errors import InputError
from orchestrator.base.files import one_line


def make(name: str) -> nn.Module:
    """Make a network, its weights random."""
    timm, wanted = _timm(name), name.removeprefix(TIMM)
    architecture, _, tag = wanted.partition(".")
    if not timm.is_model(architecture):
        near = get_close_matches(architecture, timm.list_models(), cutoff=0.5)
        raise InputError(
            f"model.name={name}: timm {timm.__version__} has no such network; it has "
            f"{', '.join(near) or 'those of timm.list_models()'}"
        )
    if tag and wanted not in (tags := timm.list_models(f"{architecture}.*", pretrained=True)):
        raise InputError(
            f"model.name={name}: timm {timm.__version__} has no such weights of {architecture}; it "
            f"has {', '.join(tags) or 'none'}"
        )
    network: nn.Module = timm.create_model(wanted)
    return network


def cut(network: nn.Module, config: ModelConfig) -> str:
    """Cut off what the head replaces; return the name of the network's last layer."""
    last: Any = _trained_on(network).get("classifier")
    if not isinstance(last, str):  # those trained by distillation have two
        raise InputError(
            f"model.name={config.name}: has no last layer of its own, or several; choose another "
            "network, such as timm:resnet50"
        )
    reset: Any = network.reset_classifier
    reset(0, "") if config.head == "flatten" else reset(0)
    return last


def preprocessing(config: ModelConfig) -> Preprocessing:
    """Return what ``config.weights`` were trained on."""
    timm = _timm(config.name)
    known = timm.data.resolve_data_config(
        pretrained_cfg=timm.get_pretrained_cfg(config.name.removeprefix(TIMM)).to_dict()
    )
    way = known["interpolation"] if known["interpolation"] in ("bilinear", "bicubic") else "bicubic"
    return Preprocessing(tuple(known["mean"]), tuple(known["std"]), way, known["input_size"][-1])


def weights(_: ModelConfig) -> list[str]:
    """Return none: a name of timm's says which weights it means."""
    return []


def download(config: ModelConfig) -> dict[str, Tensor]:
    """Fetch the weights of a network from timm's hub."""
    wanted = config.name.removeprefix(TIMM)
    try:
        network: nn.Module = _timm(config.name).create_model(wanted, pretrained=True)
    except Exception as error:  # offline; a network without weights
        raise InputError(
            f"model.weights: timm cannot download those of {wanted} ({one_line(error)}); fetch "
            "them where there is a network and give them with --set model.weights=FILE, or train "
            "from model.weights=random"
        ) from None
    return network.state_dict()


def renamed(key: str) -> str:
    """Return a name as it is: timm's files are its networks' own."""
    return key


def _trained_on(network: nn.Module) -> dict[str, Any]:
    """Return what timm knows of a network's weights."""
    known: Any = network.pretrained_cfg
    return dict(known)


def _timm(name: str) -> Any:
    try:
        with warnings.catch_warnings():  # what torch says of timm is no user's to mend
            warnings.simplefilter("ignore", FutureWarning)
            import timm
    except ImportError:
        raise InputError(
            f"model.name={name}: timm is not installed; pip install 'fairfront[timm]'"
        ) from None
    return timm
