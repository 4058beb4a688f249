"""The remote predictor: a client of the HTTP service."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
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
from typing_extensions import override

from core.bundle.config import Base, Config
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
from core.inference.embedding import Embedding
from core.inference.prediction import Prediction
from core.inference.remote_head import HeadClassifier
from core.network import broken_variable, is_loopback, network_hint
from core.photos.decode import Photo, check_bytes, decode, read_photo
from core.photos.limits import PhotoLimits
from core.photos.pool import PhotoPool
from core.photos.prepare import Preparation
from core.redaction import credentials, masked_value, without_secrets
from core.serving.heads import LocalHeads
from core.serving.predictor import Predictor, PreviewedPrediction, wait_for_result
from core.settings import processors
from core.text import printable

__all__ = ["CLIENT_HEADER", "RemotePredictor"]

CLIENT_HEADER = "X-TenSight-Client"
"""Header with the keyed hash of a front's client; the service reads it from trusted keys only."""

_FIRST_PAUSE_S = 0.1
_MAX_REQUESTS = 64
_MAX_MESSAGE_CHARACTERS = 1_000

_T = TypeVar("_T")

logger = logging.getLogger(__name__)


class RemotePredictor(Predictor):
    """A predictor that sends photos to an HTTP service. Safe to share between event loops.

    Requests are idempotent, so they are retried after connection errors, with exponential backoff.

    Args:
        url: URL of the service, for example http://127.0.0.1:8000.
        key: API key of the service; None for no key.
        timeout_s: Timeout of a request in seconds, including retries.
        secret: Key of the hashes that stand for clients; None for a random one, so that each start
            assigns other clients to a canary.
        photos: Worker processes that make previews, closed with the predictor; None for new ones.
        heads: The taught models of this machine, closed with the predictor: the service embeds
            photos for them. None for no taught models.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        timeout_s: float = 5.0,
        secret: bytes | None = None,
        photos: PhotoPool | None = None,
        heads: LocalHeads | None = None,
    ) -> None:
        self._heads = heads
        self._secret = secret or secrets.token_bytes(32)
        self._photos = photos or PhotoPool(PhotoLimits(), workers=processors())
        self._url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._models: dict[tuple[str, str], ModelInfo] = {}
        self._lock = threading.Lock()
        self._requests: set[Future[Any]] = set()
        self._closed = False
        # Connections belong to one event loop, and those of the callers come and go.
        self._loop = asyncio.new_event_loop()
        self._client: httpx2.AsyncClient | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name="ask", daemon=True)
        self._thread.start()

    @override
    def models(self) -> list[ModelInfo]:
        results = []
        for row in self._request("GET", "/v1/models", _rows):
            name, revision = row
            if row not in self._models:
                self._models[row] = self._request("GET", f"/v1/models/{name}", _result)
            results.append(self._models[name, revision])
        if self._heads is None:
            return results
        remote_names = {each.name for each in results}
        local = [each for each in self._heads.models() if each.name not in remote_names]
        return sorted([*results, *local], key=lambda each: each.name)

    @override
    def model(self, name: str) -> ModelInfo:
        local = None if self._heads is None else self._heads.model(name)
        return local or super().model(name)

    @override
    def default_model(self) -> str:
        return self._request("GET", "/v1/models", lambda listed: str(listed["default"]))

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
        heads = self._heads
        if heads is not None and model is not None:
            taught = await asyncio.to_thread(heads.find, model)
            if taught is not None:
                return await self._predict_taught(
                    taught, photo, saliency=saliency, client=client, best_effort=best_effort
                )
        body = await asyncio.to_thread(_encoded, photo)
        query = {"saliency": str(saliency).lower()} | ({"model": model} if model else {})
        if best_effort:
            query["best_effort"] = "true"
        request = self._start(
            "POST",
            "/v1/predict",
            Prediction.from_dict,
            content=body,
            params=query,
            headers=self._client_header(client),
        )
        prediction = await wait_for_result(request)
        if isinstance(photo, str | os.PathLike):
            return replace(prediction, photo=os.fspath(photo))
        return prediction

    async def _predict_taught(
        self,
        taught: HeadClassifier,
        photo: Photo,
        *,
        saliency: bool,
        client: str | None,
        best_effort: bool,
    ) -> Prediction:
        """Have a photo embedded, and apply the head of a taught model."""
        base = taught.bundle.config.base
        if base is None:
            raise PredictorError(f"{taught.bundle.config.name} has no base. Teach it again.")
        embedding = await self.embed(
            photo, base, features=saliency, client=client, best_effort=best_effort
        )
        path = os.fspath(photo) if isinstance(photo, str | os.PathLike) else None
        return await asyncio.to_thread(taught.classify, embedding, path)

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
        body = await asyncio.to_thread(_encoded, photo)
        query = {"model": base.name, "sha256": base.sha256, "features": str(features).lower()}
        if best_effort:
            query["best_effort"] = "true"
        request = self._start(
            "POST",
            "/v1/embed",
            Embedding.from_dict,
            content=body,
            params=query,
            headers=self._client_header(client),
        )
        return await wait_for_result(request)

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
        prediction = await self.predict(photo, model=model, saliency=saliency, client=client)
        found = await asyncio.to_thread(self.model, prediction.model)
        # The service sends no previews; workers of this process make them.
        wanted = Preparation(found.config.input, preview=side)
        prepared = await asyncio.to_thread(self._photos.prepare, photo, wanted)
        if prepared.crops is None or prepared.preview is None:
            raise PredictorError("The prediction came without its preview. Try again.")
        crops = prepared.crops
        return PreviewedPrediction(prediction, prepared.preview, crops[len(crops) // 2])

    @override
    async def archival_jpeg(self, photo: Photo) -> bytes:
        prepared = await asyncio.to_thread(self._photos.prepare, photo, Preparation(archival=True))
        return prepared.archival or b""

    @override
    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            running = list(self._requests)
        for each in running:
            each.cancel()
        self._photos.close()
        if self._heads is not None:
            self._heads.close()

        async def end() -> None:
            if self._client is not None:
                await self._client.aclose()

        asyncio.run_coroutine_threadsafe(end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _client_header(self, client: str | None) -> dict[str, str]:
        """Return the keyed hash of a client, which a service reads that trusts this key."""
        return {} if client is None else {CLIENT_HEADER: self._hashed(client)}

    def _hashed(self, client: str) -> str:
        return hmac.new(self._secret, client.encode(), hashlib.sha256).hexdigest()

    def _request(self, method: str, path: str, read: Callable[[Any], _T]) -> _T:
        """Send a request and wait for its result; see `_start`."""
        return self._start(method, path, read).result()

    def _start(
        self, method: str, path: str, read: Callable[[Any], _T], **options: Any
    ) -> Future[_T]:
        """Start a request on the predictor's own event loop.

        Args:
            method: HTTP method.
            path: Path of the URL.
            read: Converts the JSON of the response to the result.
            **options: Further arguments of the HTTP client.

        Raises:
            BusyError: Too many requests are running.
            UnavailableError: The predictor is closed.
        """
        with self._lock:
            if self._closed:
                raise UnavailableError.closed()
            if len(self._requests) >= _MAX_REQUESTS:
                raise BusyError(1)
            request = asyncio.run_coroutine_threadsafe(
                self._ask(method, path, read, **options), self._loop
            )
            self._requests.add(request)
        request.add_done_callback(self._requests.discard)
        return request

    async def _ask(self, method: str, path: str, read: Callable[[Any], _T], **options: Any) -> _T:
        """Send a request, retrying until the service responds or the timeout passes."""
        pause, why = _FIRST_PAUSE_S, "it did not respond in time"
        try:
            async with asyncio.timeout(self._timeout_s):
                if self._client is None:
                    self._client = self._connect()
                while True:
                    try:
                        response = await self._client.request(method, path, **options)
                    except (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError) as error:
                        raise self._unavailable(str(error)) from error
                    except httpx2.TransportError as error:
                        why = str(error) or type(error).__name__
                    else:
                        # A response without a TenSight error code comes from a proxy in front
                        # of the service; Ray's returns 500 where a replica has died.
                        if response.status_code not in (500, 502, 503, 504) or _code(response):
                            return self._read(response, read)
                        why = f"a proxy in front of it returned status {response.status_code}"
                    logger.debug("%s %s is tried again: %s", method, path, why)
                    # With jitter, so that many clients do not retry at the same moment.
                    await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311  # no secret
                    pause *= 2
        except TimeoutError as error:
            if isinstance(error, TenSightError):
                raise  # the service's deadline, not that of this client
            raise self._unavailable(f"{why}, within {self._timeout_s:g} s") from error

    def _connect(self) -> httpx2.AsyncClient:
        """Create the HTTP client.

        Raises:
            UnavailableError: The environment variables for proxies or certificates are invalid.
        """
        try:
            return httpx2.AsyncClient(
                base_url=self._url,
                headers=self._headers,
                timeout=None,
                # Proxies of the environment are not meant for this computer itself.
                trust_env=not is_loopback(self._url),
            )
        except (ValueError, ImportError, OSError, httpx2.InvalidURL) as error:
            raise self._unavailable(broken_variable() or str(error)) from error

    def _read(self, response: httpx2.Response, read: Callable[[Any], _T]) -> _T:
        """Convert the JSON of a response, or raise the error that the service reports."""
        code = _code(response)
        try:
            if response.is_success:
                return read(response.json())
            message = printable(str(response.json()["error"]["message"]), _MAX_MESSAGE_CHARACTERS)
        except (ValueError, KeyError, TypeError) as error:
            raise self._unavailable(
                f"its response (status {response.status_code}) is not that of a TenSight service "
                "of this version"
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
        raise self._unavailable(f"it returned status {response.status_code}: {message}")

    def _unavailable(self, why: str) -> UnavailableError:
        hint = "" if is_loopback(self._url) else network_hint(self._url)
        reason = without_secrets(why, credentials(self._url)).removesuffix(".")
        return UnavailableError(
            f"The predictor at {masked_value(self._url)} is not available: {reason}. Check "
            "that it is running, and that TENSIGHT_PREDICTOR_URL and TENSIGHT_PREDICTOR_KEY are "
            "correct." + (f" {hint}" if hint and hint.removesuffix(".") != reason else "")
        )


def _code(response: httpx2.Response) -> str | None:
    """Return the code of a TenSight error; None if the response is not one."""
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
    """Return the bytes of a photo's file; a PIL image is encoded as PNG without loss."""
    if isinstance(photo, Image.Image):
        rgb = Image.fromarray(decode(photo))
        buffer = BytesIO()
        rgb.save(buffer, "PNG", compress_level=1)
        return buffer.getvalue()
    data = photo if isinstance(photo, bytes) else read_photo(photo)
    check_bytes(data)
    return data
