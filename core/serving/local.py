"""The local predictor: models in this process behind a bounded, fair queue with a deadline."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from typing_extensions import override

from core.bundle.config import Base
from core.bundle.leaderboard import ModelInfo
from core.errors import (
    BundleError,
    BusyError,
    DeadlineError,
    PredictorError,
    UnavailableError,
)
from core.inference.classifier import Classifier
from core.inference.embedding import Embedding
from core.inference.prediction import Prediction
from core.photos.decode import Photo
from core.photos.pool import PhotoPool
from core.photos.prepare import Preparation
from core.registry.catalog import Catalog
from core.registry.failures import FailureListener
from core.serving.batches import Batches
from core.serving.fair_queue import FairQueue, FullError, QueueLimits
from core.serving.jobs import Answer, DecodedJob, Job
from core.serving.predictor import (
    NullObserver,
    Observer,
    Predictor,
    PreviewedPrediction,
    wait_for_result,
)
from core.serving.preprocessor import Preprocessor, content_of, pixels_of
from core.settings import processors

if TYPE_CHECKING:
    from core.rollout.active import RolloutStatus
    from core.rollout.traffic import Rollouts

__all__ = ["LocalPredictor"]

logger = logging.getLogger(__name__)


class LocalPredictor(Predictor):
    """A predictor with the models in this process. Safe to share between event loops.

    Worker processes decode photos while one thread runs the models. It takes all photos that are
    decoded for a model, at most 32, as one batch; no photo waits for a batch to fill up. A saliency
    map may take a hundred times as long as a prediction, so photos with saliency run one by one, in
    turn with the batches.

    Args:
        catalog: The models.
        queue_size: Maximum number of photos that wait or run.
        deadline_s: Seconds after which a photo fails; if it still waits, it is dropped.
        observer: Receives the outcome of each photo; None for no observer.
        photos: Worker processes that decode, closed with the predictor; None to decode in threads
            of this process.
        client_share: Share of the queue that one client may hold while others hold any.
        pixels_at_once: Maximum number of pixels that are decoded at the same time.
        decoders: Maximum number of photos of one client that are decoded at the same time; None for
            the number of processors.
        rollouts: Returns the rollouts of candidate revisions, given a function that tells whether
            no photo waits or runs; they start with `warm`. None for no rollouts.
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
        decoders: int | None = None,
        rollouts: Callable[[Callable[[], bool]], Rollouts] | None = None,
    ) -> None:
        self._catalog = catalog
        self._deadline_s = deadline_s
        self._observer: Observer = observer or NullObserver()
        self._photos = photos
        self._preprocessor = Preprocessor(photos)
        self._n_decoders = decoders or processors()
        self._queue: FairQueue[Job] = FairQueue(
            QueueLimits(queue_size, client_share, self._n_decoders, pixels_at_once)
        )
        self._rollouts = None if rollouts is None else rollouts(lambda: self.waiting == 0)
        self._decoders: list[threading.Thread] = []
        self._runner = ThreadPoolExecutor(1, thread_name_prefix="infer")
        self._lock = threading.Lock()
        self._closed = False
        self._batches = Batches()
        self._seconds = 0.05  # running mean of the time between two predictions

    @property
    def waiting(self) -> int:
        """Number of photos that wait or run."""
        return self._queue.taken

    @override
    def models(self) -> list[ModelInfo]:
        return self._catalog.models()

    @override
    def model(self, name: str) -> ModelInfo:
        return self._catalog.private(name) or super().model(name)

    @override
    def default_model(self) -> str:
        return self._catalog.default()

    def rollouts(self) -> list[RolloutStatus]:
        """Return the shadows and canaries that are active here."""
        return [] if self._rollouts is None else self._rollouts.status()

    def rollout_ends(self) -> dict[tuple[str, str], int]:
        """Return how many rollouts ended here without a command, by kind and outcome."""
        return {} if self._rollouts is None else self._rollouts.ends()

    @contextmanager
    def reporting_model_failures(self, report: FailureListener) -> Iterator[None]:
        """Report models that fail to load while the context is open.

        Args:
            report: As for `Catalog.add_failure_listener`.
        """
        self._catalog.add_failure_listener(report)
        try:
            yield
        finally:
            self._catalog.remove_failure_listener(report)

    def warm(self) -> None:
        """Load all models, so that no photo waits for one, and start to apply promotions.

        Raises:
            ModelNotFoundError: There is no model.
            BundleError: The default model is damaged. Other damaged models fail at their first
                photo.
        """
        with ThreadPoolExecutor(1) as beside:
            # At the same time, as it takes as long as loading the models.
            starting = beside.submit(self._start_workers)
            self._catalog.load()
            for result in self.models():
                with suppress(BundleError):
                    self._catalog.load(result.config.name)
        starting.result()
        self._catalog.watch()
        if self._rollouts is not None:
            self._rollouts.start()

    @override
    async def predict(
        self,
        photo: Photo,
        *,
        model: str | None = None,
        saliency: bool = False,
        client: str | None = None,
        best_effort: bool = False,
    ) -> Prediction:
        job = Job(photo, model, saliency, client, best_effort=best_effort)
        return _prediction(await self._observed(job))

    async def check(self, photo: Photo) -> Prediction:
        """Classify a photo with the default model, as others are, but without counting it.

        Raises:
            TenSightError: As for `predict`.
        """
        return _prediction(await self._observed(Job(photo, None, False, counted=False)))

    @override
    async def predict_with_preview(
        self,
        photo: Photo,
        *,
        side: int,
        model: str | None = None,
        saliency: bool = False,
        client: str | None = None,
    ) -> PreviewedPrediction:
        answer = await self._observed(Job(photo, model, saliency, client, preview=side))
        if answer.preview is None:
            raise PredictorError("The prediction came without its preview. Try again.")
        crops = answer.preprocessed.crops
        return PreviewedPrediction(_prediction(answer), answer.preview, crops[len(crops) // 2])

    @override
    async def embed(
        self,
        photo: Photo,
        base: Base,
        *,
        features: bool = False,
        client: str | None = None,
        best_effort: bool = False,
    ) -> Embedding:
        job = Job(photo, None, features, client, base=base, best_effort=best_effort)
        result = (await self._observed(job)).result
        if not isinstance(result, Embedding):
            raise PredictorError("The photo was classified instead of embedded. Try again.")
        return result

    @override
    async def archival_jpeg(self, photo: Photo) -> bytes:
        wanted = Preparation(archival=True)
        prepared = await asyncio.to_thread(self._preprocessor.prepare, photo, wanted)
        return prepared.archival or b""

    async def _observed(self, job: Job) -> Answer:
        """Answer a job, and report an error to the observer."""
        try:
            return await self._answered(job)
        except Exception as error:
            # A busy predictor is the usual case for best effort, and nothing to count.
            if job.counted and not (job.best_effort and isinstance(error, BusyError)):
                self._notify(partial(self._observer.on_error, error))
            raise

    async def _answered(self, job: Job) -> Answer:
        """Put a job into the queue and wait for its result."""
        self._start_decoders()
        if self._photos is not None and job.photo is not None:
            job.pixels = await pixels_of(job.photo)
        try:
            evicted = self._queue.put(job)
        except FullError:
            raise self._busy() from None
        job.future.add_done_callback(lambda _: self._queue.leave(job))
        if evicted is not None and evicted.future.set_running_or_notify_cancel():
            evicted.future.set_exception(self._busy())
        try:
            return await asyncio.wait_for(wait_for_result(job.future), self._deadline_s)
        except TimeoutError as error:
            raise DeadlineError(
                f"No prediction within the deadline of {self._deadline_s:g} s. Try again."
            ) from error
        finally:
            job.abandoned = True
            job.photo = None

    @override
    def close(self) -> None:
        with self._lock:
            self._closed = True
        for job in self._queue.close():
            job.future.cancel()
        for thread in self._decoders:
            thread.join()
        self._runner.shutdown()
        if self._rollouts is not None:
            self._rollouts.close()
        if self._photos is not None:
            self._photos.close()
        self._catalog.close()

    def _busy(self) -> BusyError:
        return BusyError(max(1, math.ceil(self._queue.taken * self._seconds)))

    def _start_workers(self) -> None:
        if self._photos is not None:
            self._photos.start(self._n_decoders)

    def _start_decoders(self) -> None:
        """Start the threads that decode, or that drive worker processes, unless they run."""
        with self._lock:
            if self._closed:
                raise UnavailableError.closed()
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
        """Decode photos until the queue is closed."""
        while (job := self._queue.take()) is not None:
            try:
                self._decode(job)
            finally:
                self._queue.finish(job)

    def _decode(self, job: Job) -> None:
        photo, job.photo = job.photo, None
        if photo is None or not job.future.set_running_or_notify_cancel():
            return
        try:
            classifier = self._classifier(job)
            decoded = self._preprocessor.preprocess(job, photo, classifier)
            if self._keeps_photo(job, classifier):
                decoded = replace(decoded, content=content_of(photo))
        except Exception as error:  # noqa: BLE001  # raised to the caller
            self._fail([job], error)
            return
        del photo
        if self._batches.add(decoded):
            self._runner.submit(self._run)

    def _keeps_photo(self, job: Job, classifier: Classifier) -> bool:
        if self._rollouts is None or job.base is not None:
            return False
        return self._rollouts.wants_photo(classifier, explained=job.saliency)

    def _classifier(self, job: Job) -> Classifier:
        """Return the classifier that answers a job's client, or that of the job's base."""
        if job.base is not None:
            return self._catalog.load_base(job.base)
        if self._rollouts is None:
            return self._catalog.load(job.model)
        return self._rollouts.classifier(job.model, job.client)

    def _infer(
        self, batch: list[DecodedJob]
    ) -> tuple[list[DecodedJob], Sequence[Prediction | Embedding]]:
        """Run a model on a batch; where a canary fails, the live revision answers instead.

        Returns:
            The batch, preprocessed for the model that answered, and its answers.
        """
        job, classifier = batch[0].job, batch[0].classifier
        if self._rollouts is None or job.base is not None:
            return batch, _infer(batch, classifier)
        # Photos with saliency run one by one.
        run = partial(self._rollouts.on_run, classifier, len(batch), explained=job.saliency)
        try:
            results = _infer(batch, classifier)
        except Exception as error:
            fallback = self._rollouts.on_failed_run(
                classifier, len(batch), error, explained=job.saliency
            )
            if fallback is None:
                raise
            batch = [self._preprocessor.preprocess_again(each, fallback) for each in batch]
            return batch, _infer(batch, fallback)
        if any(each.job.counted for each in batch):
            self._notify(partial(run, results[0].timing_ms.infer))
        return batch, results

    def _run(self) -> None:
        """Run batches until no photo waits."""
        try:
            while batch := self._batches.take():
                self._answer(batch)
        except BaseException:
            self._batches.stop_running()
            raise

    def _answer(self, batch: list[DecodedJob]) -> None:
        """Run a model on a batch, and set the results of its jobs."""
        jobs = [each.job for each in batch]
        started = time.perf_counter()
        try:
            batch, results = self._infer(batch)
        except Exception as error:  # noqa: BLE001  # raised to the callers
            self._fail(jobs, error)
            return
        ended = time.perf_counter()
        with self._lock:
            # Decoders run in parallel; there is one runner.
            decode_s = sum(r.timing_ms.decode for r in results) / 1000 / self._n_decoders
            photo_s = max(ended - started, decode_s) / len(batch)
            self._seconds += 0.1 * (photo_s - self._seconds)
        # Read before the results are set: their callers then mark the jobs as abandoned.
        waited_for = [not job.abandoned for job in jobs]
        for each, result in zip(batch, results, strict=True):
            each.job.future.set_result(Answer(result, each.preprocessed, each.preview))
        for job, result, waits in zip(jobs, results, waited_for, strict=True):
            if waits and job.counted and isinstance(result, Prediction):
                infer = ended - started
                processing_s = result.timing_ms.decode / 1000 + infer
                waited = max(ended - job.entered - processing_s, 0.0)
                self._notify(partial(self._observer.on_answer, result, waited, infer))
        if self._rollouts is not None:
            for each, result, waits in zip(batch, results, waited_for, strict=True):
                if each.job.counted and isinstance(result, Prediction):
                    # Whoever gets no answer cannot record whose photo a shadow has compared.
                    copy = each.content if waits else None
                    self._notify(partial(self._rollouts.on_answer, result, copy))

    def _fail(self, jobs: list[Job], error: Exception) -> None:
        for job in jobs:
            job.future.set_exception(error)

    def _notify(self, notify: Callable[[], None]) -> None:
        """Call the observer; its failure is logged and costs no prediction."""
        try:
            notify()
        except Exception:
            logger.exception("The predictor's observer failed")


def _infer(batch: list[DecodedJob], classifier: Classifier) -> Sequence[Prediction | Embedding]:
    """Classify or embed a batch of photos of one kind.

    Raises:
        BundleError: The model computed numbers that are not finite.
    """
    preprocessed = [each.preprocessed for each in batch]
    explained = [each.job.saliency for each in batch]
    if batch[0].job.base is not None:
        return classifier.embeddings(preprocessed, features=explained)
    predictions = classifier.infer(preprocessed, saliency=explained)
    for each in predictions:
        if not math.isfinite(each.confidence) or not math.isfinite(each.known_score):
            raise BundleError(
                f"{each.model} {each.revision} computed a confidence of {each.confidence} and a "
                f"known score of {each.known_score}, which must be finite."
            )
    return predictions


def _prediction(answer: Answer) -> Prediction:
    """Return the prediction of an answer.

    Raises:
        PredictorError: It is an embedding.
    """
    if not isinstance(answer.result, Prediction):
        raise PredictorError("The photo was embedded instead of classified. Try again.")
    return answer.result
