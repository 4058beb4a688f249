"""The HTTP service: photos in, predictions out as JSON, for programs and for fronts elsewhere."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import math
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Annotated, Any, TypeVar, cast

import uvicorn
from fastapi import Depends, FastAPI, Query, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.security import HTTPBearer
from limits import RateLimitItem, RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from pydantic import BaseModel, ConfigDict
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect

from core._version import __version__
from core.errors import (
    AccessError,
    BusyError,
    DeadlineError,
    ImageError,
    ModelNotFoundError,
    PhotoReadError,
    PredictorError,
    RateError,
    RequestError,
    SlowRequestError,
    TenSightError,
)
from core.inference.prediction import Prediction
from core.photos.decode import ACCEPTED, MAX_BYTES
from core.predictor import LocalPredictor, Predictor
from core.registry.catalog import Catalog
from core.registry.sync import FirstPull
from core.settings import Settings
from core.sockets import listen
from core.telemetry import CONTENT_TYPE, Telemetry

__all__ = ["MAX_PHOTOS", "build_service", "serve"]

MAX_PHOTOS = 32
"""Photos in one request."""

_MAX_FORM_BYTES = 5 * MAX_BYTES
# Of parts that are no photos.
_MAX_FIELD_BYTES = 64 * 1024
_STOPPING_S = 20
# A body must be there after so many seconds, and one more for each of so many bytes: who sends a
# byte now and then would else hold a place for ever.
_SLOWEST_S = 20.0
_SLOWEST_BYTES_S = 32 * 1024
# Of all bodies that are read or answered.
_MAX_HELD_BYTES = 512 * 2**20
# A proxy's number for a client that has left; nobody reads it.
_NOBODY_THERE = 499
# Wrong keys from one address.
_GUESSES = RateLimitItemPerMinute(20)

_T = TypeVar("_T")

_STATUS: tuple[tuple[type[TenSightError], int], ...] = (
    (AccessError, 401),
    (RateError, 429),
    (SlowRequestError, 408),
    (RequestError, 400),
    (ModelNotFoundError, 404),
    (BusyError, 503),
    (DeadlineError, 504),
    (PredictorError, 503),
    (PhotoReadError, 400),
)
_IMAGE_STATUS = {"too_large": 413, "too_many_pixels": 413, "unsupported": 415}

logger = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class SaliencyOut(BaseModel):
    """What in the photo spoke for the answer, 0 to 1, as the model saw it.

    Attributes:
        shape: Height and width.
        dtype: Of the numbers: always `<f4`, float32 with the lowest byte first.
        data: Their bytes, row by row, in base64.
    """

    shape: tuple[int, int]
    dtype: str
    data: str


class TimingOut(BaseModel):
    """Milliseconds; `infer` is the photo's share where several were answered at once."""

    decode: float
    infer: float


_PREDICTION = {
    "photo": None,
    "model": "mobilenet",
    "revision": "0123456789ab",
    "label": "cat",
    "confidence": 0.97,
    "verdict": "known",
    "known_score": 9.1,
    "scores": {"cat": 0.97, "dog": 0.02},
    "timing_ms": {"decode": 5.2, "infer": 3.1},
    "saliency": None,
}
_FAILURE = {
    "photo": None,
    "error": {"code": "busy", "message": "Busy: all places are taken. Try again in 1 s."},
}


def _example(example: dict[str, Any]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [example]})


class PredictionOut(BaseModel):
    """The answer to one photo; scores are calibrated probabilities, the largest first."""

    model_config = _example(_PREDICTION)

    photo: str | None
    model: str
    revision: str
    label: str
    confidence: float
    verdict: str
    known_score: float
    scores: dict[str, float]
    timing_ms: TimingOut
    saliency: SaliencyOut | None = None


class ErrorOut(BaseModel):
    """Why there is no answer: a code for programs, a sentence for people."""

    code: str
    message: str


class FailureOut(BaseModel):
    """No answer."""

    model_config = _example(_FAILURE)

    photo: str | None = None
    error: ErrorOut


class PredictionsOut(BaseModel):
    """Answers to several photos, in their order; a bad one fails alone."""

    model_config = _example(
        {"predictions": [_PREDICTION | {"photo": "one.jpg"}, _FAILURE | {"photo": "two.jpg"}]}
    )

    predictions: list[PredictionOut | FailureOut]


class ModelsOut(BaseModel):
    """The models that can be asked for, with their figures."""

    model_config = _example(
        {
            "default": "mobilenet",
            "models": [{"name": "mobilenet", "revision": "0123456789ab"}],
        }
    )

    default: str
    models: list[dict[str, Any]]


class ModelOut(BaseModel):
    """One model, whole."""

    model_config = _example(
        {
            "revision": "0123456789ab",
            "config": {"name": "mobilenet", "labels": ["cat", "dog"]},
            "metrics": {"test": {"n": 10_000, "accuracy": 0.95}},
        }
    )

    revision: str
    config: dict[str, Any]
    metrics: dict[str, Any]


class HealthOut(BaseModel):
    """How the service is."""

    model_config = _example({"status": "ok"})

    status: str


_BEARER = HTTPBearer(auto_error=False, description="Where TENSIGHT_API_KEYS is set.")
_METRICS_EXAMPLE = 'tensight_photos_total{model="mobilenet",verdict="known"} 12.0'
_IMAGE_TYPES = ("jpeg", "png", "webp", "gif", "bmp", "avif", "heic")

_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": f"{ACCEPTED}, at most 20 MB; whatever type is named, the content decides.",
        "content": {
            **{
                f"image/{kind}": {"schema": {"type": "string", "format": "binary"}}
                for kind in _IMAGE_TYPES
            },
            "multipart/form-data": {
                "example": {"photo": ["one.jpg", "two.png"]},
                "schema": {
                    "type": "object",
                    "properties": {
                        "photo": {
                            "type": "array",
                            "items": {"type": "string", "format": "binary"},
                        }
                    },
                },
            },
        },
    }
}


def build_service(
    predictor: Predictor, settings: Settings, telemetry: Telemetry, ready: Callable[[], bool]
) -> FastAPI:
    """The service, not yet served.

    Args:
        predictor: Who answers.
        settings: `api_keys` and `rate_per_minute` are used.
        telemetry: What /metrics tells.
        ready: Whether the default model is warm.
    """
    api = FastAPI(
        title="TenSight",
        version=__version__,
        summary="Tells what is in a photo, how sure it is, and when it does not know.",
        docs_url=None,
        redoc_url=None,
    )
    guard = _Guard(settings)

    @api.exception_handler(TenSightError)
    async def refuse(_: Request, error: TenSightError) -> JSONResponse:
        return _refusal(error)

    @api.exception_handler(RequestValidationError)
    async def correct(_: Request, error: RequestValidationError) -> JSONResponse:
        wrong = [f"{problem['loc'][-1]}: {problem['msg']}." for problem in error.errors()]
        return _refusal(RequestError(" ".join(wrong)))

    @api.exception_handler(HTTPException)
    async def not_here(_: Request, error: HTTPException) -> JSONResponse:
        what = {"code": "not_found" if error.status_code == 404 else "bad_request"}
        message = f"{error.detail}. See /openapi.json for what there is."
        body = {"error": what | {"message": message}}
        return JSONResponse(body, error.status_code, dict(error.headers or {}))

    @api.exception_handler(ClientDisconnect)
    async def nobody_there(_: Request, __: ClientDisconnect) -> Response:
        return Response(status_code=_NOBODY_THERE)

    @api.exception_handler(Exception)
    async def fail(_: Request, error: Exception) -> JSONResponse:
        logger.error("A request failed", exc_info=error)
        return _refusal(TenSightError("Something went wrong on our side. Try again later."))

    errors: dict[int | str, dict[str, Any]] = {
        status: {"model": FailureOut}
        for status in (400, 401, 404, 408, 413, 415, 429, 500, 503, 504)
    }

    @api.post(
        "/v1/predict",
        response_model=PredictionOut | PredictionsOut,
        responses=errors,
        openapi_extra=_BODY,
        dependencies=[Depends(guard), Security(_BEARER)],
        summary="Classify the photo in the body, or each photo of a form.",
    )
    async def predict(
        request: Request,
        model: Annotated[str | None, Query(description="Name of the model.")] = None,
        top: Annotated[
            int | None, Query(ge=1, description="Only this many scores, the largest.")
        ] = None,
        saliency: Annotated[
            bool, Query(description="Also tell what in the photo spoke for the answer.")
        ] = False,
    ) -> JSONResponse:
        if not _is_form(request.headers.get("content-type", "")):
            asked = predictor.predict(await request.body(), model=model, saliency=saliency)
            return JSONResponse(_as_json(await _while_there(request, asked), top))
        photos = await _photos(request)
        each = (predictor.predict(photo, model=model, saliency=saliency) for _, photo in photos)
        # Side by side, so that the model sees them together.
        results = await _while_there(request, asyncio.gather(*each, return_exceptions=True))
        failures = [result for result in results if isinstance(result, BaseException)]
        for error in failures:
            alone = isinstance(error, ImageError | PhotoReadError | PredictorError)
            # What fails all, and what is no fault of a photo, is the answer to the request.
            if not alone or (isinstance(error, PredictorError) and len(failures) == len(results)):
                raise error
        return JSONResponse(
            {
                "predictions": [
                    {"photo": name, "error": _words(result)}
                    if isinstance(result, TenSightError)
                    else _as_json(cast("Prediction", result), top) | {"photo": name}
                    for (name, _), result in zip(photos, results, strict=True)
                ]
            }
        )

    @api.get(
        "/v1/models",
        response_model=ModelsOut,
        responses={401: {"model": FailureOut}},
        dependencies=[Depends(guard), Security(_BEARER)],
        summary="The models that can be asked for, with their figures.",
    )
    async def models() -> JSONResponse:
        rows = [result.to_dict() for result in predictor.models()]
        return JSONResponse({"default": predictor.default_model(), "models": rows})

    @api.get(
        "/v1/models/{name}",
        response_model=ModelOut,
        responses={401: {"model": FailureOut}, 404: {"model": FailureOut}},
        dependencies=[Depends(guard), Security(_BEARER)],
        summary="All that is known of a model: its config.json and metrics.json.",
    )
    async def model_of(name: str) -> JSONResponse:
        for result in predictor.models():
            if result.config.name == name:
                return JSONResponse(
                    {
                        "revision": result.revision,
                        "config": result.config.model_dump(mode="json"),
                        "metrics": result.metrics.model_dump(mode="json"),
                    }
                )
        raise ModelNotFoundError(f"There is no model {name!r}. GET /v1/models lists them.")

    @api.head("/healthz", include_in_schema=False)
    @api.get("/healthz", response_model=HealthOut, summary="Whether the process runs.")
    async def healthz() -> JSONResponse:
        return JSONResponse({"status": "ok"})

    @api.head("/readyz", include_in_schema=False)
    @api.get(
        "/readyz",
        response_model=HealthOut,
        responses={503: {"model": HealthOut}},
        summary="Whether a model is warm, so that photos are answered at once.",
    )
    async def readyz() -> JSONResponse:
        if ready():
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": "loading the default model"}, 503)

    @api.get(
        "/metrics",
        response_class=PlainTextResponse,
        responses={200: {"content": {"text/plain": {"example": _METRICS_EXAMPLE}}}},
        summary="Figures for Prometheus.",
    )
    async def metrics() -> Response:
        return Response(telemetry.text(), media_type=CONTENT_TYPE)

    api.add_middleware(_BodyLimit, at_once=settings.queue_size)
    # FastAPI names an answer of its own to wrong parameters, which is never given here.
    make = api.openapi

    def described() -> dict[str, Any]:
        description = make()
        for path in description["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)
        for schema in ("HTTPValidationError", "ValidationError"):
            description["components"]["schemas"].pop(schema, None)
        return description

    api.openapi = described  # type: ignore[method-assign]  # FastAPI's own way to change it
    return api


def serve(settings: Settings, *, host: str, port: int, say: Callable[[str], None]) -> None:
    """Serve until the process is told to stop; what runs then is finished, for at most 20 s.

    Args:
        settings: Where the models are, how much is answered at once, and who may ask.
        host: Address to listen on.
        port: Port to listen on.
        say: Gets one line, once the service answers.

    Raises:
        ModelNotFoundError: There is no model.
        BundleError: The default model is damaged.
        ListenError: The address cannot be listened on.
    """
    telemetry = Telemetry()
    predictor = LocalPredictor(
        Catalog(settings),
        queue_size=settings.queue_size,
        deadline_s=settings.deadline_s,
        observer=telemetry,
    )
    telemetry.watch_queue(lambda: predictor.waiting, settings.queue_size)
    telemetry.watch_models(predictor.models)
    warm = threading.Event()
    listening = listen(host, port)
    api = build_service(predictor, settings, telemetry, warm.is_set)
    server = _Server(
        uvicorn.Config(
            api,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # else whoever asks from this machine could say he is another
            timeout_graceful_shutdown=_STOPPING_S,
            lifespan="off",
        )
    )
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):  # Windows has no SIGHUP
            signal.signal(getattr(signal, name), lambda *_: server.stop())

    shown = f"[{host.strip('[]')}]" if ":" in host else host
    address = f"http://{shown}:{listening.getsockname()[1]}"

    def load() -> None:
        predictor.warm()
        warm.set()
        if not server.should_exit:
            say(f"TenSight answers on {address}")

    try:
        with ThreadPoolExecutor(1) as loader:
            # Meanwhile /healthz answers already, and /readyz says that it is not ready.
            loading = loader.submit(load)
            loading.add_done_callback(lambda done: _stop_if_failed(done, server))
            with closing(FirstPull(settings)):
                server.run(sockets=[listening])
        loading.result()
    finally:
        predictor.close()
        listening.close()


class _Server(uvicorn.Server):
    """Stops when it is told to, and lets its process end well, not by the signal."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to `serve`."""
        yield

    def stop(self) -> None:
        """Take no more, and finish what runs; told again, do not even that."""
        self.force_exit = self.should_exit
        self.should_exit = True


def _stop_if_failed(loading: Future[None], server: _Server) -> None:
    if loading.exception() is not None:
        server.stop()


class _Guard:
    """Lets requests through that have a key, where keys are set, and are not too many."""

    def __init__(self, settings: Settings) -> None:
        self._keys = [key.get_secret_value().encode() for key in settings.api_keys]
        self._limit = (
            RateLimitItemPerMinute(settings.rate_per_minute) if settings.rate_per_minute else None
        )
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    async def __call__(self, request: Request) -> None:
        who = request.client.host if request.client else ""
        if self._keys:
            scheme, _, given = request.headers.get("authorization", "").partition(" ")
            key = given.strip().encode() if scheme.lower() == "bearer" else b""
            # All are compared, in constant time: how long it takes tells nothing of them.
            if sum(hmac.compare_digest(key, each) for each in self._keys) == 0:
                if not self._limiter.hit(_GUESSES, who):
                    raise RateError(self._free_in(_GUESSES, who))
                raise AccessError
            who = hashlib.sha256(key).hexdigest()
        if self._limit is not None and not self._limiter.hit(self._limit, who):
            raise RateError(self._free_in(self._limit, who))

    def _free_in(self, limit: RateLimitItem, who: str) -> int:
        free_at = self._limiter.get_window_stats(limit, who).reset_time
        return max(1, math.ceil(free_at - time.time()))


class _BodyLimit:
    """Bounds how large bodies are, how long they may take to come, and how much is held at once.

    A body that is too large or too slow is read no further, rather than once it is all there.

    Args:
        app: What handles the requests.
        at_once: Bodies.
    """

    def __init__(self, app: App, at_once: int) -> None:
        self._app = app
        self._at_once = at_once
        self._held = 0
        self._held_bytes = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        most = _MAX_FORM_BYTES if _is_form(_text(headers, b"content-type")) else MAX_BYTES
        length = _text(headers, b"content-length")
        ended = length in ("", "0") and b"transfer-encoding" not in headers
        has_body = not ended
        read = 0
        began = time.monotonic()

        async def counted() -> Message:
            nonlocal read, ended
            if ended:
                return await receive()
            late = began + _SLOWEST_S + read / _SLOWEST_BYTES_S
            try:
                message = await asyncio.wait_for(receive(), max(late - time.monotonic(), 0))
            except TimeoutError as error:
                raise SlowRequestError(time.monotonic() - began) from error
            piece = len(message.get("body", b""))
            read += piece
            self._held_bytes += piece
            if self._held_bytes > _MAX_HELD_BYTES:
                raise BusyError(1)
            ended = not message.get("more_body", False)
            if read > most:
                ended = False
                raise _too_large(most)
            return message

        async def closing(message: Message) -> None:
            if message["type"] == "http.response.start" and not ended:
                # Else what the sender goes on to send would still be read, and thrown away.
                message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        refusal: TenSightError | None = None
        if length.isdigit() and int(length) > most:
            refusal = _too_large(most)
        elif has_body and self._held >= self._at_once:
            refusal = BusyError(1)
        if refusal is not None:
            await _refusal(refusal)(scope, receive, closing)
            return
        self._held += has_body
        try:
            await self._app(scope, counted, closing)
        finally:
            self._held -= has_body
            self._held_bytes -= read


def _text(headers: dict[bytes, bytes], name: bytes) -> str:
    return headers.get(name, b"").decode("latin-1")


def _is_form(content_type: str) -> bool:
    return content_type.lower().startswith("multipart/form-data")


async def _while_there(request: Request, asked: Awaitable[_T]) -> _T:
    """What was asked for; given up when the client leaves, as nobody will read it."""
    answering = asyncio.ensure_future(asked)
    leaving = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            raise ClientDisconnect
        return answering.result()
    finally:
        answering.cancel()
        leaving.cancel()


async def _left(request: Request) -> None:
    """Return when the client is gone, once the body was read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _too_large(most: int) -> ImageError:
    return ImageError(
        "too_large",
        f"The request is larger than {most // 2**20} MB. Send smaller photos, or fewer.",
    )


async def _photos(request: Request) -> list[tuple[str | None, bytes]]:
    """Name and bytes of every photo of a form, in their order."""
    try:
        async with request.form(
            max_files=MAX_PHOTOS, max_fields=MAX_PHOTOS, max_part_size=_MAX_FIELD_BYTES
        ) as form:
            parts = [part for _, part in form.multi_items() if isinstance(part, UploadFile)]
            photos = [(part.filename, await part.read()) for part in parts]
    except (HTTPException, MultiPartException) as error:
        detail = getattr(error, "detail", None) or getattr(error, "message", "")
        raise RequestError(
            f"The form cannot be read: {detail} Send at most {MAX_PHOTOS} photos as "
            "multipart/form-data, or one photo as the body."
        ) from error
    if not photos:
        raise RequestError(
            f"The form holds no photo. Send each as a file: {ACCEPTED}; at most {MAX_PHOTOS}."
        )
    return photos


def _as_json(prediction: Prediction, top: int | None) -> dict[str, Any]:
    answer = prediction.to_dict(saliency=True)
    if top is not None:
        answer["scores"] = dict(list(prediction.scores.items())[:top])
    return answer


def _words(error: TenSightError) -> dict[str, str]:
    return {"code": error.code, "message": str(error)}


def _refusal(error: TenSightError) -> JSONResponse:
    status = 500
    if isinstance(error, ImageError):
        status = _IMAGE_STATUS.get(error.code, 400)
    else:
        status = next((code for kind, code in _STATUS if isinstance(error, kind)), 500)
    headers = {}
    if isinstance(error, BusyError | RateError):
        headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, AccessError):
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse({"error": _words(error)}, status, headers)
