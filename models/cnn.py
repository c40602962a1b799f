"""The family of convolutional networks that the published recipe's belongs to."""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from models.config import ModelConfig
from models.cuda_kernels import bias_pool_relu, convolve_pixels, fits
from orchestrator.base.errors import InputError


class CNN(nn.Module):
    """Stages of convolution and pooling and a dense head, initialised as Keras would do it.

    A stage is a convolution of 3×3 without padding, batch normalisation if wanted, ReLU and 2×2
    max-pooling. The head is a hidden layer with ReLU, dropout, and one logit. By default it is the
    reference network: 32, 64 and 128 channels, flattened, 512 hidden units; it has 4,288,577
    parameters for images of 80×80.

    Parameters
    ----------
    image_size
        Pixels a side of the square images.
    config
        Depth, width and batch normalisation of the stages; head, hidden units and dropout.

    Raises
    ------
    InputError
        The images are too small for so many stages.
    """

    def __init__(self, image_size: int = 80, config: ModelConfig | None = None) -> None:
        super().__init__()
        config = config or ModelConfig()
        smallest = smallest_image(config.depth)
        if image_size < smallest:
            raise InputError(
                f"model.depth={config.depth}: images of {image_size} pixels are too small for so "
                f"many stages; prepare them with --image-size {smallest} or more, or lower "
                "model.depth"
            )
        side = image_size
        for _ in range(config.depth):
            side = (side - 2) // 2
        if config.head == "stages":
            raise InputError("model.head=stages: is of pretrained networks; give the cnn another")
        channels = [3, *(config.width * 2**stage for stage in range(config.depth))]
        stages = [_stage(*both, config.batch_norm) for both in pairwise(channels)]
        self.features = nn.Sequential(*(layer for stage in stages for layer in stage))
        if config.head == "pooled":
            self.features.append(nn.AdaptiveAvgPool2d(1))
            side = 1
        self.head = nn.Sequential(nn.Flatten(), *dense(channels[-1] * side * side, config))
        self.apply(init_like_keras)

    def forward(self, images: Tensor) -> Tensor:
        """Give the logits of images.

        Parameters
        ----------
        images
            Shape (n, 3, image_size, image_size), RGB in [0, 1].

        Returns
        -------
        Shape (n,); the probability of class 1 is their sigmoid.
        """
        ours = images.is_cuda and not torch.compiler.is_compiling()
        logit: Tensor = self.head(self._maps(images) if ours else self.features(images))
        return logit.squeeze(1)

    def _maps(self, images: Tensor) -> Any:
        """Return what `features` makes of images on a GPU, where it can by kernels of our own."""
        convolutions = [layer for layer in self.features if isinstance(layer, nn.Conv2d)]
        if not all(fits(layer.out_channels, images.device) for layer in convolutions):
            return self.features(images)
        norms = [layer for layer in self.features if isinstance(layer, nn.BatchNorm2d)]
        at = images
        for number, layer in enumerate(convolutions):
            at = conv2d(at, layer.weight) if number else convolve_pixels(at, layer.weight)
            at = bias_pool_relu(norms[number](at) if norms else at, layer.bias)
        return self.features[-1](at) if isinstance(self.features[-1], nn.AdaptiveAvgPool2d) else at


def smallest_image(depth: int) -> int:
    """Return the pixels a side of which one is left after `depth` stages."""
    side = 1
    for _ in range(depth):
        side = 2 * side + 2
    return side


def dense(inputs: int, config: ModelConfig) -> tuple[nn.Module, ...]:
    """Return the layers of a head, from `inputs` features to a logit."""
    hidden = (nn.Linear(inputs, config.hidden), nn.ReLU()) if config.hidden else ()
    return *hidden, nn.Dropout(config.dropout), Logit(config.hidden or inputs, 1)


class Logit(nn.Linear):
    """The last layer, in float32 also where the rest is computed in bf16.

    In bf16 a logit has eight bits: of thousands of faces hundreds get the same, and a threshold
    decides on all of them at once.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        """Give logits, shape (n, 1), of inputs of shape (n, D)."""
        with torch.autocast(inputs.device.type, enabled=False):
            return super().forward(inputs.to(self.weight.dtype))


def _stage(channels_in: int, channels_out: int, batch_norm: bool) -> tuple[nn.Module, ...]:
    # The normalisation's own offset makes the convolution's bias idle.
    convolution = nn.Conv2d(channels_in, channels_out, kernel_size=3, bias=not batch_norm)
    normalisation = (nn.BatchNorm2d(channels_out),) if batch_norm else ()
    # The largest of four is positive or not whether ReLU comes before or after; after it, there is
    # a quarter to do, and the whole step takes less by a twentieth on a CPU.
    return convolution, *normalisation, nn.MaxPool2d(2), nn.ReLU()


@torch.no_grad()
def init_like_keras(module: nn.Module) -> None:
    """Initialise a layer with Keras's defaults: Glorot uniform weights and zero biases.

    torch's own defaults draw weights about 2.4 times as narrow for the first dense layer, and
    biases that are not zero.
    """
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
