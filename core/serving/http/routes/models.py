"""The routes that describe the models.

They are plain functions, which FastAPI runs in a thread: a predictor may read files or send
requests to list its models.
"""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from core.serving.http.context import PROTECTED, Context, failures
from core.serving.http.schemas import ModelOut, ModelsOut

__all__ = ["router"]

router = APIRouter(dependencies=PROTECTED)


@router.get(
    "/v1/models",
    response_model=ModelsOut,
    responses=failures(401),
    summary="List the models with their metrics.",
)
def list_models(context: Context) -> JSONResponse:
    """Return the models and the name of the default one."""
    rows = [model.to_dict() for model in context.predictor.models()]
    return JSONResponse({"default": context.predictor.default_model(), "models": rows})


@router.get(
    "/v1/models/{name}",
    response_model=ModelOut,
    responses=failures(401, 404),
    summary="Return a model's config.json and metrics.json.",
)
def get_model(name: str, context: Context) -> JSONResponse:
    """Return revision, configuration and metrics of a model."""
    model = context.predictor.model(name)
    return JSONResponse(
        {
            "revision": model.revision,
            "config": model.config.model_dump(mode="json"),
            "metrics": model.metrics.model_dump(mode="json"),
        }
    )
