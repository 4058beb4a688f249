"""Input gradients."""

from __future__ import annotations

import keras
import numpy as np

from core.photos.preprocess import InputSpec
from core.training.input_gradient import input_gradient


def test_gradient_of_a_linear_network_is_its_weights() -> None:
    spec = InputSpec(
        height=8,
        width=9,
        resize="squash",
        interpolation="bilinear",
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    )
    inputs = keras.Input((8, 9, 3))
    logits = keras.layers.Dense(2, name="logits")(keras.layers.Flatten()(inputs))
    model = keras.Model(inputs, logits)
    weights = np.asarray(model.get_layer("logits").kernel)
    explain = input_gradient(model, spec)
    for label in range(2):
        found = explain(np.full((8, 9, 3), 7, np.uint8), label)
        expected = np.abs(weights[:, label].reshape(8, 9, 3)).sum(axis=-1)
        np.testing.assert_allclose(found, expected, rtol=1e-5)
