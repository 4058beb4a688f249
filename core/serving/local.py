"""A predictor with the models in this process: a bounded queue with a deadline."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from core.bundle.leaderboard import Result
from core.errors import BundleError, BusyError, DeadlineError, PredictorError
from core.inference.classifier import MAX_BATCH, Classifier, Seen
from core.inference.prediction import Prediction
from core.photos.decode import Photo
from core.registry.catalog import Catalog
from core.serving.predictor import NullObserver, Observer
from core.settings import processors

__all__ = ["LocalPredictor"]

_CLOSED = "The predictor is closed."

logger = logging.getLogger(__name__)


@dataclass
class _Job:
    """A photo on its way.

    Attributes:
        photo: Emptied once it is decoded or given up, since a job may lie about longer.
        future: Runs from the moment that the photo is being decoded.
        given_up: Nobody waits for the answer any more.
    """

    photo: Photo | None
    model: str | None
    saliency: bool
    future: Future[Prediction] = field(default_factory=Future)
    given_up: bool = False
    entered: float = field(default_factory=time.perf_counter)


@dataclass(frozen=True)
class _Decoded:
    job: _Job
    classifier: Classifier
    seen: Seen


class LocalPredictor:
    """A `Predictor` with the models in this process. Safe to share between event loops.

    Photos are decoded by some threads while another runs the models. It takes what has been decoded
    for one model, at most 32 photos at once; no photo waits for others to come. To explain an
    answer may take a hundred times as long as to give it, so photos to be explained are taken one
    by one, in turn with the others.

    Args:
        catalog: The models.
        queue_size: Photos that may wait or run at once.
        deadline_s: Seconds after which a photo is given up; one that still waits is then dropped.
        observer: Hears how photos fare.
    """

    def __init__(
        self,
        catalog: Catalog,
        *,
        queue_size: int,
        deadline_s: float,
        observer: Observer | None = None,
    ) -> None:
        self._catalog = catalog
        self._queue_size = queue_size
        self._deadline_s = deadline_s
        self._observer: Observer = observer or NullObserver()
        self._n_decoders = processors()
        self._decoders = ThreadPoolExecutor(self._n_decoders, thread_name_prefix="decode")
        self._runner = ThreadPoolExecutor(1, thread_name_prefix="infer")
        self._lock = threading.Lock()
        self._taken = 0
        self._decoded: deque[_Decoded] = deque()
        self._running = False
        self._explained_last = False
        self._seconds = 0.05  # running mean of what one photo takes of the runner's time

    @property
    def waiting(self) -> int:
        """Photos that wait or run now."""
        return self._taken

    def models(self) -> list[Result]:
        """The models that can be asked for, by name."""
        return [result for result in self._catalog.results() if result.revision is not None]

    def default_model(self) -> str:
        """Name of the model that answers when none is asked for."""
        return self._catalog.default()

    def warm(self) -> None:
        """Load all models, and swap in what is made live from now on.

        So the first photo of each is answered as fast as the next.

        Raises:
            ModelNotFoundError: There is no model.
            BundleError: The default model is damaged. (Of others, their first photo tells.)
        """
        self._catalog.load()
        for result in self.models():
            with suppress(BundleError):
                self._catalog.load(result.config.name)
        self._catalog.watch()

    async def predict(
        self, photo: Photo, *, model: str | None = None, saliency: bool = False
    ) -> Prediction:
        """Classify one photo; errors as in `Predictor.predict`."""
        try:
            return await self._predict(photo, model, saliency)
        except Exception as error:
            self._notify(partial(self._observer.on_error, error))
            raise

    async def _predict(self, photo: Photo, model: str | None, saliency: bool) -> Prediction:
        with self._lock:
            if self._taken >= self._queue_size:
                raise BusyError(max(1, math.ceil(self._taken * self._seconds)))
            self._taken += 1
        job = _Job(photo, model, saliency)
        job.future.add_done_callback(lambda _: self._leave())
        try:
            decoding = self._decoders.submit(self._decode, job)
        except RuntimeError as error:
            job.future.cancel()
            raise PredictorError(_CLOSED) from error
        # `close` cancels what no thread has come to.
        decoding.add_done_callback(lambda done: done.cancelled() and job.future.cancel())
        try:
            return await asyncio.wait_for(asyncio.wrap_future(job.future), self._deadline_s)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if job.future.cancelled() and not (task and task.cancelling()):
                # Nobody stopped waiting: `close` dropped the photo.
                raise PredictorError(_CLOSED) from None
            raise
        except TimeoutError as error:
            raise DeadlineError(
                f"No answer within {self._deadline_s:g} s; the photo was given up. Try again."
            ) from error
        finally:
            job.given_up = True
            job.photo = None

    def close(self) -> None:
        """Answer no more; what waits is dropped, what runs is finished."""
        self._decoders.shutdown(cancel_futures=True)
        self._runner.shutdown()
        self._catalog.close()

    def _decode(self, job: _Job) -> None:
        photo, job.photo = job.photo, None
        if photo is None or not job.future.set_running_or_notify_cancel():
            return
        try:
            classifier = self._catalog.load(job.model)
            seen = classifier.see(photo)
        except Exception as error:  # noqa: BLE001  # told to who waits
            self._fail([job], error)
            return
        with self._lock:
            self._decoded.append(_Decoded(job, classifier, seen))
            # Once, for all that waits: a call for each photo would pile up while several are
            # answered by one.
            begin, self._running = not self._running, True
        if begin:
            self._runner.submit(self._run)

    def _run(self) -> None:
        """Answer until nothing waits."""
        try:
            while batch := self._next_batch():
                self._answer(batch)
        except BaseException:
            with self._lock:
                self._running = False  # so that the next photo begins anew
            raise

    def _answer(self, batch: list[_Decoded]) -> None:
        """Run one model on photos that wait for it."""
        jobs = [each.job for each in batch]
        started = time.perf_counter()
        try:
            predictions = batch[0].classifier.answer(
                [each.seen for each in batch], saliency=[job.saliency for job in jobs]
            )
        except Exception as error:  # noqa: BLE001  # told to those who wait
            self._fail(jobs, error)
            return
        ended = time.perf_counter()
        with self._lock:
            # Decoders work side by side, the runner alone.
            decode_s = sum(p.timing_ms.decode for p in predictions) / 1000 / self._n_decoders
            each = max(ended - started, decode_s) / len(batch)
            self._seconds += 0.1 * (each - self._seconds)
        # Once it has its answer, nobody waits for a photo any more.
        waited_for = [not job.given_up for job in jobs]
        for job, prediction in zip(jobs, predictions, strict=True):
            job.future.set_result(prediction)
        for job, prediction, told in zip(jobs, predictions, waited_for, strict=True):
            if told:
                infer = ended - started
                spent = prediction.timing_ms.decode / 1000 + infer
                waited = max(ended - job.entered - spent, 0.0)
                self._notify(partial(self._observer.on_answer, prediction, waited, infer))

    def _next_batch(self) -> list[_Decoded]:
        """The photo that came first, and others for the same model; those given up are dropped.

        Where photos wait to be explained, one of them alone, every other time. Empty: none waits.
        """
        with self._lock:
            dropped = [each.job for each in self._decoded if each.job.given_up]
            waiting = [each for each in self._decoded if not each.job.given_up]
            explained = [each for each in waiting if each.job.saliency]
            plain = [each for each in waiting if not each.job.saliency]
            self._explained_last = bool(explained) and not (plain and self._explained_last)
            if self._explained_last:
                batch = explained[:1]
            else:
                same = [each for each in plain if each.classifier is plain[0].classifier]
                batch = same[:MAX_BATCH]
            taken = set(map(id, batch))
            self._decoded = deque(each for each in waiting if id(each) not in taken)
            self._running = bool(batch)
        for job in dropped:
            job.future.set_exception(DeadlineError("The photo was given up."))
        return batch

    def _fail(self, jobs: list[_Job], error: Exception) -> None:
        for job in jobs:
            job.future.set_exception(error)

    def _notify(self, tell: Callable[[], None]) -> None:
        try:
            tell()
        except Exception:
            logger.exception("An observer of the predictor failed")

    def _leave(self) -> None:
        """A place is free once the work is over, not once somebody stopped waiting for it."""
        with self._lock:
            self._taken -= 1
