"""A predictor with the models in this process: a bounded, fair queue with a deadline."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.bundle.leaderboard import ModelInfo
from core.errors import (
    BundleError,
    BusyError,
    DeadlineError,
    PhotoReadError,
    PredictorError,
    UnavailableError,
)
from core.inference.classifier import MAX_BATCH, Classifier, PreprocessedPhoto, name_of
from core.inference.prediction import Prediction
from core.photos.decode import Photo, read_photo
from core.photos.formats.claimed import BEGINNING, claimed_pixels
from core.photos.pool import PhotoPool
from core.photos.prepare import Preparation, PreparedPhoto, prepare
from core.registry.catalog import Catalog
from core.serving.fair_queue import FairQueue, FullError, QueueLimits
from core.serving.predictor import NullObserver, Observer, PreviewedPrediction, find_model
from core.settings import processors

__all__ = ["LocalPredictor"]

_CLOSED = "The predictor is closed."

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class _Job:
    """A photo on its way.

    Attributes:
        photo: Emptied once it is decoded or given up, since a job may lie about longer.
        client: Who sent it; None: who is trusted with all places.
        preview: Pixels of the longer side of a preview that is wanted too.
        future: Runs from the moment that the photo is being decoded.
        given_up: Nobody waits for the answer any more.
        pixels: What the photo claims to have.
    """

    photo: Photo | None
    model: str | None
    saliency: bool
    client: str | None = None
    preview: int | None = None
    future: Future[_Answer] = field(default_factory=Future)
    given_up: bool = False
    pixels: int = 0
    entered: float = field(default_factory=time.perf_counter)


@dataclass(frozen=True)
class _Answer:
    prediction: Prediction
    seen: PreprocessedPhoto
    preview: NDArray[np.uint8] | None


@dataclass(frozen=True)
class _Decoded:
    job: _Job
    classifier: Classifier
    seen: PreprocessedPhoto
    preview: NDArray[np.uint8] | None


class LocalPredictor:
    """A `Predictor` with the models in this process. Safe to share between event loops.

    Photos are decoded by worker processes while a thread runs the models. It takes what has been
    decoded for one model, at most 32 photos at once; no photo waits for others to come. To explain
    an answer may take a hundred times as long as to give it, so photos to be explained are taken
    one by one, in turn with the others.

    Args:
        catalog: The models.
        queue_size: Photos that may wait or run at once.
        deadline_s: Seconds after which a photo is given up; one that still waits is then dropped.
        observer: Hears how photos fare.
        photos: Processes that decode, closed with the predictor; None: threads of this process do.
        client_share: Part of the places that one client may hold while others hold any.
        pixels_at_once: Pixels of photos that are decoded at once.
    """

    def __init__(
        self,
        catalog: Catalog,
        *,
        queue_size: int,
        deadline_s: float,
        observer: Observer | None = None,
        photos: PhotoPool | None = None,
        client_share: float = 0.25,
        pixels_at_once: int = 100_000_000,
    ) -> None:
        self._catalog = catalog
        self._deadline_s = deadline_s
        self._observer: Observer = observer or NullObserver()
        self._photos = photos
        self._n_decoders = processors()
        self._queue: FairQueue[_Job] = FairQueue(
            QueueLimits(queue_size, client_share, self._n_decoders, pixels_at_once)
        )
        self._decoders: list[threading.Thread] = []
        self._runner = ThreadPoolExecutor(1, thread_name_prefix="infer")
        self._lock = threading.Lock()
        self._closed = False
        self._decoded: deque[_Decoded] = deque()
        self._running = False
        self._explained_last = False
        self._explained_client: str | None = None
        self._seconds = 0.05  # running mean of what one photo takes of the runner's time

    @property
    def waiting(self) -> int:
        """Photos that wait or run now."""
        return self._queue.taken

    def models(self) -> list[ModelInfo]:
        """The models that can be asked for, by name."""
        return [result for result in self._catalog.results() if result.revision is not None]

    def default_model(self) -> str:
        """Name of the model that answers when none is asked for."""
        return self._catalog.default()

    def model(self, name: str) -> ModelInfo:
        """Return an available model by name; errors as in `Predictor.model`."""
        return find_model(self.models(), name)

    def warm(self) -> None:
        """Load all models, and swap in what is made live from now on.

        So the first photo of each is answered as fast as the next.

        Raises:
            ModelNotFoundError: There is no model.
            BundleError: The default model is damaged. (Of others, their first photo tells.)
        """
        with ThreadPoolExecutor(1) as beside:
            # Meanwhile, as it takes as long as the models do.
            starting = beside.submit(self._start_workers)
            self._catalog.load()
            for result in self.models():
                with suppress(BundleError):
                    self._catalog.load(result.config.name)
        starting.result()
        self._catalog.watch()

    async def predict(
        self,
        photo: Photo,
        *,
        model: str | None = None,
        saliency: bool = False,
        client: str | None = None,
    ) -> Prediction:
        """Classify one photo; errors as in `Predictor.predict`."""
        job = _Job(photo, model, saliency, client)
        return (await self._told(self._answered(job))).prediction

    async def predict_with_preview(
        self,
        photo: Photo,
        *,
        side: int,
        model: str | None = None,
        saliency: bool = False,
        client: str | None = None,
    ) -> PreviewedPrediction:
        """Classify one photo, and return what it looks like; errors as in `Predictor.predict`."""
        job = _Job(photo, model, saliency, client, preview=side)
        answer = await self._told(self._answered(job))
        if answer.preview is None:
            raise PredictorError("The photo was answered without its preview. Try again.")
        crops = answer.seen.crops
        return PreviewedPrediction(answer.prediction, answer.preview, crops[len(crops) // 2])

    async def archival_jpeg(self, photo: Photo) -> bytes:
        """Encode a photo as it is kept; errors as in `Predictor.archival_jpeg`."""
        wanted = Preparation(archival=True)
        prepared = await asyncio.to_thread(self._prepare, photo, wanted)
        return prepared.archival or b""

    async def _told(self, answering: Coroutine[Any, Any, _Answer]) -> _Answer:
        """An answer, whose failure the observer hears of."""
        try:
            return await answering
        except Exception as error:
            self._notify(partial(self._observer.on_error, error))
            raise

    async def _answered(self, job: _Job) -> _Answer:
        self._start_decoders()
        if self._photos is not None and job.photo is not None:
            job.pixels = await _pixels_of(job.photo)
        try:
            evicted = self._queue.put(job)
        except FullError:
            raise self._busy() from None
        job.future.add_done_callback(lambda _: self._queue.leave(job))
        if evicted is not None and evicted.future.set_running_or_notify_cancel():
            evicted.future.set_exception(self._busy())
        try:
            return await asyncio.wait_for(asyncio.wrap_future(job.future), self._deadline_s)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if job.future.cancelled() and not (task and task.cancelling()):
                # Nobody stopped waiting: `close` dropped the photo.
                raise UnavailableError(_CLOSED) from None
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
        with self._lock:
            self._closed = True
        for job in self._queue.close():
            job.future.cancel()
        for thread in self._decoders:
            thread.join()
        self._runner.shutdown()
        if self._photos is not None:
            self._photos.close()
        self._catalog.close()

    def _busy(self) -> BusyError:
        return BusyError(max(1, math.ceil(self._queue.taken * self._seconds)))

    def _start_workers(self) -> None:
        if self._photos is not None:
            self._photos.start(self._n_decoders)

    def _start_decoders(self) -> None:
        """Start the threads that decode, or wait for processes that do, with the first photo."""
        with self._lock:
            if self._closed:
                raise UnavailableError(_CLOSED)
            if self._decoders:
                return
            count = self._n_decoders if self._photos is None else self._photos.workers
            self._decoders = [
                threading.Thread(target=self._decode_all, name=f"decode {i}", daemon=True)
                for i in range(count)
            ]
            for thread in self._decoders:
                thread.start()

    def _decode_all(self) -> None:
        """Decode until the queue is closed."""
        while (job := self._queue.take()) is not None:
            try:
                self._decode(job)
            finally:
                self._queue.finish(job)

    def _decode(self, job: _Job) -> None:
        photo, job.photo = job.photo, None
        if photo is None or not job.future.set_running_or_notify_cancel():
            return
        try:
            classifier = self._catalog.load(job.model)
            decoded = self._preprocess(job, photo, classifier)
        except Exception as error:  # noqa: BLE001  # told to who waits
            self._fail([job], error)
            return
        del photo
        with self._lock:
            self._decoded.append(decoded)
            # Once, for all that waits: a call for each photo would pile up while several are
            # answered by one.
            begin, self._running = not self._running, True
        if begin:
            self._runner.submit(self._run)

    def _preprocess(self, job: _Job, photo: Photo, classifier: Classifier) -> _Decoded:
        """Decode a photo for a model, in a worker process where there are any."""
        if self._photos is None:
            seen, preview = classifier.preprocess(photo), None
            if job.preview is not None:
                preview = prepare(photo, Preparation(preview=job.preview)).preview
            return _Decoded(job, classifier, seen, preview)
        started = time.perf_counter()
        prepared = self._photos.prepare(photo, classifier.preparation(preview=job.preview))
        spent = 1000 * (time.perf_counter() - started)
        if prepared.crops is None:
            raise PredictorError("The photo was decoded without what the model takes. Try again.")
        seen = PreprocessedPhoto(name_of(photo), prepared.crops, spent)
        return _Decoded(job, classifier, seen, prepared.preview)

    def _prepare(self, photo: Photo, wanted: Preparation) -> PreparedPhoto:
        return (prepare if self._photos is None else self._photos.prepare)(photo, wanted)

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
            predictions = batch[0].classifier.infer(
                [each.seen for each in batch], saliency=[job.saliency for job in jobs]
            )
        except Exception as error:  # noqa: BLE001  # told to those who wait
            self._fail(jobs, error)
            return
        ended = time.perf_counter()
        with self._lock:
            # Decoders work side by side, the runner alone.
            decode_s = sum(p.timing_ms.decode for p in predictions) / 1000 / self._n_decoders
            spent = max(ended - started, decode_s) / len(batch)
            self._seconds += 0.1 * (spent - self._seconds)
        # Once it has its answer, nobody waits for a photo any more.
        waited_for = [not job.given_up for job in jobs]
        for each, prediction in zip(batch, predictions, strict=True):
            each.job.future.set_result(_Answer(prediction, each.seen, each.preview))
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
                # Of another client than the last one, where others wait.
                others = [e for e in explained if e.job.client != self._explained_client]
                batch = (others or explained)[:1]
                self._explained_client = batch[0].job.client
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


async def _pixels_of(photo: Photo) -> int:
    """Pixels that a photo claims to have; 0 where it cannot be read, as decoding it will tell."""
    if isinstance(photo, bytes):
        return claimed_pixels(photo)
    if isinstance(photo, Image.Image):
        return photo.width * photo.height
    try:
        return claimed_pixels(await asyncio.to_thread(read_photo, photo, BEGINNING))
    except PhotoReadError:
        return 0
