"""HTTP status and JSON body of each error, and the handlers that return them."""

from __future__ import annotations

import logging

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

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

__all__ = ["add_exception_handlers", "error_message", "error_response"]

# The status that nginx logs for a client that disconnected; it is never received.
_CLIENT_CLOSED_REQUEST = 499

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


def error_message(error: TenSightError) -> dict[str, str]:
    """Return the JSON object of an error: its code and its message."""
    return {"code": error.code, "message": str(error)}


def error_response(error: TenSightError) -> JSONResponse:
    """Return the response to a request that failed, with status, headers and JSON body."""
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


def add_exception_handlers(api: FastAPI) -> None:
    """Return every error of an application as JSON with a stable code."""

    @api.exception_handler(TenSightError)
    async def known(_: Request, error: TenSightError) -> JSONResponse:
        return error_response(error)

    @api.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        wrong = [f"{problem['loc'][-1]}: {problem['msg']}." for problem in error.errors()]
        return error_response(RequestError(" ".join(wrong)))

    @api.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> JSONResponse:
        code = "not_found" if error.status_code == 404 else "bad_request"
        message = f"{error.detail}. See /openapi.json for the routes of this service."
        body = {"error": {"code": code, "message": message}}
        return JSONResponse(body, error.status_code, dict(error.headers or {}))

    @api.exception_handler(ClientDisconnect)
    async def disconnected(_: Request, __: ClientDisconnect) -> Response:
        return Response(status_code=_CLIENT_CLOSED_REQUEST)

    @api.exception_handler(Exception)
    async def unexpected(_: Request, error: Exception) -> JSONResponse:
        logger.error("A request failed", exc_info=error)
        return error_response(TenSightError("Internal server error. Try again later."))
