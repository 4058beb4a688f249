"""Runs a model's flatbuffer with LiteRT."""

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
_ANSWERS = ("logits", "embedding")
_MAPS = "maps"
_FEATURES = "features"
"""The map behind the embedding, which `explain` may give too."""


@dataclass(frozen=True)
class Outputs:
    """What a model gives for n images.

    Attributes:
        logits: Shape (n, k), float32.
        embedding: Features before the last layer, shape (n, d), float32.
    """

    logits: NDArray[np.float32]
    embedding: NDArray[np.float32]


def _expected(signatures: list[str]) -> dict[str, set[str]]:
    """What each signature should give.

    Raises:
        BundleError: There are others.
    """
    if len(signatures) == 1:
        return {signatures[0]: {*_ANSWERS, _MAPS}}
    if set(signatures) != {PREDICT, EXPLAIN}:
        raise BundleError(
            f"model.tflite has the signatures {sorted(signatures)}; expected {PREDICT} and "
            f"{EXPLAIN}, or one alone."
        )
    return {PREDICT: {*_ANSWERS}, EXPLAIN: {_MAPS}}


class Engine:
    """One loaded model. Any thread may call its methods; calls follow one another.

    The flatbuffer has two signatures over the same weights: `predict` gives logits and embedding,
    `explain` gives maps, which may cost several times as much, and may give `features`, the map
    behind the embedding. One signature of any name may give all of these instead.

    Attributes:
        features: Length of an embedding.

    Args:
        model: Content of model.tflite.
        shape: (height, width) of the images it must take.
        classes: Number of logits it must give.
        threads: Threads that one call may use.

    Raises:
        BundleError: The content is no flatbuffer, or has other inputs or outputs.
    """

    def __init__(self, model: bytes, *, shape: tuple[int, int], classes: int, threads: int) -> None:
        try:
            self._interpreter = Interpreter(model_content=model, num_threads=threads)
            signatures = self._interpreter.get_signature_list()
        except (ValueError, RuntimeError, TypeError) as error:
            raise BundleError(f"model.tflite cannot be loaded: {error}") from error
        expected = _expected(list(signatures))
        for name, outputs in expected.items():
            found = signatures[name]
            if found["inputs"] != [INPUT] or set(found["outputs"]) - {_FEATURES} != outputs:
                raise BundleError(
                    f"Signature {name} of model.tflite takes {found['inputs']} and gives "
                    f"{sorted(found['outputs'])}; expected [{INPUT!r}] and {sorted(outputs)}."
                )
        self._predict, self._explain = (
            self._interpreter.get_signature_runner(
                next(name for name, outputs in expected.items() if wanted in outputs)
            )
            for wanted in ("logits", _MAPS)
        )
        self._lock = threading.Lock()
        image = np.zeros((1, *shape, 3), np.float32)
        answer, maps = self.run(image), self.explain(image)
        logits = answer.logits
        self.features = answer.embedding.shape[-1]
        if logits.shape != (1, classes) or maps.shape[-1] != classes:
            raise BundleError(
                f"model.tflite gives logits {logits.shape} and maps {maps.shape} for one image; "
                f"config.json names {classes} labels."
            )

    def run(self, images: NDArray[np.float32]) -> Outputs:
        """Run the model.

        Args:
            images: Shape (n, height, width, 3), float32, normalised, n at least 1.

        Raises:
            BundleError: The model does not take images of this shape.
        """
        outputs = self._call(self._predict, images)
        return Outputs(**{name: outputs[name] for name in _ANSWERS})

    def explain(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Evidence for each class at each place: shape (n, h, w, k), float32.

        Args:
            images: As for `run`.

        Raises:
            BundleError: The model does not take images of this shape.
        """
        return self._call(self._explain, images)[_MAPS]

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
