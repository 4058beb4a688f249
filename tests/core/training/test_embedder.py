"""Embeddings of a network in training."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from core.photos.preprocess import normalise, resize
from core.training.data.photo_batches import LabelledImages
from core.training.embedder import Embedder
from tests.support import made


@pytest.mark.parametrize("side", [16, 24])
def test_embedder_matches_keras_at_any_size(side: int) -> None:
    inputs = layers.Input((None, None, 3), name="image")
    x = layers.Conv2D(8, 3, 2, padding="same", activation="relu")(inputs)
    x = layers.GlobalAveragePooling2D(name="embedding")(x)
    model = keras.Model(inputs, layers.Dense(3, name="logits")(x))
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (20 + i % 7, 30, 3), np.uint8) for i in range(60)]
    spec = made.recipe().input.model_copy(update={"height": side, "width": side})
    embedder = Embedder(model, spec)
    found = embedder.embed(LabelledImages(images, np.zeros(60, np.int64)))
    seen = normalise(np.stack([resize(image, spec) for image in images]), spec)
    expected = keras.Model(model.input, x).predict(seen, verbose=0)
    np.testing.assert_allclose(found, expected, atol=1e-5)
