"""The networks. Each builder gives a Keras functional model from normalised images to logits."""

from __future__ import annotations

import keras
from keras import layers

__all__ = ["baseline", "classic"]

Shape = tuple[int, int, int]


def baseline(shape: Shape, classes: int) -> keras.Model:
    """Two convolutions and two dense layers: where the student's work began.

    Padding `same` keeps an 8×8 map for 32-pixel images, fine enough to show what the network saw.

    Args:
        shape: (height, width, channels) of the input.
        classes: Number of logits.
    """
    x = inputs = layers.Input(shape, name="image")
    for filters in (32, 64):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D(2)(x)
        x = layers.BatchNormalization()(x)
    x = layers.Flatten()(x)
    x = layers.Dense(128, activation="relu", name="embedding")(x)
    return keras.Model(inputs, layers.Dense(classes, name="logits")(x), name="baseline")


def classic(shape: Shape, classes: int) -> keras.Model:
    """The student's best network from scratch: 161,098 parameters for 32-pixel images, ten classes.

    Args:
        shape: (height, width, channels) of the input.
        classes: Number of logits.
    """
    x = inputs = layers.Input(shape, name="image")
    for filters in (32, 64, 128):
        x = layers.Conv2D(filters, 3, activation="relu")(x)
        x = layers.MaxPooling2D(2)(x)
        x = layers.BatchNormalization()(x)
    x = layers.Flatten()(x)
    x = layers.Dense(128, activation="relu", name="embedding")(x)
    x = layers.Dropout(0.4)(x)
    return keras.Model(inputs, layers.Dense(classes, name="logits")(x), name="classic")
