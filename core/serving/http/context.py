"""Context of the routes of the service, and the dependencies that provide it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request, Security

from core.serving.http.auth import BEARER, Guard
from core.serving.http.schemas import FailureOut
from core.serving.predictor import Predictor
from core.serving.telemetry import Telemetry

__all__ = ["PROTECTED", "Context", "ServiceContext", "failures"]


@dataclass(frozen=True)
class ServiceContext:
    """The collaborators of the routes.

    Attributes:
        predictor: Classifies the photos.
        telemetry: Metrics for Prometheus.
        ready: Returns whether the default model is loaded.
        guard: Checks API keys and rate limits.
        photos_at_once: Photos of one form that are classified at the same time.
    """

    predictor: Predictor
    telemetry: Telemetry
    ready: Callable[[], bool]
    guard: Guard
    photos_at_once: int


def _context(request: Request) -> ServiceContext:
    context: ServiceContext = request.app.state.context
    return context


Context = Annotated[ServiceContext, Depends(_context)]
"""Parameter of a route that gets the context of its application."""


async def _check_access(request: Request, context: Context) -> None:
    await context.guard(request)


PROTECTED = [Depends(_check_access), Security(BEARER)]
"""Dependencies of a route that requires an API key, where keys are set."""


def failures(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI descriptions of error responses, by status."""
    return {status: {"model": FailureOut} for status in statuses}
