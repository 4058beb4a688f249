"""A loaded model.tflite, which several classifiers can share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.bundle.config import MODEL
from core.bundle.folder import Bundle
from core.inference.engine import Engine

if TYPE_CHECKING:
    from core.inference.isolated_engine import IsolatedEngine
    from core.message_process import MessageProcess

__all__ = ["Backbone", "load_engine"]


@dataclass(frozen=True)
class Backbone:
    """A loaded model.tflite and the model folder that it belongs to.

    The classifier of that folder shares it with those of all models that were taught on it.
    """

    bundle: Bundle
    engine: Engine | IsolatedEngine

    @classmethod
    def load(cls, bundle: Bundle, *, threads: int) -> Backbone:
        """Load the model.tflite of a bundle.

        Args:
            bundle: A model folder with a model.tflite.
            threads: Number of threads for one inference.

        Raises:
            BundleError: The file is missing, corrupt or not usable.
        """
        return cls(bundle, load_engine(bundle, threads=threads))

    @classmethod
    def isolate(
        cls, bundle: Bundle, *, threads: int, on_start: Callable[[MessageProcess], object]
    ) -> Backbone:
        """Load the model.tflite of a bundle in a worker process, which may crash or hang.

        Args:
            bundle: As for `load`.
            threads: As for `load`.
            on_start: As for `IsolatedEngine`.

        Raises:
            BundleError: As for `load`.
            EngineStartError: As for `IsolatedEngine`.
        """
        # An import that few processes need.
        from core.inference.isolated_engine import IsolatedEngine  # noqa: PLC0415

        engine = IsolatedEngine(
            bundle.folder, classes=len(bundle.config.labels), threads=threads, on_start=on_start
        )
        return cls(bundle, engine)


def load_engine(bundle: Bundle, *, threads: int) -> Engine:
    """Load the engine of a model folder in this process; arguments as for `Backbone.load`."""
    config = bundle.config
    return Engine(
        bundle.read(MODEL),
        shape=(config.input.height, config.input.width),
        classes=len(config.labels),
        threads=threads,
    )
