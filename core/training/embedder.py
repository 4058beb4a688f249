"""Embeddings of a network during training, computed with LiteRT where Keras can export."""

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
from core.training.export.evidence_maps import EMBEDDING
from core.training.export.flatbuffer import embedding_flatbuffer

__all__ = ["Embedder"]


class Embedder:
    """Output of a layer, with the weights that the network has at construction.

    LiteRT is about three times as fast as Keras. Export needs TensorFlow; on another backend Keras
    computes the output.

    Args:
        model: The network.
        spec: Size and normalisation of the images.
        layer: Name of a layer with output of shape (n, d).
    """

    def __init__(self, model: keras.Model, spec: InputSpec, layer: str = EMBEDDING) -> None:
        self._spec = spec
        body = keras.Model(model.input, model.get_layer(layer).output)
        self._run = _on_litert(body, spec) if _can_export() else _on_keras(body)

    def embed(self, data: LabelledImages) -> NDArray[np.float32]:
        """Compute embeddings, shape (n, d), float32.

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
