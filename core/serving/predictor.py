"""The interfaces between fronts and predictors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from core.bundle.leaderboard import ModelInfo
from core.errors import ModelNotFoundError
from core.inference.prediction import Prediction
from core.photos.decode import Photo

__all__ = ["NullObserver", "Observer", "Predictor", "PreviewedPrediction", "find_model"]


@dataclass(frozen=True)
class PreviewedPrediction:
    """A prediction, and what its photo looks like: no front decodes a photo itself.

    Attributes:
        prediction: As `Predictor.predict` gives it.
        preview: The photo upright, shape (h, w, 3), uint8.
        model_input: What the model saw of it, shape (height, width, 3), uint8; of several crops
            the middle one.
    """

    prediction: Prediction
    preview: NDArray[np.uint8]
    model_input: NDArray[np.uint8]


class Predictor(Protocol):
    """What fronts need; they do not know whether it is in their process."""

    def models(self) -> list[ModelInfo]:
        """The models that can be asked for, by name.

        Raises:
            UnavailableError: The predictor is closed, or cannot be reached.
        """

    def default_model(self) -> str:
        """Name of the model that answers when none is asked for.

        Raises:
            ModelNotFoundError: There is none.
            UnavailableError: The predictor is closed, or cannot be reached.
        """

    def model(self, name: str) -> ModelInfo:
        """Return an available model by name.

        Raises:
            ModelNotFoundError: There is no model of that name.
            UnavailableError: The predictor is closed, or cannot be reached.
        """

    async def predict(
        self,
        photo: Photo,
        *,
        model: str | None = None,
        saliency: bool = False,
        client: str | None = None,
    ) -> Prediction:
        """Classify one photo.

        Args:
            photo: Bytes of a file, a path, or a PIL image.
            model: Name of the model; None: the default one.
            saliency: Also tell what in the photo spoke for the answer.
            client: Who sent the photo: a visitor, a chat, a key. While others wait, no client holds
                more than its share of the places. None: who may hold all, as the command line.

        Raises:
            ImageError: The photo cannot be answered.
            PhotoReadError: The path cannot be read.
            ModelNotFoundError: No model of that name.
            BundleError: The model's folder is damaged.
            BusyError: All places are taken; says when to come back.
            DeadlineError: The answer was not there in time.
            UnavailableError: The predictor is closed, or cannot be reached.
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
        """Classify one photo, and return what it looks like.

        Arguments and errors are those of `predict`; `side` is how many pixels the longer side of
        the preview has, up to 1,024.
        """

    async def archival_jpeg(self, photo: Photo) -> bytes:
        """Encode a photo as it is kept where its sender agreed.

        Returns:
            JPEG of at most 1,024 pixels a side, without metadata.

        Raises:
            ImageError, PhotoReadError, PredictorError: As in `predict`.
        """

    def close(self) -> None:
        """Answer no more; what waits is dropped, what runs is finished."""


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
    """Hears how photos fare; called from any thread. Each photo is told of once."""

    def on_answer(self, prediction: Prediction, waited_s: float, infer_s: float) -> None:
        """After an answer that somebody waited for.

        Args:
            prediction: The answer; `timing_ms.decode` is what that took.
            waited_s: Seconds that the photo waited, before it was decoded and after.
            infer_s: Seconds that the model ran, on all photos of its batch.
        """

    def on_error(self, error: Exception) -> None:
        """After a photo that got none: a full queue and a passed deadline too."""


class NullObserver:
    """An `Observer` that does nothing."""

    def on_answer(self, prediction: Prediction, waited_s: float, infer_s: float) -> None:
        """Do nothing."""

    def on_error(self, error: Exception) -> None:
        """Do nothing."""
