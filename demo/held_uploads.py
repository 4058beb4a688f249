"""Keep the uploads of visitors until the last photo to teach has been uploaded."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from core.errors import RateError, RequestError
from core.serving.http.errors import error_response
from core.teaching.limits import MAX_TOTAL_PHOTOS
from demo.components import uploaded
from demo.context import ClientRateLimiter
from demo.guard import HELD_PATH
from demo.uploads import UploadFolder

__all__ = ["HeldUploads"]

# The page sends one a minute; several visitors may share an address.
_REQUESTS_PER_MINUTE = 60
_PATHS: TypeAdapter[list[str]] = TypeAdapter(
    Annotated[list[str], Field(max_length=MAX_TOTAL_PHOTOS)]
)


class HeldUploads:
    """Renews uploads, which are deleted by age, while a slow connection sends others.

    Args:
        folder: The folder of the uploads.
        limiter: Rate limiter of requests; None for 60 a minute.
    """

    def __init__(self, folder: UploadFolder, limiter: ClientRateLimiter | None = None) -> None:
        self._folder = folder
        self._limiter = limiter or ClientRateLimiter(_REQUESTS_PER_MINUTE)

    @property
    def route(self) -> Route:
        """Route that takes the paths of uploads as a JSON list; paths elsewhere are ignored."""
        return Route(HELD_PATH, self._renew, methods=["POST"])

    async def _renew(self, request: Request) -> Response:
        try:
            self._limiter.check_rate(request)
            paths = _PATHS.validate_json(await request.body())
        except RateError as error:
            return error_response(error)
        except ValidationError:
            return error_response(RequestError("Send the paths of uploads as a JSON list."))
        await asyncio.to_thread(self._renew_all, paths)
        return JSONResponse({})

    def _renew_all(self, paths: list[str]) -> None:
        folder = str(self._folder.path)
        self._folder.renew([Path(each) for each in paths if uploaded(each, folder)])
