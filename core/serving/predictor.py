"""The interfaces between fronts and predictors."""

from __future__ import annotations

from typing import Protocol

from core.bundle.leaderboard import Result
from core.inference.prediction import Prediction
from core.photos.decode import Photo

__all__ = ["NullObserver", "Observer", "Predictor"]


class Predictor(Protocol):
    """What fronts need; they do not know whether it is in their process."""

    def models(self) -> list[Result]:
        """The models that can be asked for, by name.

        Raises:
            PredictorError: They cannot be asked for now.
        """

    def default_model(self) -> str:
        """Name of the model that answers when none is asked for.

        Raises:
            ModelNotFoundError: There is none.
            PredictorError: It cannot be asked for now.
        """

    async def predict(
        self, photo: Photo, *, model: str | None = None, saliency: bool = False
    ) -> Prediction:
        """Classify one photo.

        Args:
            photo: Bytes of a file, a path, or a PIL image.
            model: Name of the model; None: the default one.
            saliency: Also tell what in the photo spoke for the answer.

        Raises:
            ImageError: The photo cannot be answered.
            PhotoReadError: The path cannot be read.
            ModelNotFoundError: No model of that name.
            BundleError: The model's folder is damaged.
            BusyError: All places are taken; says when to come back.
            DeadlineError: The answer was not there in time.
            PredictorError: The predictor is closed, or cannot be reached.
        """

    def close(self) -> None:
        """Answer no more; what waits is dropped, what runs is finished."""


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
