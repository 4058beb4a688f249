"""Networks for the tests of the export."""

from __future__ import annotations

import functools

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from core.training.export.evidence_maps import gradient_model
from core.training.recipes import get_recipe

__all__ = ["NETWORKS", "images", "served", "trained"]

# Side of the images, and cells of the maps, of each network.
NETWORKS = {"baseline": (32, 8), "classic": (32, 13), "scratch": (32, 7), "mobilenet": (64, 8)}


def images(name: str) -> NDArray[np.float32]:
    """Return three random images of the size that a network takes."""
    side, _ = NETWORKS[name]
    return np.random.default_rng(0).normal(size=(3, side, side, 3)).astype(np.float32)


@functools.cache
def trained(name: str) -> keras.Model:
    """Return a network with random statistics of batch normalisation; do not change it."""
    keras.utils.set_random_seed(1)
    side, _ = NETWORKS[name]
    model = get_recipe(name).build((side, side, 3), 4)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            rng = np.random.default_rng(2)
            size = layer.beta.shape
            layer.beta.assign(rng.normal(size=size))
            layer.moving_mean.assign(rng.normal(size=size))
            layer.moving_variance.assign(rng.uniform(0.5, 2, size))
            if layer.scale:
                layer.gamma.assign(rng.uniform(0.5, 2, size))
    return model


@functools.cache
def served(name: str) -> keras.Model:
    """Return the network with the outputs of serving."""
    return gradient_model(trained(name))
