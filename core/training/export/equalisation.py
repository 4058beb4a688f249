"""Weight equalisation: features of different layers at one scale, for int8 quantisation."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

__all__ = ["equalise_features"]

_FEATURES = "features"


def equalise_features(model: keras.Model) -> keras.Model:
    """Scale the parts of the layer `features` so that their weights are of the same size.

    With int8 weights, LiteRT quantises the input of a dense layer with one scale for all features.
    VGG16's blocks differ in scale by a factor of a hundred, so the features of the last block would
    be rounded away. Each part is multiplied by the root mean square of its weights in the dense
    layer that follows, and these weights are divided by it, which leaves the logits unchanged
    (weight equalisation, Nagel et al. 2019, arXiv 1906.04721).

    Args:
        model: Network in which a dense layer follows the layer `features`, directly or after a
            pooling layer `embedding`, whose output is then scaled with its input.

    Returns:
        A copy that computes the same logits; `model` itself if `features` does not concatenate
        parts.
    """
    names = [layer.name for layer in model.layers]
    if _FEATURES not in names or not isinstance(model.get_layer(_FEATURES), layers.Concatenate):
        return model
    above = model.layers[names.index(_FEATURES) + 1 :]
    dense = next(layer for layer in above if isinstance(layer, layers.Dense))
    kernel, *bias = dense.get_weights()
    sizes = [part.shape[-1] for part in model.get_layer(_FEATURES).input]
    scales = [_root_mean_square(part) for part in np.split(kernel, np.cumsum(sizes)[:-1])]

    def call(layer: keras.Layer, *args: Any, **kwargs: Any) -> Any:
        if layer.name == _FEATURES:
            (parts,) = args
            args = ([layers.Rescaling(s)(part) for s, part in zip(scales, parts, strict=True)],)
        return layer(*args, **kwargs)

    copy = keras.models.clone_model(model, call_function=call)
    copy.set_weights(model.get_weights())
    copy.get_layer(dense.name).set_weights([kernel / np.repeat(scales, sizes)[:, None], *bias])
    return copy


def _root_mean_square(kernel: NDArray[np.float32]) -> float:
    """Return the root mean square of weights; 1 if all are 0, since no scale changes them."""
    return float(np.sqrt((kernel.astype(np.float64) ** 2).mean())) or 1.0
