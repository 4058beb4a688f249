"""Evidence maps of trained networks."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from core.errors import TrainingError
from core.training.export.evidence_maps import gradient_model, occlusion_model
from tests.support import drawings
from tests.support.networks import NETWORKS, images, served, trained


def fine_layer(model: keras.Model) -> keras.Layer:
    """Return the deepest layer with at least 7×7 cells."""
    return [x for x in model.layers if len(x.output.shape) == 4 and x.output.shape[1] >= 7][-1]


@pytest.mark.parametrize("name", NETWORKS)
def test_gradient_maps_are_gradient_times_activation(name: str) -> None:
    model = trained(name)
    outputs = served(name)(images(name))
    _, cells = NETWORKS[name]
    assert outputs["maps"].shape == (3, cells, cells, 4)
    features = keras.Model(model.input, fine_layer(model).output)(images(name))
    above = keras.Model(fine_layer(model).output, model.output)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(features)
        logits = tf.unstack(above(features), axis=1)
    expected = [tf.reduce_sum(tape.gradient(logit, features) * features, -1) for logit in logits]
    error = np.linalg.norm(outputs["maps"] - np.stack(expected, axis=-1)) / np.linalg.norm(expected)
    # The derivative of GELU is approximated to within 0.002, here three times over.
    assert error < (0.03 if name == "scratch" else 1e-5)


@pytest.mark.parametrize("name", ["baseline", "classic"])
def test_gradient_maps_count_flat_regions_once(name: str) -> None:
    """Sums are compared: where cells of a pool tie, the gradient may take any of them."""
    model = trained(name)
    ship = np.asarray(drawings.ship(32, 32), np.float32) / 255
    both = np.stack([np.full((32, 32, 3), 0.5, np.float32), ship])
    sums = np.sum(served(name)(both)["maps"], axis=(1, 2))
    features = keras.Model(model.input, fine_layer(model).output)(both)
    above = keras.Model(fine_layer(model).output, model.output)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(features)
        logits = tf.unstack(above(features), axis=1)
    expected = [tf.reduce_sum(tape.gradient(x, features) * features, (1, 2, 3)) for x in logits]
    assert np.allclose(sums, np.stack(expected, axis=-1), atol=1e-3)


def test_occlusion_maps_are_decreases_of_logits() -> None:
    model = trained("classic")
    outputs = occlusion_model(model)(images("classic"))
    maps = np.asarray(outputs["maps"])
    assert maps.shape == (3, 12, 12, 4), "2×2 cells at each place of 13×13"
    features = np.asarray(keras.Model(model.input, fine_layer(model).output)(images("classic")))
    above = keras.Model(fine_layer(model).output, model.output)
    assert np.allclose(outputs["logits"], above(features), atol=1e-5)
    for y, x in ((0, 0), (5, 11), (11, 3)):
        hidden = features.copy()
        hidden[:, y : y + 2, x : x + 2] = 0
        fallen = np.asarray(outputs["logits"]) - np.asarray(above(hidden))
        assert np.allclose(maps[:, y, x], fallen, atol=1e-4)
    small = layers.Input((8, 8, 3))
    x = layers.Dense(3, name="embedding")(layers.Flatten()(layers.Conv2D(4, 2)(small)))
    with pytest.raises(TrainingError, match=r"No layer of .* has more than 7×7 cells"):
        occlusion_model(keras.Model(small, layers.Dense(2)(x)))


def test_occlusion_needs_a_layer_on_all_paths() -> None:
    image = layers.Input((24, 24, 3))
    through = layers.Conv2D(4, 2, 2)(image)
    deeper = layers.Conv2D(4, 3, padding="same")(through)
    parts = [layers.GlobalAveragePooling2D()(x) for x in (through, deeper)]
    x = layers.Dense(3, name="embedding")(layers.Concatenate()(parts))
    model = keras.Model(image, layers.Dense(2)(x))
    assert occlusion_model(model).output["maps"].shape == (None, 11, 11, 2)
    other = layers.Conv2D(4, 2, 2)(image)
    x = layers.Concatenate()([layers.GlobalAveragePooling2D()(x) for x in (other, deeper)])
    past = keras.Model(image, layers.Dense(2)(layers.Dense(3, name="embedding")(x)))
    with pytest.raises(
        TrainingError, match="not all paths pass through one layer of more than 7×7"
    ):
        occlusion_model(past)


def test_gradient_model_refuses_unsupported_layers() -> None:
    x = image = layers.Input((32, 32, 3))
    x = layers.Conv2D(4, 3, padding="same")(x)
    x = layers.GlobalMaxPooling2D(name="embedding")(x)
    with pytest.raises(TrainingError, match="GlobalMaxPooling2D"):
        gradient_model(keras.Model(image, layers.Dense(2)(x)))
    small = layers.Input((8, 8, 3))
    x = layers.Dense(3, name="embedding")(layers.Flatten()(layers.Conv2D(4, 3)(small)))
    with pytest.raises(TrainingError, match="7×7 cells"):
        gradient_model(keras.Model(small, layers.Dense(2)(x)))
    x = layers.Conv2D(4, 3)(image)
    x = layers.Dense(3, activation="gelu", name="embedding")(layers.Flatten()(x))
    with pytest.raises(TrainingError, match="need ReLU or ReLU6"):
        gradient_model(keras.Model(image, layers.Dense(2)(x)))


@pytest.mark.parametrize(
    "layer",
    [
        layers.MaxPooling2D(3, strides=2),
        layers.MaxPooling2D(2, padding="same"),
        layers.Conv2D(4, 3, strides=2),
        layers.Conv2D(4, 3, groups=2),
        layers.AveragePooling2D(2),
        layers.Rescaling(2.0, offset=1.0),
        layers.DepthwiseConv2D(3),
        layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same"),
        layers.DepthwiseConv2D(5, strides=2, padding="same"),
        layers.DepthwiseConv2D(3, dilation_rate=2, padding="same"),
        layers.DepthwiseConv2D(2, padding="same"),
        layers.Conv2D(4, 2, padding="same"),
        layers.GlobalAveragePooling2D(keepdims=True),
    ],
)
def test_gradient_model_refuses_unsupported_settings(layer: keras.Layer) -> None:
    x = image = layers.Input((10, 10, 3))
    x = layers.Conv2D(4, 3)(layers.Conv2D(4, 3)(x))
    x = layer(x)
    x = layers.Dense(3, name="embedding")(layers.Flatten()(x))
    with pytest.raises(TrainingError, match="cannot be computed through"):
        gradient_model(keras.Model(image, layers.Dense(2)(x)))
