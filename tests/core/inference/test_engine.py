"""Signatures that an engine accepts."""

from __future__ import annotations

import tempfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from core.errors import BundleError
from core.inference.engine import Engine


def _flatbuffer(signatures: dict[str, list[str]]) -> bytes:
    """Convert a model of one convolution, with these outputs in these signatures."""
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
def test_engine_refuses_other_signatures(signatures: dict[str, list[str]], message: str) -> None:
    with pytest.raises(BundleError, match=message):
        Engine(_flatbuffer(signatures), shape=(8, 8), classes=4, threads=1)


def test_engine_accepts_a_single_signature() -> None:
    content = _flatbuffer({"any": ["logits", "embedding", "maps"]})
    engine = Engine(content, shape=(8, 8), classes=4, threads=1)
    image = np.ones((1, 8, 8, 3), np.float32)
    assert engine.run(image).embedding.shape == (1, 4)
    assert engine.explain(image).shape == (1, 7, 7, 4)
