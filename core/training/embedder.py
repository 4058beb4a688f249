"""Embeddings of a network that is in training, computed on LiteRT where Keras can export to it."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from core.inference.engine import INPUT, PREDICT
from core.photos.preprocess import InputSpec
from core.settings import processors
from core.training.data.photo_batches import LabelledBatches, LabelledImages
from core.training.export.flatbuffer import EMBEDDING, embedding_flatbuffer

__all__ = ["Embedder"]


class Embedder:
    """A layer of a network, with the weights that it has now.

    LiteRT computes it about three times as fast as Keras. Only TensorFlow can export to it; on
    another backend Keras computes it.

    Args:
        model: The network; its later changes have no effect.
        spec: How images are brought to their size and normalised.
        layer: Name of a layer that gives shape (n, d).
    """

    def __init__(self, model: keras.Model, spec: InputSpec, layer: str = EMBEDDING) -> None:
        self._spec = spec
        body = keras.Model(model.input, model.get_layer(layer).output)
        self._run = _on_litert(body, spec) if _can_export() else _on_keras(body)

    def embed(self, data: LabelledImages) -> NDArray[np.float32]:
        """Return the embeddings of images, shape (n, d), float32.

        Args:
            data: At least one image.
        """
        batches = LabelledBatches(data, self._spec, int(data.labels.max()) + 1)
        return np.concatenate([self._run(batches[i][0]) for i in range(len(batches))])


def _can_export() -> bool:
    return bool(keras.backend.backend() == "tensorflow")


def _on_litert(
    body: keras.Model, spec: InputSpec
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    content = embedding_flatbuffer(body, spec.height, spec.width)
    interpreter = Interpreter(model_content=content, num_threads=processors())
    runner = interpreter.get_signature_runner(PREDICT)

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.array(runner(**{INPUT: images})[EMBEDDING], np.float32)

    return run


def _on_keras(body: keras.Model) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(body.predict(images, verbose=0), np.float32)

    return run
