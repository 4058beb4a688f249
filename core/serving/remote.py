"""A predictor that asks an HTTP service."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import random
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from io import BytesIO
from typing import Any, TypeVar, cast, get_args

import httpx2
from PIL import Image

from core.bundle.config import Config
from core.bundle.leaderboard import ModelInfo
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
    UnavailableError,
)
from core.inference.prediction import Prediction
from core.network import broken_variable, is_loopback, network_hint, without_credentials
from core.photos.decode import Photo, check_bytes, decode, read_photo
from core.photos.limits import PhotoLimits
from core.photos.pool import PhotoPool
from core.photos.prepare import Preparation
from core.serving.predictor import PreviewedPrediction, find_model
from core.settings import processors
from core.text import printable

__all__ = ["CLIENT_HEADER", "RemotePredictor"]

CLIENT_HEADER = "X-TenSight-Client"
"""Names the keyed hash of whom a front asks for; services heed it from keys that they trust."""

_CLOSED = "The predictor is closed."
_FIRST_PAUSE_S = 0.1
_AT_ONCE = 64
_MAX_MESSAGE = 1_000

_T = TypeVar("_T")


class RemotePredictor:
    """A `Predictor` that asks an HTTP service. Safe to share between event loops.

    To ask twice changes nothing, so what fails on the way is tried again, a little later each time.

    Args:
        url: Address of the service, as http://127.0.0.1:8000.
        key: What it asks for.
        patience_s: Seconds after which there is an error in place of an answer.
        secret: Key of the hashes that stand for clients; None: one of this process's own.
        photos: Processes that make previews, closed with the predictor.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        patience_s: float = 5.0,
        secret: bytes | None = None,
        photos: PhotoPool | None = None,
    ) -> None:
        self._secret = secret or secrets.token_bytes(32)
        self._photos = photos or PhotoPool(PhotoLimits(), workers=processors())
        self._url = url.rstrip("/")
        self._patience_s = patience_s
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._known: dict[tuple[str, str], ModelInfo] = {}
        self._lock = threading.Lock()
        self._asking: set[Future[Any]] = set()
        self._closed = False
        # Connections belong to one event loop; those of the callers come and go.
        self._loop = asyncio.new_event_loop()
        self._client: httpx2.AsyncClient | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name="ask", daemon=True)
        self._thread.start()

    def models(self) -> list[ModelInfo]:
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

    def model(self, name: str) -> ModelInfo:
        """Return an available model by name; errors as in `Predictor.model`."""
        return find_model(self.models(), name)

    async def predict(
        self,
        photo: Photo,
        *,
        model: str | None = None,
        saliency: bool = False,
        client: str | None = None,
    ) -> Prediction:
        """Classify one photo; errors as in `Predictor.predict`.

        A PIL image is sent as a PNG file, which must keep to the limit on files. A client is sent
        as a keyed hash, which counts where the service trusts the key of this predictor.
        """
        body = await asyncio.to_thread(_encoded, photo)
        query = {"saliency": str(saliency).lower()} | ({"model": model} if model else {})
        asking = self._start(
            "POST",
            "/v1/predict",
            Prediction.from_dict,
            content=body,
            params=query,
            headers={} if client is None else {CLIENT_HEADER: self._hashed(client)},
        )
        try:
            prediction = await asyncio.wrap_future(asking)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if asking.cancelled() and not (task and task.cancelling()):
                # Nobody stopped waiting: `close` did.
                raise UnavailableError(_CLOSED) from None
            raise
        if isinstance(photo, str | os.PathLike):
            return replace(prediction, photo=os.fspath(photo))
        return prediction

    async def predict_with_preview(
        self,
        photo: Photo,
        *,
        side: int,
        model: str | None = None,
        saliency: bool = False,
        client: str | None = None,
    ) -> PreviewedPrediction:
        """Classify one photo, and return what it looks like; errors as in `predict`.

        The preview is made by workers of this process: the service sends none.
        """
        prediction = await self.predict(photo, model=model, saliency=saliency, client=client)
        info = await asyncio.to_thread(self.model, prediction.model)
        wanted = Preparation(info.config.input, preview=side)
        prepared = await asyncio.to_thread(self._photos.prepare, photo, wanted)
        if prepared.crops is None or prepared.preview is None:
            raise PredictorError("The photo was answered without its preview. Try again.")
        crops = prepared.crops
        return PreviewedPrediction(prediction, prepared.preview, crops[len(crops) // 2])

    async def archival_jpeg(self, photo: Photo) -> bytes:
        """Encode a photo as it is kept; errors as in `Predictor.archival_jpeg`."""
        prepared = await asyncio.to_thread(self._photos.prepare, photo, Preparation(archival=True))
        return prepared.archival or b""

    def close(self) -> None:
        """Ask no more; who waits is told so."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            asking = list(self._asking)
        for each in asking:
            each.cancel()
        self._photos.close()

        async def end() -> None:
            if self._client is not None:
                await self._client.aclose()

        asyncio.run_coroutine_threadsafe(end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _hashed(self, client: str) -> str:
        return hmac.new(self._secret, client.encode(), hashlib.sha256).hexdigest()

    def _now(self, method: str, path: str, read: Callable[[Any], _T]) -> _T:
        return self._start(method, path, read).result()

    def _start(self, method: str, path: str, read: Callable[[Any], _T], **how: Any) -> Future[_T]:
        with self._lock:
            if self._closed:
                raise UnavailableError(_CLOSED)
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
                    self._client = self._connect()
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

    def _connect(self) -> httpx2.AsyncClient:
        """A client for the service.

        Raises:
            UnavailableError: The environment does not let there be one.
        """
        try:
            return httpx2.AsyncClient(
                base_url=self._url,
                headers=self._headers,
                timeout=None,
                # What the environment says of proxies is not meant for this very computer.
                trust_env=not is_loopback(self._url),
            )
        except (ValueError, ImportError, OSError, httpx2.InvalidURL) as error:
            raise self._away(broken_variable() or str(error)) from error

    def _read(self, response: httpx2.Response, read: Callable[[Any], _T]) -> _T:
        """The JSON of an answer; an error of the service is raised as what it was there."""
        code = _code(response)
        try:
            if response.is_success:
                return read(response.json())
            message = printable(str(response.json()["error"]["message"]), _MAX_MESSAGE)
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

    def _away(self, why: str) -> UnavailableError:
        hint = "" if is_loopback(self._url) else network_hint(self._url)
        told = without_credentials(why).removesuffix(".")
        return UnavailableError(
            f"The predictor at {without_credentials(self._url)} gives no answer: {told}. See that "
            "it runs, and that TENSIGHT_PREDICTOR_URL and TENSIGHT_PREDICTOR_KEY are right."
            + (f" {hint}" if hint and hint.removesuffix(".") != told else "")
        )


def _code(response: httpx2.Response) -> str | None:
    """The code of a TenSight error; None where the answer is none."""
    try:
        return str(response.json()["error"]["code"])
    except (ValueError, KeyError, TypeError):
        return None


def _rows(listed: Any) -> list[tuple[str, str]]:
    return [(str(row["name"]), str(row["revision"])) for row in listed["models"]]


def _result(model: Any) -> ModelInfo:
    config = Config.model_validate(model["config"])
    return ModelInfo(config, Metrics.model_validate(model["metrics"]), str(model["revision"]))


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
