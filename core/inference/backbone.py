"""A loaded model.tflite, which several classifiers can share."""

from __future__ import annotations

from dataclasses import dataclass

from core.bundle.config import MODEL
from core.bundle.folder import Bundle
from core.inference.engine import Engine

__all__ = ["Backbone"]


@dataclass(frozen=True)
class Backbone:
    """A loaded model.tflite and the model folder that it belongs to.

    The classifier of that folder shares it with those of all models that were taught on it.
    """

    bundle: Bundle
    engine: Engine

    @classmethod
    def load(cls, bundle: Bundle, *, threads: int) -> Backbone:
        """Load the model.tflite of a bundle.

        Args:
            bundle: A model folder with a model.tflite.
            threads: Number of threads for one inference.

        Raises:
            BundleError: The file is missing, corrupt or not usable.
        """
        config = bundle.config
        engine = Engine(
            bundle.read(MODEL),
            shape=(config.input.height, config.input.width),
            classes=len(config.labels),
            threads=threads,
        )
        return cls(bundle, engine)
