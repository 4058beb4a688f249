"""The route that classifies photos."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any, cast

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException

from core.errors import ImageError, PhotoReadError, PredictorError, RequestError, TenSightError
from core.inference.prediction import Prediction
from core.photos.formats.kind import ACCEPTED
from core.serving.http.body_limit import is_form
from core.serving.http.context import PROTECTED, Context, failures
from core.serving.http.disconnect import cancel_on_disconnect
from core.serving.http.errors import error_message
from core.serving.http.schemas import BODY, PredictionOut, PredictionsOut

__all__ = ["MAX_PHOTOS", "router"]

MAX_PHOTOS = 32
"""Maximum number of photos in a request."""
# Maximum size of a part that is not a photo.
_MAX_FIELD_BYTES = 64 * 1024

router = APIRouter()


@router.post(
    "/v1/predict",
    response_model=PredictionOut | PredictionsOut,
    responses=failures(400, 401, 404, 408, 413, 415, 429, 500, 503, 504),
    openapi_extra=BODY,
    dependencies=PROTECTED,
    summary="Classify the photo in the request body, or each photo of a form.",
)
async def predict(
    request: Request,
    context: Context,
    model: Annotated[
        str | None, Query(description="Name of the model. Default: the service's default model.")
    ] = None,
    top: Annotated[
        int | None, Query(ge=1, description="Return only this many scores, the highest first.")
    ] = None,
    saliency: Annotated[
        bool, Query(description="Also return the saliency map of the prediction.")
    ] = False,
    best_effort: Annotated[
        bool,
        Query(
            description="Respond with `busy` at once unless a worker is idle, so that the photo "
            "delays no other: for the frames of a video."
        ),
    ] = False,
) -> JSONResponse:
    """Classify photos; the response has one prediction, or one for each photo of a form."""
    client = request.state.client
    if not is_form(request.headers.get("content-type", "")):
        one = context.predictor.predict(
            await request.body(),
            model=model,
            saliency=saliency,
            client=client,
            best_effort=best_effort,
        )
        return JSONResponse(_as_json(await cancel_on_disconnect(request, one), top))
    photos = await _photos(request)
    # Not more than one client's share of the queue, so that a form is answered whole.
    places = asyncio.Semaphore(context.photos_at_once)

    async def ask(photo: bytes) -> Prediction:
        async with places:
            return await context.predictor.predict(
                photo, model=model, saliency=saliency, client=client, best_effort=best_effort
            )

    # Concurrently, so that the model gets them as one batch.
    asked = asyncio.gather(*(ask(photo) for _, photo in photos), return_exceptions=True)
    results = await cancel_on_disconnect(request, asked)
    _raise_common_error(results)
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


def _raise_common_error(results: Sequence[Prediction | BaseException]) -> None:
    """Raise an error that concerns the whole request, not single photos of a form."""
    errors = [result for result in results if isinstance(result, BaseException)]
    for error in errors:
        single = isinstance(error, ImageError | PhotoReadError | PredictorError)
        all_failed = isinstance(error, PredictorError) and len(errors) == len(results)
        if not single or all_failed:
            raise error


async def _photos(request: Request) -> list[tuple[str | None, bytes]]:
    """Return file name and content of each photo of a form, in order.

    Raises:
        RequestError: The form is malformed, or has no or too many photos.
    """
    try:
        async with request.form(
            max_files=MAX_PHOTOS, max_fields=MAX_PHOTOS, max_part_size=_MAX_FIELD_BYTES
        ) as form:
            parts = [part for _, part in form.multi_items() if isinstance(part, UploadFile)]
            photos = [(part.filename, await part.read()) for part in parts]
    except (HTTPException, MultiPartException) as error:
        detail = getattr(error, "detail", None) or getattr(error, "message", "")
        raise RequestError(
            f"The form cannot be parsed: {detail} Send at most {MAX_PHOTOS} photos as "
            "multipart/form-data, or one photo as the request body."
        ) from error
    if not photos:
        raise RequestError(
            f"The form contains no photo. Send each as a file: {ACCEPTED}; at most {MAX_PHOTOS}."
        )
    return photos


def _as_json(prediction: Prediction, top: int | None) -> dict[str, Any]:
    answer = prediction.to_dict(saliency=True)
    if top is not None:
        answer["scores"] = dict(list(prediction.scores.items())[:top])
    return answer
