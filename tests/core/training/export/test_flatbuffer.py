"""Conversion to flatbuffers, and their signatures."""

from __future__ import annotations

import functools

import keras
import numpy as np
import pytest

from core.bundle.config import Precision
from core.inference.engine import Engine
from core.training.export.evidence_maps import occlusion_model
from core.training.export.flatbuffer import to_flatbuffer
from core.training.recipes import get_recipe
from tests.support.networks import NETWORKS, images, served


@functools.cache
def flatbuffer(name: str, precision: Precision) -> bytes:
    """Return the flatbuffer of a network."""
    return to_flatbuffer(served(name), precision)


# Each precision is tested with one network at least; the rest takes a minute.
_QUICK = {("baseline", "float32"), ("classic", "float16"), ("classic", "int8")}


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        pytest.param(name, precision, marks=[pytest.mark.long] * ((name, precision) not in _QUICK))
        for name in NETWORKS
        for precision in ("float32", "float16", "int8")
    ],
)
def test_flatbuffer_computes_what_the_model_computes(name: str, precision: Precision) -> None:
    side, _ = NETWORKS[name]
    engine = Engine(flatbuffer(name, precision), shape=(side, side), classes=4, threads=1)
    expected = {key: np.asarray(value) for key, value in served(name)(images(name)).items()}
    answers = engine.run(images(name))
    given = {
        "logits": answers.logits,
        "embedding": answers.embedding,
        "maps": engine.explain(images(name)),
    }
    # With rounded weights a unit near 0 may be inactive, or another cell the maximum of its pool;
    # so maps are compared as a whole.
    allowed = {"float32": (1e-3, 0.02), "float16": (0.02, 0.2), "int8": (0.1, 0.6)}[precision]
    for key, value in expected.items():
        error = np.linalg.norm(given[key] - value) / np.linalg.norm(value)
        assert error < allowed[key == "maps"], key


@pytest.mark.parametrize("name", ["transfer", pytest.param("finetuned", marks=pytest.mark.long)])
def test_signatures_of_vgg16_share_their_weights(name: str) -> None:
    """Check the size of the file, and that each image of a batch gets its own maps."""
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
    # The maps of so large a network take seconds in Keras.
    expected = np.asarray(keras.Model(model.input, model.output["logits"])(inputs))
    error = np.linalg.norm(engine.run(inputs).logits - expected) / np.linalg.norm(expected)
    assert error < 0.1


def test_signatures_share_their_weights() -> None:
    assert len(flatbuffer("scratch", "int8")) < 1.2 * served("scratch").count_params()
