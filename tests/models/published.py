"""The published network in Keras, and the way of its weights into ours and back."""

from math import isqrt

import keras
import numpy as np
import torch


def keras_cnn(dropout=0.5, side=80):
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((side, side, 3)),
            layers.Conv2D(32, 3, activation="relu", data_format="channels_last"),
            layers.MaxPooling2D(2, data_format="channels_last"),
            layers.Conv2D(64, 3, activation="relu", data_format="channels_last"),
            layers.MaxPooling2D(2, data_format="channels_last"),
            layers.Conv2D(128, 3, activation="relu", data_format="channels_last"),
            layers.MaxPooling2D(2, data_format="channels_last"),
            layers.Flatten(),
            layers.Dense(512, activation="relu"),
            layers.Dropout(dropout),
            layers.Dense(1, activation="sigmoid"),
        ]
    )


def to_torch(array):
    if array.ndim == 4:  # height, width, in, out
        return array.transpose(3, 2, 0, 1)
    if array.shape[1:] == (512,):  # flattened from height, width, channel
        side = isqrt(len(array) // 128)
        return array.reshape(side, side, 128, 512).transpose(3, 2, 0, 1).reshape(512, -1)
    return array.T


def from_keras(arrays):
    """Bring Keras's weights, or gradients by weight, into our layout and order."""
    return [torch.tensor(np.ascontiguousarray(to_torch(array))) for array in arrays]


def copy_keras_weights(model, keras_model):
    with torch.no_grad():
        for parameter, value in zip(
            model.parameters(), from_keras(keras_model.get_weights()), strict=True
        ):
            parameter.copy_(value)


def to_keras(array):
    """Undo `to_torch`."""
    if array.ndim == 4:
        return array.transpose(2, 3, 1, 0)
    if array.ndim == 2 and len(array) == 512:
        side = isqrt(array.shape[1] // 128)
        return array.reshape(512, 128, side, side).transpose(2, 3, 1, 0).reshape(-1, 512)
    return array.T


def give_weights(model, keras_model):
    keras_model.set_weights([to_keras(value.detach().numpy()) for value in model.parameters()])
