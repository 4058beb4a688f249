"""The async face that fronts call: a bounded queue before the models, with a deadline."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from io import BytesIO
from typing import Any, Protocol, TypeVar, cast, get_args

import httpx2
from PIL import Image

from core.bundle.config import Config
from core.bundle.leaderboard import Result
from core.bundle.metrics import Metrics
from core.errors import (
    BundleError,
    BusyError,
    DeadlineError,
    ImageError,
    ImageErrorCode,
    ModelNotFoundError,
    PredictorError,
    RateError,
    TenSightError,
)
from core.inference.classifier import MAX_BATCH, Classifier, Seen
from core.inference.prediction import Prediction
from core.photos.decode import Photo, check_bytes, decode, read_photo
from core.registry.catalog import Catalog
from core.settings import Settings, processors

__all__ = ["LocalPredictor", "Observer", "Predictor", "RemotePredictor", "connect"]

_CLOSED = "The predictor is closed."
_FIRST_PAUSE_S = 0.1
_AT_ONCE = 64

_T = TypeVar("_T")

logger = logging.getLogger(__name__)


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


class _Deaf:
    def on_answer(self, prediction: Prediction, waited_s: float, infer_s: float) -> None:
        """Do nothing."""

    def on_error(self, error: Exception) -> None:
        """Do nothing."""


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
        self._observer: Observer = observer or _Deaf()
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


class RemotePredictor:
    """A `Predictor` that asks an HTTP service. Safe to share between event loops.

    To ask twice changes nothing, so what fails on the way is tried again, a little later each time.

    Args:
        url: Address of the service, as http://127.0.0.1:8000.
        key: What it asks for.
        patience_s: Seconds after which there is an error in place of an answer.
    """

    def __init__(self, url: str, *, key: str | None = None, patience_s: float = 5.0) -> None:
        self._url = url.rstrip("/")
        self._patience_s = patience_s
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._known: dict[tuple[str, str], Result] = {}
        self._lock = threading.Lock()
        self._asking: set[Future[Any]] = set()
        self._closed = False
        # Connections belong to one event loop; those of the callers come and go.
        self._loop = asyncio.new_event_loop()
        self._client: httpx2.AsyncClient | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name="ask", daemon=True)
        self._thread.start()

    def models(self) -> list[Result]:
        """The models that can be asked for, by name."""
        results = []
        for row in self._now("GET", "/v1/models", _rows):
            name, revision = row
            if row not in self._known:
                self._known[row] = self._now("GET", f"/v1/models/{name}", _result)
            results.append(self._known[name, revision])
        return results

    def default_model(self) -> str:
        """Name of the model that answers when none is asked for."""
        return self._now("GET", "/v1/models", lambda listed: str(listed["default"]))

    async def predict(
        self, photo: Photo, *, model: str | None = None, saliency: bool = False
    ) -> Prediction:
        """Classify one photo; errors as in `Predictor.predict`.

        A PIL image is sent as a PNG file, which must keep to the limit on files.
        """
        body = await asyncio.to_thread(_encoded, photo)
        query = {"saliency": str(saliency).lower()} | ({"model": model} if model else {})
        asking = self._start(
            "POST", "/v1/predict", Prediction.from_dict, content=body, params=query
        )
        try:
            prediction = await asyncio.wrap_future(asking)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if asking.cancelled() and not (task and task.cancelling()):
                # Nobody stopped waiting: `close` did.
                raise PredictorError(_CLOSED) from None
            raise
        if isinstance(photo, str | os.PathLike):
            return replace(prediction, photo=os.fspath(photo))
        return prediction

    def close(self) -> None:
        """Ask no more; who waits is told so."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            asking = list(self._asking)
        for each in asking:
            each.cancel()

        async def end() -> None:
            if self._client is not None:
                await self._client.aclose()

        asyncio.run_coroutine_threadsafe(end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _now(self, method: str, path: str, read: Callable[[Any], _T]) -> _T:
        return self._start(method, path, read).result()

    def _start(self, method: str, path: str, read: Callable[[Any], _T], **how: Any) -> Future[_T]:
        with self._lock:
            if self._closed:
                raise PredictorError(_CLOSED)
            if len(self._asking) >= _AT_ONCE:
                raise BusyError(1)
            asking = asyncio.run_coroutine_threadsafe(
                self._ask(method, path, read, **how), self._loop
            )
            self._asking.add(asking)
        asking.add_done_callback(self._asking.discard)
        return asking

    async def _ask(self, method: str, path: str, read: Callable[[Any], _T], **how: Any) -> _T:
        """What the service says, read; asked again until it says something or patience ends."""
        pause, why = _FIRST_PAUSE_S, "it did not answer in time"
        try:
            async with asyncio.timeout(self._patience_s):
                if self._client is None:
                    self._client = httpx2.AsyncClient(
                        base_url=self._url, headers=self._headers, timeout=None
                    )
                while True:
                    try:
                        response = await self._client.request(method, path, **how)
                    except (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError) as error:
                        raise self._away(str(error)) from error
                    except httpx2.TransportError as error:
                        why = str(error) or type(error).__name__
                    else:
                        # A proxy before the service, which is away for a moment.
                        if response.status_code not in (502, 503, 504) or _code(response):
                            return self._read(response, read)
                        why = f"something before it answered {response.status_code}"
                    # The pause differs, so that many do not come back at once.
                    await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311  # no secret
                    pause *= 2
        except TimeoutError as error:
            if isinstance(error, TenSightError):
                raise  # a deadline of the service's
            raise self._away(f"{why}, within {self._patience_s:g} s") from error

    def _read(self, response: httpx2.Response, read: Callable[[Any], _T]) -> _T:
        """The JSON of an answer; an error of the service is raised as what it was there."""
        code = _code(response)
        try:
            if response.is_success:
                return read(response.json())
            message = str(response.json()["error"]["message"])
        except (ValueError, KeyError, TypeError) as error:
            raise self._away(
                f"it answered {response.status_code}, and not as a TenSight of this version does"
            ) from error
        retry_after = response.headers.get("Retry-After", "")
        seconds = int(retry_after) if retry_after.isdigit() else 1
        if code in get_args(ImageErrorCode):
            raise ImageError(cast("ImageErrorCode", code), message)
        if code == BusyError.code:
            raise BusyError(seconds)
        if code == RateError.code:
            raise RateError(seconds)
        kinds: tuple[type[TenSightError], ...] = (DeadlineError, ModelNotFoundError, BundleError)
        for kind in kinds:
            if code == kind.code:
                raise kind(message)
        raise self._away(f"it answered {response.status_code}: {message}")

    def _away(self, why: str) -> PredictorError:
        return PredictorError(
            f"The predictor at {self._url} gives no answer: {why}. See that it runs, and that "
            "TENSIGHT_PREDICTOR_URL and TENSIGHT_PREDICTOR_KEY are right."
        )


def _code(response: httpx2.Response) -> str | None:
    """The code of a TenSight error; None where the answer is none."""
    try:
        return str(response.json()["error"]["code"])
    except (ValueError, KeyError, TypeError):
        return None


def _rows(listed: Any) -> list[tuple[str, str]]:
    return [(str(row["name"]), str(row["revision"])) for row in listed["models"]]


def _result(model: Any) -> Result:
    config = Config.model_validate(model["config"])
    return Result(config, Metrics.model_validate(model["metrics"]), str(model["revision"]))


def _encoded(photo: Photo) -> bytes:
    """The file of a photo; a PIL image becomes one that loses nothing."""
    if isinstance(photo, Image.Image):
        rgb = Image.fromarray(decode(photo))
        buffer = BytesIO()
        rgb.save(buffer, "PNG", compress_level=1)
        return buffer.getvalue()
    data = photo if isinstance(photo, bytes) else read_photo(photo)
    check_bytes(data)
    return data


def connect(settings: Settings) -> LocalPredictor | RemotePredictor:
    """The predictor of the settings: at TENSIGHT_PREDICTOR_URL, else in this process."""
    if settings.predictor_url is not None:
        key = settings.predictor_key
        return RemotePredictor(settings.predictor_url, key=key.get_secret_value() if key else None)
    return LocalPredictor(
        Catalog(settings), queue_size=settings.queue_size, deadline_s=settings.deadline_s
    )
