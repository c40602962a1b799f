"""What images look like, in three numbers each, that tell whether others are of the same kind."""

import numpy as np
from numpy.typing import NDArray

NAMES = ("brightness", "contrast", "sharpness")
LUMA = np.array([0.299, 0.587, 0.114], np.float32) / 255
"""What red, green and blue weigh in how bright a pixel looks (ITU-R BT.601)."""


def appearance(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Measure images as the network sees them.

    Parameters
    ----------
    images
        Shape (n, H, W, 3), RGB.

    Returns
    -------
    ndarray of float32, shape (n, 3)
        `NAMES`: the mean of the pixels' luma, 0 black and 1 white; its standard deviation; and the
        mean step between neighbouring pixels, which falls where images are blurred, or were
        smaller than the network sees them.
    """
    luma = images @ LUMA
    across, down = (np.abs(np.diff(luma, axis=axis)).mean(axis=(1, 2)) for axis in (2, 1))
    return np.stack(
        [luma.mean(axis=(1, 2)), luma.std(axis=(1, 2)), (across + down) / 2], axis=1
    ).astype(np.float32)
