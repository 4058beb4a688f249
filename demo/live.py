"""Live predictions: frames of a visitor's camera, classified with free capacity only."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from core import locale
from core.errors import BusyError, ImageError, RateError, TenSightError
from core.inference.prediction import Prediction
from core.photos.formats.claimed import claimed_pixels
from core.serving.http.errors import error_response
from core.serving.predictor import Predictor
from demo.components import bars
from demo.context import ClientRateLimiter, error_of, language_of
from demo.guard import LIVE_PATH
from demo.tabs.answer import verdict_html

__all__ = ["LiveFrames"]

# Twenty a second: the page sends ten, and several visitors may share an address.
_FRAMES_PER_MINUTE = 1200
# The page sends frames of 384 × 288 pixels.
_MAX_PIXELS = 640 * 640
_MAX_BARS = 10


class LiveFrames:
    """Classifies the frames that the page sends while it shows the camera.

    A frame is dropped, with the error `busy`, unless a worker of the predictor is idle. Frames have
    a rate limit of their own and do not count as photos.

    Args:
        predictor: Classifies the frames.
        frame_limiter: Rate limiter of frames; None for 1,200 a minute.
    """

    def __init__(
        self, predictor: Predictor, frame_limiter: ClientRateLimiter | None = None
    ) -> None:
        self._predictor = predictor
        self._frame_limiter = frame_limiter or ClientRateLimiter(_FRAMES_PER_MINUTE)

    @property
    def route(self) -> Route:
        """Route that takes a JPEG as its body and the name of a model as `model`.

        It responds with `verdict` and `scores` as HTML, or with `error`: a stable code and a
        message.
        """
        return Route(LIVE_PATH, self._classify, methods=["POST"])

    async def _classify(self, request: Request) -> Response:
        language = language_of(request)
        try:
            self._frame_limiter.check_rate(request)
        except RateError as error:
            return _refusal(error, language)
        frame = await request.body()
        try:
            _check_size(frame)
            prediction = await self._predictor.predict(
                frame,
                model=request.query_params.get("model") or None,
                client=self._frame_limiter.client(request),
                best_effort=True,
            )
        except Exception as error:  # noqa: BLE001  # any error is shown to the visitor
            return _refusal(error, language)
        return JSONResponse(
            {
                "verdict": verdict_html(prediction, language),
                "scores": _scores_html(prediction, language),
            }
        )


def _check_size(frame: bytes) -> None:
    """Check the number of pixels: a small file can hold an image that takes seconds to decode.

    Raises:
        ImageError: There are more than a frame of the page has.
    """
    pixels = claimed_pixels(frame)
    if pixels > _MAX_PIXELS:
        raise ImageError(
            "too_many_pixels", f"A frame has {pixels:,} pixels; the limit is {_MAX_PIXELS:,}."
        )


def _scores_html(prediction: Prediction, language: locale.Language) -> str:
    """Render the bars in alphabetical order, so that each keeps its place between frames."""
    shown = dict(list(prediction.scores.items())[:_MAX_BARS])
    named = sorted(shown.items(), key=lambda each: locale.label_name(each[0], language))
    return bars(dict(named), _MAX_BARS, language, locale.page_texts(language)["scores"])


def _refusal(error: Exception, language: locale.Language) -> JSONResponse:
    code, message = error_of(error, language)
    known = error if isinstance(error, TenSightError) else TenSightError()
    headers = {}
    if isinstance(error, BusyError | RateError):
        headers["Retry-After"] = str(error.retry_after)
    return JSONResponse(
        {"error": {"code": code, "message": message}}, error_response(known).status_code, headers
    )
