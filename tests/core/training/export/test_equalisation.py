"""Equal scales of concatenated features, and what they are worth with int8 weights."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers
from numpy.typing import NDArray

from core.inference.engine import Engine
from core.training.export.equalisation import equalise_features
from core.training.export.evidence_maps import occlusion_model
from core.training.export.flatbuffer import to_flatbuffer

_SIDE = 16
_CHANNELS = 40


@pytest.fixture(scope="module")
def network() -> keras.Model:
    """Return a network whose logits depend as much on its small features as on its large ones."""
    keras.utils.set_random_seed(0)
    inputs = layers.Input((_SIDE, _SIDE, 3), name="image")
    below = layers.Conv2D(_CHANNELS, 3, 2, "same", activation="relu", name="below")(inputs)
    above = layers.Conv2D(_CHANNELS, 3, 1, "same", activation="relu", name="above")(below)
    features = layers.Concatenate(name="features")([below, above])
    embedding = layers.GlobalAveragePooling2D(name="embedding")(features)
    model = keras.Model(inputs, layers.Dense(30, name="logits")(embedding))
    kernel, bias = model.get_layer("above").get_weights()
    model.get_layer("above").set_weights([kernel / 500, bias])
    kernel, bias = model.get_layer("logits").get_weights()
    kernel[_CHANNELS:] *= 500
    model.get_layer("logits").set_weights([kernel, bias])
    return model


@pytest.fixture(scope="module")
def images() -> NDArray[np.float32]:
    """Return normalised images."""
    return np.random.default_rng(0).normal(size=(20, _SIDE, _SIDE, 3)).astype(np.float32)


def _int8_logits(model: keras.Model, images: NDArray[np.float32]) -> NDArray[np.float32]:
    content = to_flatbuffer(occlusion_model(model), "int8")
    return Engine(content, shape=(_SIDE, _SIDE), classes=30, threads=1).run(images).logits


def test_equalised_network_computes_the_same_logits(
    network: keras.Model, images: NDArray[np.float32]
) -> None:
    equalised = equalise_features(network)
    np.testing.assert_allclose(equalised(images), network(images), rtol=1e-3, atol=1e-4)


def test_equalised_parts_have_weights_of_one_scale(network: keras.Model) -> None:
    kernel, _ = equalise_features(network).get_layer("logits").get_weights()
    scales = np.sqrt((kernel.reshape(2, -1) ** 2).mean(axis=1))
    np.testing.assert_allclose(scales, 1, rtol=1e-4)


def test_small_features_survive_int8_weights(
    network: keras.Model, images: NDArray[np.float32]
) -> None:
    exact = np.asarray(network(images))

    def error(model: keras.Model) -> float:
        return float(np.linalg.norm(_int8_logits(model, images) - exact) / np.linalg.norm(exact))

    assert error(equalise_features(network)) < error(network) / 3


def test_part_without_weight_is_kept_as_it_is(network: keras.Model) -> None:
    model = keras.models.clone_model(network)
    model.set_weights(network.get_weights())
    kernel, bias = model.get_layer("logits").get_weights()
    kernel[:_CHANNELS] = 0
    model.get_layer("logits").set_weights([kernel, bias])
    found, _ = equalise_features(model).get_layer("logits").get_weights()
    assert np.isfinite(found).all()
    assert not found[:_CHANNELS].any()


def test_network_with_one_part_is_returned_unchanged() -> None:
    inputs = layers.Input((_SIDE, _SIDE, 3), name="image")
    x = layers.Conv2D(4, 3, name="features")(inputs)
    x = layers.GlobalAveragePooling2D(name="embedding")(x)
    model = keras.Model(inputs, layers.Dense(3, name="logits")(x))
    assert equalise_features(model) is model
