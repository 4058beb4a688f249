"""HTTP status and JSON body of each error."""

from __future__ import annotations

from fastapi.responses import JSONResponse

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

__all__ = ["error_message", "error_response"]

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


def error_message(error: TenSightError) -> dict[str, str]:
    """Return the JSON object that stands for an error."""
    return {"code": error.code, "message": str(error)}


def error_response(error: TenSightError) -> JSONResponse:
    """Return the response to a request that ended in an error."""
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
    return JSONResponse({"error": error_message(error)}, status, headers)
