"""The interfaces between fronts and predictors."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from core.bundle.config import Base
from core.bundle.leaderboard import ModelInfo
from core.errors import ModelNotFoundError, UnavailableError
from core.inference.embedding import Embedding
from core.inference.prediction import Prediction
from core.photos.decode import Photo

__all__ = [
    "NullObserver",
    "Observer",
    "Predictor",
    "PreviewedPrediction",
    "find_model",
    "wait_for_result",
]

_T = TypeVar("_T")


@dataclass(frozen=True)
class PreviewedPrediction:
    """A prediction with images for display, so that no front decodes a photo itself.

    Attributes:
        prediction: The prediction.
        preview: The upright photo, RGB array of shape (h, w, 3), uint8.
        model_input: The model's input, RGB array of shape (height, width, 3), uint8; of several
            crops the middle one.
    """

    prediction: Prediction
    preview: NDArray[np.uint8]
    model_input: NDArray[np.uint8]


class Predictor(Protocol):
    """Classifies photos, in this process or elsewhere."""

    def models(self) -> list[ModelInfo]:
        """Return the models that can be used, sorted by name.

        Raises:
            UnavailableError: The predictor is not available.
        """

    def model(self, name: str) -> ModelInfo:
        """Return a model by name.

        Raises:
            ModelNotFoundError: There is no model of that name.
            UnavailableError: The predictor is not available.
        """
        return find_model(self.models(), name)

    def default_model(self) -> str:
        """Return the name of the model that is used when none is named.

        Raises:
            ModelNotFoundError: There is no model.
            UnavailableError: The predictor is not available.
        """

    async def predict(
        self,
        photo: Photo,
        *,
        model: str | None = None,
        saliency: bool = False,
        client: str | None = None,
        best_effort: bool = False,
    ) -> Prediction:
        """Classify a photo.

        Args:
            photo: Bytes of a file, a path, or a PIL image.
            model: Name of the model; None for the default model.
            saliency: Whether to compute the saliency map.
            client: Key of the client that sent the photo, such as a visitor, a chat or an API key.
                While others wait, no client holds more than its share of the queue. None for a
                trusted caller such as the command line, which has no share.
            best_effort: Raise BusyError at once unless a worker is idle, so that the photo delays
                no other: for the frames of a video.

        Raises:
            ImageError: The photo cannot be used.
            PhotoReadError: The path cannot be read.
            ModelNotFoundError: There is no model of that name.
            BundleError: The model's folder is damaged.
            BusyError: The queue is full; `retry_after` says when to retry.
            DeadlineError: The prediction was not ready in time.
            UnavailableError: The predictor is closed or not available.
        """

    async def predict_with_preview(
        self,
        photo: Photo,
        *,
        side: int,
        model: str | None = None,
        saliency: bool = False,
        client: str | None = None,
    ) -> PreviewedPrediction:
        """Classify a photo and return images for display with the prediction.

        Args:
            photo: As in `predict`.
            side: Length of the preview's longer side in pixels, at most 1,024.
            model: As in `predict`.
            saliency: As in `predict`.
            client: As in `predict`.

        Raises:
            TenSightError: As in `predict`.
        """

    async def embed(
        self,
        photo: Photo,
        base: Base,
        *,
        features: bool = False,
        client: str | None = None,
        best_effort: bool = False,
    ) -> Embedding:
        """Compute the embedding of a photo, for the heads of taught models.

        Args:
            photo: As in `predict`.
            base: The model that computes it, as taught models name it.
            features: Whether to return feature maps as well.
            client: As in `predict`.
            best_effort: As in `predict`.

        Raises:
            ModelNotFoundError: The base is not installed where the models run.
            TenSightError: As in `predict`.
        """

    async def archival_jpeg(self, photo: Photo) -> bytes:
        """Encode a photo for storage, which its sender has agreed to.

        Returns:
            JPEG of at most 1,024 pixels a side, without metadata.

        Raises:
            ImageError, PhotoReadError, UnavailableError: As in `predict`.
        """

    def close(self) -> None:
        """Stop: fail the photos that wait and finish those that run."""


def find_model(models: Sequence[ModelInfo], name: str) -> ModelInfo:
    """Return the model of a name.

    Raises:
        ModelNotFoundError: There is no model of that name.
    """
    for model in models:
        if model.config.name == name:
            return model
    available = ", ".join(model.config.name for model in models) or "none"
    raise ModelNotFoundError(f"There is no model {name!r}. Available models: {available}.")


class Observer(Protocol):
    """Receives the outcome of each photo, once; called from any thread."""

    def on_answer(self, prediction: Prediction, waited_s: float, infer_s: float) -> None:
        """Handle a prediction that a caller was waiting for.

        Args:
            prediction: The prediction; `timing_ms.decode` is its decoding time.
            waited_s: Seconds in the queue, before and after decoding.
            infer_s: Seconds of inference for the whole batch.
        """

    def on_error(self, error: Exception) -> None:
        """Handle a failure, including a full queue and a passed deadline."""


class NullObserver:
    """An `Observer` that does nothing."""

    def on_answer(self, prediction: Prediction, waited_s: float, infer_s: float) -> None:
        """Do nothing."""

    def on_error(self, error: Exception) -> None:
        """Do nothing."""


async def wait_for_result(future: Future[_T]) -> _T:
    """Wait for a future that a predictor's `close` cancels.

    Raises:
        UnavailableError: The predictor was closed.
        asyncio.CancelledError: The caller was cancelled.
    """
    try:
        return await asyncio.wrap_future(future)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if future.cancelled() and not (task and task.cancelling()):
            raise UnavailableError.closed() from None
        raise
