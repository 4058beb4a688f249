from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from core.engine import Engine
from core.errors import TrainingError
from core.training import networks
from core.training.export import serving_model, to_flatbuffer
from core.training.recipes import get_recipe
from tests import drawings

IMAGES = np.random.default_rng(0).normal(size=(3, 32, 32, 3)).astype(np.float32)


def trained(name: str) -> keras.Model:
    """A network whose batch norms have seen something."""
    keras.utils.set_random_seed(1)
    model = get_recipe(name).build((32, 32, 3), 4)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            rng = np.random.default_rng(2)
            size = layer.gamma.shape
            values = [rng.uniform(0.5, 2, size), rng.normal(size=size), rng.normal(size=size)]
            layer.set_weights([*values, rng.uniform(0.5, 2, size)])
    return model


def fine_layer(model: keras.Model) -> keras.Layer:
    """The deepest layer with at least 7×7 cells."""
    return [x for x in model.layers if len(x.output.shape) == 4 and x.output.shape[1] >= 7][-1]


@pytest.mark.parametrize(("name", "cells"), [("baseline", 8), ("classic", 13)])
def test_maps_are_gradient_times_activation(name: str, cells: int) -> None:
    model = trained(name)
    outputs = serving_model(model)(IMAGES)
    assert outputs["maps"].shape == (3, cells, cells, 4)
    features = keras.Model(model.input, fine_layer(model).output)(IMAGES)
    above = keras.Model(fine_layer(model).output, model.output)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(features)
        logits = tf.unstack(above(features), axis=1)
    expected = [tf.reduce_sum(tape.gradient(logit, features) * features, -1) for logit in logits]
    assert np.allclose(outputs["maps"], np.stack(expected, axis=-1), atol=1e-4)


@pytest.mark.parametrize("name", ["baseline", "classic"])
def test_flat_regions_count_once(name: str) -> None:
    """Where cells of a pool tie, the gradient may take any; the sum of all evidence is the same."""
    model = trained(name)
    ship = np.asarray(drawings.ship(32, 32), np.float32) / 255
    images = np.stack([np.full((32, 32, 3), 0.5, np.float32), ship])
    sums = np.sum(serving_model(model)(images)["maps"], axis=(1, 2))
    features = keras.Model(model.input, fine_layer(model).output)(images)
    above = keras.Model(fine_layer(model).output, model.output)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(features)
        logits = tf.unstack(above(features), axis=1)
    expected = [tf.reduce_sum(tape.gradient(x, features) * features, (1, 2, 3)) for x in logits]
    assert np.allclose(sums, np.stack(expected, axis=-1), atol=1e-3)


@pytest.mark.parametrize("name", ["baseline", "classic"])
def test_the_flatbuffer_gives_what_the_model_gives(name: str) -> None:
    model = serving_model(trained(name))
    engine = Engine(to_flatbuffer(model), shape=(32, 32), classes=4, threads=1)
    expected = {key: np.asarray(value) for key, value in model(IMAGES).items()}
    given = engine.run(IMAGES)
    for key, value in expected.items():
        # Weights are stored in float16; a unit that hardly fires may then not fire, so the maps
        # are compared as a whole.
        error = np.linalg.norm(getattr(given, key) - value) / np.linalg.norm(value)
        assert error < (0.05 if key == "maps" else 0.005), key


def test_layers_that_cannot_be_led_back_through_are_refused() -> None:
    x = image = layers.Input((32, 32, 3))
    x = layers.Conv2D(4, 3, padding="same")(x)
    x = layers.GlobalAveragePooling2D(name="embedding")(x)
    with pytest.raises(TrainingError, match="GlobalAveragePooling2D"):
        serving_model(keras.Model(image, layers.Dense(2)(x)))
    x = layers.Conv2D(4, 3, strides=8)(image)
    x = layers.Dense(3, name="embedding")(layers.Flatten()(x))
    with pytest.raises(TrainingError, match="7×7 cells"):
        serving_model(keras.Model(image, layers.Dense(2)(x)))
    x = layers.Conv2D(4, 3)(image)
    x = layers.Dense(3, activation="gelu", name="embedding")(layers.Flatten()(x))
    with pytest.raises(TrainingError, match="ReLU is needed"):
        serving_model(keras.Model(image, layers.Dense(2)(x)))


@pytest.mark.parametrize(
    "layer",
    [
        layers.MaxPooling2D(3, strides=2),
        layers.MaxPooling2D(2, padding="same"),
        layers.Conv2D(4, 3, strides=2),
        layers.Conv2D(4, 3, groups=2),
        layers.AveragePooling2D(2),
    ],
)
def test_layers_of_another_make_are_refused(layer: keras.Layer) -> None:
    x = image = layers.Input((10, 10, 3))
    x = layers.Conv2D(4, 3)(layers.Conv2D(4, 3)(x))
    x = layer(x)
    x = layers.Dense(3, name="embedding")(layers.Flatten()(x))
    with pytest.raises(TrainingError, match="cannot be led back through"):
        serving_model(keras.Model(image, layers.Dense(2)(x)))


def test_networks_take_any_shape_and_number_of_classes() -> None:
    for build in (networks.baseline, networks.classic):
        assert build((48, 40, 3), 7).output.shape == (None, 7)
