"""Runs a model's flatbuffer with LiteRT."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from core.errors import BundleError

__all__ = ["Engine", "Outputs"]

INPUT = "image"
OUTPUTS = ("logits", "embedding", "maps")


@dataclass(frozen=True)
class Outputs:
    """What a model gives for n images.

    Attributes:
        logits: Shape (n, k), float32.
        embedding: Features before the last layer, shape (n, d), float32.
        maps: Evidence for each class at each place, shape (n, h, w, k), float32.
    """

    logits: NDArray[np.float32]
    embedding: NDArray[np.float32]
    maps: NDArray[np.float32]


class Engine:
    """One loaded model. `run` may be called from any thread; calls follow one another.

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
            if len(signatures) != 1:
                raise BundleError(f"model.tflite has {len(signatures)} signatures, expected one.")
            (key,) = signatures
            self._run = self._interpreter.get_signature_runner(key)
        except (ValueError, RuntimeError, TypeError) as error:
            raise BundleError(f"model.tflite cannot be loaded: {error}") from error
        self._lock = threading.Lock()
        inputs, outputs = signatures[key]["inputs"], signatures[key]["outputs"]
        if inputs != [INPUT] or set(outputs) != set(OUTPUTS):
            raise BundleError(
                f"model.tflite takes {inputs} and gives {sorted(outputs)}; expected [{INPUT!r}] "
                f"and {sorted(OUTPUTS)}."
            )
        probe = self.run(np.zeros((1, *shape, 3), np.float32))
        if probe.logits.shape != (1, classes) or probe.maps.shape[-1] != classes:
            raise BundleError(
                f"model.tflite gives logits {probe.logits.shape} and maps {probe.maps.shape} for "
                f"one image; config.json names {classes} labels."
            )

    def run(self, images: NDArray[np.float32]) -> Outputs:
        """Run the model.

        Args:
            images: Shape (n, height, width, 3), float32, normalised, n at least 1.

        Raises:
            BundleError: The model does not take images of this shape.
        """
        try:
            with self._lock:
                outputs = self._run(**{INPUT: images})
        except (ValueError, RuntimeError) as error:
            raise BundleError(
                f"model.tflite cannot run on images of shape {images.shape}: {error}"
            ) from error
        return Outputs(**{name: outputs[name] for name in OUTPUTS})
