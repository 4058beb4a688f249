"""The async face that fronts call: a bounded queue before the models, with a deadline."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from core.catalog import Catalog, Entry
from core.classifier import Prediction
from core.errors import BusyError, DeadlineError, PredictorError
from core.images import Photo

__all__ = ["LocalPredictor", "Predictor"]

# Two: one photo is decoded while another is in the model, which takes one at a time.
_WORKERS = 2
_CLOSED = "The predictor is closed."


class Predictor(Protocol):
    """What fronts need; they do not know whether it is in their process."""

    def models(self) -> list[Entry]:
        """The models that can be asked for, by name."""

    def default_model(self) -> str:
        """Name of the model that answers when none is asked for."""

    async def predict(self, photo: Photo, *, model: str | None = None) -> Prediction:
        """Classify one photo.

        Raises:
            ImageError: The photo cannot be answered.
            PhotoReadError: The path cannot be read.
            ModelNotFoundError: No model of that name.
            BundleError: The model's folder is damaged.
            BusyError: All places are taken; says when to come back.
            DeadlineError: The answer was not there in time.
            PredictorError: The predictor is closed.
        """


class LocalPredictor:
    """A `Predictor` with the models in this process. Safe to share between event loops.

    Args:
        catalog: The models.
        queue_size: Photos that may wait or run at once.
        deadline_s: Seconds after which a photo is given up; one that still waits is then dropped.
    """

    def __init__(self, catalog: Catalog, *, queue_size: int, deadline_s: float) -> None:
        self._catalog = catalog
        self._queue_size = queue_size
        self._deadline_s = deadline_s
        self._executor = ThreadPoolExecutor(_WORKERS, thread_name_prefix="predict")
        self._lock = threading.Lock()
        self._taken = 0
        self._seconds = 0.1  # running mean of one photo's work, for `retry_after`

    def models(self) -> list[Entry]:
        """The models that can be asked for, by name."""
        return self._catalog.entries()

    def default_model(self) -> str:
        """Name of the model that answers when none is asked for."""
        return self._catalog.default()

    async def predict(self, photo: Photo, *, model: str | None = None) -> Prediction:
        """Classify one photo; errors as in `Predictor.predict`."""
        with self._lock:
            if self._taken >= self._queue_size:
                raise BusyError(max(1, math.ceil(self._taken * self._seconds / _WORKERS)))
            self._taken += 1
        # The executor keeps what it was given until a worker comes to it, also when it was dropped;
        # so it is given a box, which is emptied then.
        box = [photo]
        try:
            future = self._executor.submit(self._work, box, model)
        except RuntimeError as error:
            self._leave(box)
            raise PredictorError(_CLOSED) from error
        future.add_done_callback(lambda _: self._leave(box))
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), self._deadline_s)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if future.cancelled() and not (task and task.cancelling()):
                # Nobody stopped waiting: `close` dropped the photo.
                raise PredictorError(_CLOSED) from None
            raise
        except TimeoutError as error:
            raise DeadlineError(
                f"No answer within {self._deadline_s:g} s; the photo was given up. Try again."
            ) from error

    def close(self) -> None:
        """Answer no more; what waits is dropped, what runs is finished."""
        self._executor.shutdown(cancel_futures=True)

    def _work(self, box: list[Photo], model: str | None) -> Prediction:
        started = time.perf_counter()
        try:
            return self._catalog.load(model).predict(box[0])
        finally:
            with self._lock:
                self._seconds += 0.1 * (time.perf_counter() - started - self._seconds)

    def _leave(self, box: list[Photo]) -> None:
        """A place is free once the work is over, not once somebody stopped waiting for it."""
        box.clear()
        with self._lock:
            self._taken -= 1
