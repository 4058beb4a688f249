"""The HTTP service: an ASGI application that classifies photos."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI

from core._version import __version__
from core.serving.http.auth import Guard
from core.serving.http.body_limit import BodyLimit, BodyLimits
from core.serving.http.client import ClientAddress
from core.serving.http.client_share import ClientShare
from core.serving.http.context import ServiceContext
from core.serving.http.errors import add_exception_handlers
from core.serving.http.routes import embed, health, models, predict
from core.serving.http.security_headers import SecurityHeaders
from core.serving.predictor import Predictor
from core.serving.telemetry import Telemetry
from core.settings import Settings

__all__ = ["build_service"]

# Maximum number of concurrent requests of one client.
_CLIENT_REQUESTS = 250


def build_service(
    predictor: Predictor,
    settings: Settings,
    telemetry: Telemetry,
    ready: Callable[[], bool],
    *,
    guard: Guard | None = None,
    bodies: BodyLimits | None = None,
) -> FastAPI:
    """Build the application without serving it.

    Args:
        predictor: Classifies the photos.
        settings: `api_keys`, `trusted_keys`, `rate_per_minute`, `proxies`, `queue_size` and
            `client_share` are used.
        telemetry: Metrics for the route /metrics.
        ready: Returns whether the default model is loaded.
        guard: Checks API keys and rate limits; None to build it from the settings.
        bodies: Limits on request bodies; None for as many bodies as the queue has places.
    """
    api = FastAPI(
        title="TenSight",
        version=__version__,
        summary="Classify photos with calibrated confidence and detection of unknown objects.",
        docs_url=None,
        redoc_url=None,
        # Behind a TLS proxy a redirect would name http://, and the photo would be sent unencrypted.
        redirect_slashes=False,
    )
    api.state.context = ServiceContext(
        predictor,
        telemetry,
        ready,
        guard or Guard(settings),
        max(1, int(settings.queue_size * settings.client_share)),
    )
    for each in (predict, embed, models, health):
        api.include_router(each.router)
    add_exception_handlers(api)
    api.add_middleware(BodyLimit, limits=bodies or BodyLimits(settings.queue_size))
    api.add_middleware(ClientShare, max_requests=_CLIENT_REQUESTS)
    api.add_middleware(ClientAddress, proxies=settings.proxies)
    api.add_middleware(SecurityHeaders)
    _describe_errors(api)
    return api


def _describe_errors(api: FastAPI) -> None:
    """Leave FastAPI's own validation errors out of the OpenAPI description: none is returned."""
    generate = api.openapi

    def openapi() -> dict[str, Any]:
        description = generate()
        for path in description["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)
        for schema in ("HTTPValidationError", "ValidationError"):
            description["components"]["schemas"].pop(schema, None)
        return description

    api.openapi = openapi  # type: ignore[method-assign]  # documented by FastAPI
