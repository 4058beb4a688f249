"""The routes for monitoring: liveness, readiness and metrics. They need no API key."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from core.serving.http.context import Context
from core.serving.http.schemas import METRICS_EXAMPLE, HealthOut
from core.serving.telemetry import CONTENT_TYPE

__all__ = ["router"]

router = APIRouter()


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", response_model=HealthOut, summary="Liveness: the process is running.")
async def healthz() -> JSONResponse:
    """Return that the process is running."""
    return JSONResponse({"status": "ok"})


@router.head("/readyz", include_in_schema=False)
@router.get(
    "/readyz",
    response_model=HealthOut,
    responses={503: {"model": HealthOut}},
    summary="Readiness: the default model is loaded.",
)
async def readyz(context: Context) -> JSONResponse:
    """Return whether the default model is loaded."""
    if context.ready():
        return JSONResponse({"status": "ready"})
    return JSONResponse({"status": "loading the default model"}, 503)


@router.get(
    "/metrics",
    response_class=PlainTextResponse,
    responses={200: {"content": {"text/plain": {"example": METRICS_EXAMPLE}}}},
    summary="Metrics in Prometheus' text format.",
)
def metrics(context: Context) -> Response:
    """Return the metrics; in a thread, since they list the models."""
    return Response(context.telemetry.text(), media_type=CONTENT_TYPE)
