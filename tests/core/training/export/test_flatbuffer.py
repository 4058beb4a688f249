from __future__ import annotations

import functools
import tempfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from numpy.typing import NDArray

from core.bundle.config import Precision
from core.errors import BundleError, TrainingError
from core.inference.engine import Engine
from core.training.export.flatbuffer import occlusion_model, serving_model, to_flatbuffer
from core.training.recipes import get_recipe
from tests.support import drawings

# Side of the images, and cells of the maps, of each network.
NETWORKS = {"baseline": (32, 8), "classic": (32, 13), "scratch": (32, 7), "mobilenet": (64, 8)}


def images(name: str) -> NDArray[np.float32]:
    side, _ = NETWORKS[name]
    return np.random.default_rng(0).normal(size=(3, side, side, 3)).astype(np.float32)


@functools.cache
def trained(name: str) -> keras.Model:
    """A network whose batch norms have seen something; nobody changes it."""
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
    """It, as it is exported."""
    return serving_model(trained(name))


@functools.cache
def flatbuffer(name: str, precision: Precision) -> bytes:
    """What it is exported to."""
    return to_flatbuffer(served(name), precision)


def fine_layer(model: keras.Model) -> keras.Layer:
    """The deepest layer with at least 7×7 cells."""
    return [x for x in model.layers if len(x.output.shape) == 4 and x.output.shape[1] >= 7][-1]


@pytest.mark.parametrize("name", NETWORKS)
def test_maps_are_gradient_times_activation(name: str) -> None:
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
    # The slope of GELU is taken by a formula that is right to .002, here three times over.
    assert error < (0.03 if name == "scratch" else 1e-5)


@pytest.mark.parametrize("name", ["baseline", "classic"])
def test_flat_regions_count_once(name: str) -> None:
    """Where cells of a pool tie, the gradient may take any; the sum of all evidence is the same."""
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


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_flatbuffer_gives_what_the_model_gives(name: str, precision: Precision) -> None:
    side, _ = NETWORKS[name]
    engine = Engine(flatbuffer(name, precision), shape=(side, side), classes=4, threads=1)
    expected = {key: np.asarray(value) for key, value in served(name)(images(name)).items()}
    answers = engine.run(images(name))
    given = {
        "logits": answers.logits,
        "embedding": answers.embedding,
        "maps": engine.explain(images(name)),
    }
    # Of less exact weights a unit that hardly fires may not fire, and another cell win its pool; so
    # maps are compared as a whole.
    allowed = {"float32": (1e-3, 0.02), "float16": (0.02, 0.2), "int8": (0.1, 0.6)}[precision]
    for key, value in expected.items():
        error = np.linalg.norm(given[key] - value) / np.linalg.norm(value)
        assert error < allowed[key == "maps"], key


def test_occlusion_is_what_hiding_takes_away() -> None:
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


def test_occlusion_hides_parts_of_a_layer_that_all_goes_through() -> None:
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
    with pytest.raises(TrainingError, match="not all goes through one layer of more than 7×7"):
        occlusion_model(past)


@pytest.mark.parametrize("name", ["transfer", pytest.param("finetuned", marks=pytest.mark.long)])
def test_vgg16_is_stored_once(name: str) -> None:
    """Both signatures share its kernels, and each image of a batch gets its own maps."""
    keras.utils.set_random_seed(1)
    recipe = get_recipe(name)
    side = recipe.input.height
    model = occlusion_model(recipe.build((side, side, 3), 10))
    content = to_flatbuffer(model, "int8")
    assert len(content) < 16e6
    engine = Engine(content, shape=(side, side), classes=10, threads=1)
    inputs = 50 * np.repeat(np.repeat(images("classic"), side // 32, axis=1), side // 32, axis=2)
    maps = engine.explain(inputs)
    assert maps.shape == (3, 7, 7, 10)
    assert np.array_equal(maps[1:2], engine.explain(inputs[1:2]))
    expected = np.asarray(model(inputs)["logits"])
    error = np.linalg.norm(engine.run(inputs).logits - expected) / np.linalg.norm(expected)
    assert error < 0.1


def _flatbuffer(signatures: dict[str, list[str]]) -> bytes:
    """A model of one convolution, with these outputs in these signatures."""
    x = image = layers.Input((8, 8, 3), name="image")
    maps = layers.Conv2D(4, 2)(x)
    embedding = layers.GlobalAveragePooling2D()(maps)
    tensors = {"maps": maps, "embedding": embedding, "logits": layers.Dense(4)(embedding)}
    archive = keras.export.ExportArchive()
    whole = keras.Model(image, tensors)
    archive.track(whole)
    for name, outputs in signatures.items():
        part = keras.Model(image, {output: tensors[output] for output in outputs})
        spec = tf.TensorSpec((None, 8, 8, 3), tf.float32, name="image")
        archive.add_endpoint(name, part.call, input_signature=[spec])
    with tempfile.TemporaryDirectory() as folder:
        archive.write_out(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(
            folder, signature_keys=list(signatures)
        )
        content: bytes = converter.convert()
        return content


@pytest.mark.parametrize(
    ("signatures", "message"),
    [
        (
            {"predict": ["maps"], "explain": ["logits", "embedding"]},
            r"Signature predict .* has inputs .* and outputs \['maps'\]",
        ),
        ({"predict": ["logits"], "explain": ["maps"]}, r"expected \['image'\] and \['embedding', "),
        ({"predict": ["logits"], "show": ["maps"]}, r"has the signatures \['predict', 'show'\]"),
        (
            {"any": ["logits", "maps"]},
            r"Signature any of .* expected .* \['embedding', 'logits', 'm",
        ),
        (
            {"predict": ["logits", "embedding"], "explain": ["maps"], "more": ["maps"]},
            "expected predict and explain, or a single one",
        ),
    ],
)
def test_other_signatures_are_refused(signatures: dict[str, list[str]], message: str) -> None:
    with pytest.raises(BundleError, match=message):
        Engine(_flatbuffer(signatures), shape=(8, 8), classes=4, threads=1)


def test_one_signature_may_give_all() -> None:
    content = _flatbuffer({"any": ["logits", "embedding", "maps"]})
    engine = Engine(content, shape=(8, 8), classes=4, threads=1)
    image = np.ones((1, 8, 8, 3), np.float32)
    assert engine.run(image).embedding.shape == (1, 4)
    assert engine.explain(image).shape == (1, 7, 7, 4)


def test_both_signatures_share_their_weights() -> None:
    assert len(flatbuffer("scratch", "int8")) < 1.2 * served("scratch").count_params()


def test_layers_that_cannot_be_led_back_through_are_refused() -> None:
    x = image = layers.Input((32, 32, 3))
    x = layers.Conv2D(4, 3, padding="same")(x)
    x = layers.GlobalMaxPooling2D(name="embedding")(x)
    with pytest.raises(TrainingError, match="GlobalMaxPooling2D"):
        serving_model(keras.Model(image, layers.Dense(2)(x)))
    small = layers.Input((8, 8, 3))
    x = layers.Dense(3, name="embedding")(layers.Flatten()(layers.Conv2D(4, 3)(small)))
    with pytest.raises(TrainingError, match="7×7 cells"):
        serving_model(keras.Model(small, layers.Dense(2)(x)))
    x = layers.Conv2D(4, 3)(image)
    x = layers.Dense(3, activation="gelu", name="embedding")(layers.Flatten()(x))
    with pytest.raises(TrainingError, match="ReLU6 is needed"):
        serving_model(keras.Model(image, layers.Dense(2)(x)))


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
def test_layers_of_another_make_are_refused(layer: keras.Layer) -> None:
    x = image = layers.Input((10, 10, 3))
    x = layers.Conv2D(4, 3)(layers.Conv2D(4, 3)(x))
    x = layer(x)
    x = layers.Dense(3, name="embedding")(layers.Flatten()(x))
    with pytest.raises(TrainingError, match="cannot be led back through"):
        serving_model(keras.Model(image, layers.Dense(2)(x)))
