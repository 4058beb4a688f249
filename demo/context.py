"""Context shared by the tabs: predictor, rate limit, language and error messages."""

from __future__ import annotations

import asyncio
import functools
import html
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import gradio as gr
import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request

from core import locale
from core.bundle.leaderboard import ModelInfo
from core.errors import TenSightError
from core.rate_limit import RateLimit
from core.serving.http.client import client_key
from core.serving.predictor import Predictor
from core.store.store import Store

__all__ = ["ClientRateLimiter", "PageContext", "Samples", "error_of", "language_of", "refusal_html"]

Samples = Callable[[], Mapping[str, Sequence[NDArray[np.uint8]]]]
"""Returns sample images of a data set by label, each of shape (h, w, 3), uint8, RGB.

It raises DataError where the data set cannot be read.
"""

logger = logging.getLogger(__name__)


class ClientRateLimiter:
    """Rate limiter by client address, with a moving window.

    Args:
        photos_per_minute: Photos that one client may send in the window; a client is one address,
            or one /64 network of IPv6.
        window_s: Length of the window in seconds.
        clock: Monotonic clock in seconds.
    """

    def __init__(
        self,
        photos_per_minute: int,
        *,
        window_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = RateLimit(photos_per_minute, window_s=window_s, clock=clock)

    def check_rate(self, request: gr.Request | Request, photos: int = 1) -> None:
        """Count the photos of a request.

        Args:
            request: The request.
            photos: Number of photos in it.

        Raises:
            RateError: The limit is exceeded; `retry_after` says when to retry.
        """
        self.check_address(request.client.host if request.client else "", photos)

    def check_address(self, address: str, photos: int = 1) -> None:
        """Count photos by client address.

        Args:
            address: Address of the client.
            photos: Number of photos.

        Raises:
            RateError: The limit is exceeded; `retry_after` says when to retry.
        """
        # A batch larger than the limit costs the whole limit, so it passes if the window is empty.
        self._limit.hit(client_key(address), photos)

    def client(self, request: gr.Request | Request) -> str:
        """Return the client's key, by which the predictor shares its capacity fairly."""
        address = request.client.host if request.client else ""
        return f"visitor:{client_key(address)}"


@dataclass(frozen=True)
class PageContext:
    """Context that every tab is built with.

    Attributes:
        predictor: Predictor that classifies the photos.
        store: Database for feedback; None to show no feedback form.
        photo_limiter: Rate limiter of photos.
        feedback_limiter: Rate limiter of feedback, with a window of one day.
        batches: Limit on concurrent photos of all batches, which keeps capacity for single photos.
        unbundled: Models whose weights are not stored, for their metrics.
        samples: Returns images of the data set; None where it is not available.
        hash_key: Key of the hashes that stand for visitors in the database.
    """

    predictor: Predictor
    store: Store | None
    photo_limiter: ClientRateLimiter
    feedback_limiter: ClientRateLimiter
    batches: asyncio.Semaphore
    unbundled: tuple[ModelInfo, ...]
    samples: Samples | None
    hash_key: bytes

    @functools.cached_property
    def translate(self) -> gr.I18n:
        """Translate a text of the page, by its key, to the language of the browser."""
        return gr.I18n(**{language: locale.page_texts(language) for language in locale.LANGUAGES})


def language_of(request: gr.Request | Request) -> locale.Language:
    """Return the browser's preferred language if it is supported, otherwise English.

    It follows the same rule as Gradio's translation in the browser.
    """
    accepted = request.headers.get("accept-language", "") if request.headers else ""
    return locale.language_of_tag(accepted.split(",")[0].split(";")[0]) or "en"


def error_of(error: Exception, language: locale.Language) -> tuple[str, str]:
    """Return the stable code and the localised message of an error.

    An unexpected error is logged with its traceback and reported as an internal error.
    """
    if isinstance(error, TenSightError):
        return error.code, locale.format_error(error, language)
    logger.error("Unexpected error in a handler of the page", exc_info=error)
    return TenSightError.code, locale.format_error(TenSightError(), language)


def refusal_html(error: Exception, language: locale.Language) -> str:
    """Format an error as HTML, to be shown in place of a prediction."""
    return f'<p class="refusal">⚠ {html.escape(error_of(error, language)[1])}</p>'
