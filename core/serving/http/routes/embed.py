"""The route that embeds photos, for fronts that hold taught models."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from core.bundle.config import Base
from core.errors import RequestError
from core.serving.http.body_limit import is_form
from core.serving.http.context import PROTECTED, Context, failures
from core.serving.http.disconnect import cancel_on_disconnect
from core.serving.http.schemas import PHOTO_BODY, EmbeddingOut

__all__ = ["router"]

router = APIRouter()


@router.post(
    "/v1/embed",
    response_model=EmbeddingOut,
    responses=failures(400, 401, 404, 408, 413, 415, 429, 500, 503, 504),
    openapi_extra=PHOTO_BODY,
    dependencies=PROTECTED,
    summary="Compute the embedding of the photo in the request body.",
)
async def embed(
    request: Request,
    context: Context,
    model: Annotated[
        str, Query(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$", description="Name of the base model.")
    ],
    sha256: Annotated[
        str, Query(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of its model.tflite.")
    ],
    features: Annotated[bool, Query(description="Also return the feature maps.")] = False,
    best_effort: Annotated[bool, Query(description="As for /v1/predict.")] = False,
) -> JSONResponse:
    """Embed a photo with the model that taught models name as their base."""
    if is_form(request.headers.get("content-type", "")):
        raise RequestError("Send one photo as the request body, not a form.")
    asked = context.predictor.embed(
        await request.body(),
        Base(name=model, sha256=sha256),
        features=features,
        client=request.state.client,
        best_effort=best_effort,
    )
    return JSONResponse((await cancel_on_disconnect(request, asked)).to_dict())
