"""LiteRT runtime for a model's flatbuffer."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
from ai_edge_litert.interpreter import Interpreter, SignatureRunner
from numpy.typing import NDArray

from core.errors import BundleError

__all__ = ["EXPLAIN", "INPUT", "PREDICT", "Engine", "Outputs"]

INPUT = "image"
PREDICT, EXPLAIN = "predict", "explain"
_PREDICT_OUTPUTS = ("logits", "embedding")
_MAPS = "maps"
_FEATURES = "features"
"""The feature map that the embedding is computed from, an optional output of `explain`."""


@dataclass(frozen=True)
class Outputs:
    """Logits and embeddings of n images.

    Attributes:
        logits: Shape (n, k), float32, for k labels.
        embedding: Input of the classification layer, shape (n, d), float32.
    """

    logits: NDArray[np.float32]
    embedding: NDArray[np.float32]


def _expected_outputs(signatures: list[str]) -> dict[str, set[str]]:
    """Return the required outputs of each signature.

    Raises:
        BundleError: The flatbuffer has other signatures.
    """
    if len(signatures) == 1:
        return {signatures[0]: {*_PREDICT_OUTPUTS, _MAPS}}
    if set(signatures) != {PREDICT, EXPLAIN}:
        raise BundleError(
            f"model.tflite has the signatures {sorted(signatures)}; expected {PREDICT} and "
            f"{EXPLAIN}, or a single one. Export the model again."
        )
    return {PREDICT: {*_PREDICT_OUTPUTS}, EXPLAIN: {_MAPS}}


class Engine:
    """A LiteRT interpreter for one model. Methods are thread-safe; calls are serialised by a lock.

    The flatbuffer has two signatures over the same weights. `predict` returns `logits` and
    `embedding`. `explain` returns `maps`, the class evidence maps, which may cost several times as
    much, and optionally `features`, the feature map that the embedding is computed from.
    Alternatively, a single signature of any name returns all of them.

    Attributes:
        features: Length d of an embedding.
        has_features: Whether `explain` returns the feature map; `maps` are then class activation
            maps, whose means are the logits.
        transfer_s: Seconds that all calls so far have spent on anything but the model itself:
            always 0, since the model runs in this process.

    Args:
        model: Content of model.tflite.
        shape: Height and width of the input images, in pixels.
        classes: Expected number of logits.
        threads: Number of threads for one call.

    Raises:
        BundleError: The content is not a flatbuffer, or its inputs or outputs differ from these.
    """

    transfer_s = 0.0

    def __init__(self, model: bytes, *, shape: tuple[int, int], classes: int, threads: int) -> None:
        try:
            self._interpreter = Interpreter(model_content=model, num_threads=threads)
            signatures = self._interpreter.get_signature_list()
        except (ValueError, RuntimeError, TypeError) as error:
            raise BundleError(
                f"model.tflite cannot be loaded: {error}. Download or export the model again."
            ) from error
        expected = _expected_outputs(list(signatures))
        for name, outputs in expected.items():
            found = signatures[name]
            if found["inputs"] != [INPUT] or set(found["outputs"]) - {_FEATURES} != outputs:
                raise BundleError(
                    f"Signature {name} of model.tflite has inputs {found['inputs']} and outputs "
                    f"{sorted(found['outputs'])}; expected [{INPUT!r}] and {sorted(outputs)}. "
                    "Export the model again."
                )
        self._predict, self._explain = (
            self._interpreter.get_signature_runner(
                next(name for name, outputs in expected.items() if output in outputs)
            )
            for output in ("logits", _MAPS)
        )
        self.has_features = any(_FEATURES in signatures[name]["outputs"] for name in expected)
        self._lock = threading.Lock()
        image = np.zeros((1, *shape, 3), np.float32)
        prediction, maps = self.run(image), self.explain(image)
        logits = prediction.logits
        self.features = prediction.embedding.shape[-1]
        if logits.shape != (1, classes) or maps.shape[-1] != classes:
            raise BundleError(
                f"model.tflite returns logits of shape {logits.shape} and maps of shape "
                f"{maps.shape} for one image, but config.json names {classes} labels. Export the "
                "model again."
            )

    def run(self, images: NDArray[np.float32]) -> Outputs:
        """Compute logits and embeddings.

        Args:
            images: Normalised images of shape (n, height, width, 3), float32, n at least 1.

        Raises:
            BundleError: The model does not accept this shape.
        """
        outputs = self._call(self._predict, images)
        return Outputs(**{name: outputs[name] for name in _PREDICT_OUTPUTS})

    def explain(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute class evidence maps.

        Args:
            images: As for `run`.

        Returns:
            Array of shape (n, h, w, k), float32.

        Raises:
            BundleError: The model does not accept this shape.
        """
        return self._call(self._explain, images)[_MAPS]

    def features_of(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute feature maps whose mean over places is the embedding.

        Args:
            images: As for `run`.

        Returns:
            Array of shape (n, h, w, d), float32; of one place, the embedding itself, for a model
            without the output `features`.

        Raises:
            BundleError: The model does not accept this shape.
        """
        outputs = self._call(self._explain, images)
        if _FEATURES in outputs:
            return outputs[_FEATURES]
        return self.run(images).embedding[:, None, None, :]

    def _call(
        self, signature: SignatureRunner, images: NDArray[np.float32]
    ) -> dict[str, NDArray[np.float32]]:
        try:
            with self._lock:
                outputs: dict[str, NDArray[np.float32]] = signature(**{INPUT: images})
        except (ValueError, RuntimeError) as error:
            raise BundleError(
                f"model.tflite cannot run on images of shape {images.shape}: {error}"
            ) from error
        return outputs
