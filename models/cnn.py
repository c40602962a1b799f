"""The reference convolutional network."""

import torch
from torch import Tensor, nn

from orchestrator.errors import InputError

SMALLEST_IMAGE = 22
"""Pixels a side below which nothing is left after the third pooling."""


class ReferenceCNN(nn.Module):
    """The published recipe's network, initialised as Keras would initialise it.

    Convolutions of 3×3 with 32, 64 and 128 channels, without padding, each with ReLU and 2×2
    max-pooling; then 512 units with ReLU, dropout, and one logit. It has 4,288,577 parameters for
    images of 80×80.

    Parameters
    ----------
    image_size
        Pixels a side of the square images.
    dropout
        The share of the 512 units that are dropped in training.

    Raises
    ------
    InputError
        The images are too small for three convolutions and poolings.
    """

    def __init__(self, image_size: int = 80, dropout: float = 0.5) -> None:
        super().__init__()
        if image_size < SMALLEST_IMAGE:
            raise InputError(
                f"model.name=cnn: images of {image_size} pixels are too small for it; prepare them "
                f"with --image-size {SMALLEST_IMAGE} or more"
            )
        side = image_size
        for _ in range(3):
            side = (side - 2) // 2
        self.features = nn.Sequential(*_stage(3, 32), *_stage(32, 64), *_stage(64, 128))
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(128 * side * side, 512),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(512, 1),
        )
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
        logit: Tensor = self.head(self.features(images))
        return logit.squeeze(1)


def _stage(channels_in: int, channels_out: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(channels_in, channels_out, kernel_size=3), nn.ReLU(), nn.MaxPool2d(2)


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
