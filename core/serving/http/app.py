"""The HTTP service: photos in, predictions out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar, cast

from fastapi import Depends, FastAPI, Query, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect

from core._version import __version__
from core.errors import (
    ImageError,
    PhotoReadError,
    PredictorError,
    RequestError,
    TenSightError,
)
from core.inference.prediction import Prediction
from core.photos.formats.kind import ACCEPTED
from core.serving.http.auth import BEARER, Guard
from core.serving.http.body_limit import BodyLimit, BodyLimits, is_form
from core.serving.http.client import ClientAddress
from core.serving.http.client_share import ClientShare
from core.serving.http.errors import error_message, error_response
from core.serving.http.schemas import (
    BODY,
    METRICS_EXAMPLE,
    FailureOut,
    HealthOut,
    ModelOut,
    ModelsOut,
    PredictionOut,
    PredictionsOut,
)
from core.serving.http.security_headers import SecurityHeaders
from core.serving.predictor import Predictor
from core.serving.telemetry import CONTENT_TYPE, Telemetry
from core.settings import Settings

__all__ = ["MAX_PHOTOS", "build_service"]

MAX_PHOTOS = 32
"""Photos in one request."""
# Of parts that are no photos.
_MAX_FIELD_BYTES = 64 * 1024
# Requests of one client that are answered at once.
_OPEN_OF_ONE_CLIENT = 250
# A proxy's number for a client that has left; nobody reads it.
_CLIENT_CLOSED_REQUEST = 499

_T = TypeVar("_T")

logger = logging.getLogger(__name__)


def build_service(
    predictor: Predictor,
    settings: Settings,
    telemetry: Telemetry,
    ready: Callable[[], bool],
    *,
    guard: Guard | None = None,
    bodies: BodyLimits | None = None,
) -> FastAPI:
    """The service, not yet served.

    Args:
        predictor: Who answers.
        settings: `api_keys`, `rate_per_minute`, `proxies` and `queue_size` are used.
        telemetry: What /metrics tells.
        ready: Whether the default model is warm.
        guard: Who checks keys and rates; None: as the settings say.
        bodies: Limits on bodies; None: as many at once as the queue has places.
    """
    api = FastAPI(
        title="TenSight",
        version=__version__,
        summary="Tells what is in a photo, how sure it is, and when it does not know.",
        docs_url=None,
        redoc_url=None,
        # A redirect names http:// behind a proxy with TLS, and the photo would go on in clear.
        redirect_slashes=False,
    )
    guard = guard or Guard(settings)

    @api.exception_handler(TenSightError)
    async def refuse(_: Request, error: TenSightError) -> JSONResponse:
        return error_response(error)

    @api.exception_handler(RequestValidationError)
    async def correct(_: Request, error: RequestValidationError) -> JSONResponse:
        wrong = [f"{problem['loc'][-1]}: {problem['msg']}." for problem in error.errors()]
        return error_response(RequestError(" ".join(wrong)))

    @api.exception_handler(HTTPException)
    async def not_here(_: Request, error: HTTPException) -> JSONResponse:
        what = {"code": "not_found" if error.status_code == 404 else "bad_request"}
        message = f"{error.detail}. See /openapi.json for what there is."
        body = {"error": what | {"message": message}}
        return JSONResponse(body, error.status_code, dict(error.headers or {}))

    @api.exception_handler(ClientDisconnect)
    async def nobody_there(_: Request, __: ClientDisconnect) -> Response:
        return Response(status_code=_CLIENT_CLOSED_REQUEST)

    @api.exception_handler(Exception)
    async def fail(_: Request, error: Exception) -> JSONResponse:
        logger.error("A request failed", exc_info=error)
        return error_response(TenSightError("Something went wrong on our side. Try again later."))

    errors: dict[int | str, dict[str, Any]] = {
        status: {"model": FailureOut}
        for status in (400, 401, 404, 408, 413, 415, 429, 500, 503, 504)
    }

    @api.post(
        "/v1/predict",
        response_model=PredictionOut | PredictionsOut,
        responses=errors,
        openapi_extra=BODY,
        dependencies=[Depends(guard), Security(BEARER)],
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
        if not is_form(request.headers.get("content-type", "")):
            asked = predictor.predict(
                await request.body(), model=model, saliency=saliency, client=request.state.client
            )
            return JSONResponse(_as_json(await _cancel_on_disconnect(request, asked), top))
        photos = await _photos(request)
        # No more at once than one client may hold while others wait: a form is answered whole.
        places = asyncio.Semaphore(max(1, int(settings.queue_size * settings.client_share)))

        async def ask(photo: bytes) -> Prediction:
            async with places:
                return await predictor.predict(
                    photo, model=model, saliency=saliency, client=request.state.client
                )

        each = (ask(photo) for _, photo in photos)
        # Side by side, so that the model sees them together.
        results = await _cancel_on_disconnect(
            request, asyncio.gather(*each, return_exceptions=True)
        )
        failures = [result for result in results if isinstance(result, BaseException)]
        for error in failures:
            alone = isinstance(error, ImageError | PhotoReadError | PredictorError)
            # What fails all, and what is no fault of a photo, is the answer to the request.
            if not alone or (isinstance(error, PredictorError) and len(failures) == len(results)):
                raise error
        return JSONResponse(
            {
                "predictions": [
                    {"photo": name, "error": error_message(result)}
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
        dependencies=[Depends(guard), Security(BEARER)],
        summary="The models that can be asked for, with their figures.",
    )
    async def models() -> JSONResponse:
        rows = [result.to_dict() for result in predictor.models()]
        return JSONResponse({"default": predictor.default_model(), "models": rows})

    @api.get(
        "/v1/models/{name}",
        response_model=ModelOut,
        responses={401: {"model": FailureOut}, 404: {"model": FailureOut}},
        dependencies=[Depends(guard), Security(BEARER)],
        summary="All that is known of a model: its config.json and metrics.json.",
    )
    async def model_of(name: str) -> JSONResponse:
        model = predictor.model(name)
        return JSONResponse(
            {
                "revision": model.revision,
                "config": model.config.model_dump(mode="json"),
                "metrics": model.metrics.model_dump(mode="json"),
            }
        )

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
        responses={200: {"content": {"text/plain": {"example": METRICS_EXAMPLE}}}},
        summary="Figures for Prometheus.",
    )
    async def metrics() -> Response:
        return Response(telemetry.text(), media_type=CONTENT_TYPE)

    api.add_middleware(BodyLimit, limits=bodies or BodyLimits(settings.queue_size))
    api.add_middleware(ClientShare, most=_OPEN_OF_ONE_CLIENT)
    api.add_middleware(ClientAddress, proxies=settings.proxies)
    api.add_middleware(SecurityHeaders)
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


async def _cancel_on_disconnect(request: Request, asked: Awaitable[_T]) -> _T:
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
