"""Objects and settings that all tabs of the page share."""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import gradio as gr
import numpy as np
from limits import RateLimitItem, RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from numpy.typing import NDArray

from core import locale
from core.bundle.leaderboard import Result
from core.errors import ModelNotFoundError, RateError, TenSightError
from core.serving.predictor import Predictor
from core.store.store import Store

__all__ = ["Front", "Samples", "Visitors", "error_of", "language_of", "refusal"]

Samples = Callable[[], Mapping[str, Sequence[NDArray[np.uint8]]]]
"""Gives some images of a data set by label, each of shape (h, w, 3), uint8; or a DataError."""

logger = logging.getLogger(__name__)


class Visitors:
    """Lets each visitor send so many photos a minute, and no more.

    Args:
        photos_per_minute: How many; a visitor is who comes from one address.
        proxies: Servers that stand before this one, and add whom they were asked by.
        window: Of another length than a minute.
    """

    def __init__(
        self,
        photos_per_minute: int,
        proxies: int = 0,
        window: type[RateLimitItem] = RateLimitItemPerMinute,
    ) -> None:
        self._proxies = proxies
        self._limit = window(photos_per_minute)
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    def admit(self, request: gr.Request, photos: int = 1) -> None:
        """Count photos of a visitor.

        Raises:
            RateError: They are too many.
        """
        self.admit_address(request.client.host if request.client else "", request.headers, photos)

    def admit_address(self, address: str, headers: Mapping[str, str], photos: int = 1) -> None:
        """The same, by the address that a request came from, and its headers.

        Raises:
            RateError: They are too many.
        """
        who = self._who(address, headers)
        # More than a minute's worth is taken once nothing else was sent.
        if not self._limiter.hit(self._limit, who, cost=min(photos, self._limit.amount)):
            free_at = self._limiter.get_window_stats(self._limit, who).reset_time
            raise RateError(max(1, math.ceil(free_at - time.time())))

    def client(self, request: gr.Request) -> str:
        """Return who a visitor is to the predictor, which shares its places out among clients."""
        address = request.client.host if request.client else ""
        return f"visitor:{self._who(address, request.headers)}"

    def _who(self, address: str, headers: Mapping[str, str]) -> str:
        passed_on = headers.get("x-forwarded-for", "").split(",")
        # What stands further left may be made up: each proxy adds who asked it on the right.
        return passed_on[-self._proxies].strip() if 0 < self._proxies <= len(passed_on) else address


@dataclass(frozen=True)
class Front:
    """What every tab is built with.

    Attributes:
        predictor: Who answers.
        store: Where feedback goes; None: visitors are not asked for it.
        visitors: Counts what each sends.
        judges: Counts the answers that each judges, within a day.
        batches: Places for photos of batches, all together: others are to be answered meanwhile.
        unbundled: Figures of models whose weights are not kept.
        samples: Gives images of the data set; None where it is not here.
    """

    predictor: Predictor
    store: Store | None
    visitors: Visitors
    judges: Visitors
    batches: asyncio.Semaphore
    unbundled: tuple[Result, ...]
    samples: Samples | None

    @functools.cached_property
    def words(self) -> gr.I18n:
        """The words of the page, in the language of whoever looks at it."""
        return gr.I18n(**{language: locale.page_words(language) for language in locale.LANGUAGES})

    def result(self, name: str) -> Result:
        """Figures of a model that answers.

        Raises:
            ModelNotFoundError: There is none of that name.
            PredictorError: It cannot be asked for now.
        """
        for result in self.predictor.models():
            if result.config.name == name:
                return result
        raise ModelNotFoundError(f"There is no model called {name!r}.")


def language_of(request: gr.Request) -> locale.Language:
    """The browser's first language, as it is for what Gradio translates; else English."""
    accepted = request.headers.get("accept-language", "") if request.headers else ""
    tag = accepted.split(",")[0].split(";")[0].split("-")[0].strip().lower()
    return next((language for language in locale.LANGUAGES if tag == language), "en")


def error_of(error: Exception, language: locale.Language) -> tuple[str, str]:
    """Stable code of an error, and what a visitor reads; what is no error of ours is logged."""
    if isinstance(error, TenSightError):
        return error.code, locale.error_words(error, language)
    logger.error("The page failed", exc_info=error)
    return TenSightError.code, locale.error_words(TenSightError(), language)


def refusal(error: Exception, language: locale.Language) -> str:
    """Markdown that stands where an answer would."""
    return f"### ⚠ {error_of(error, language)[1]}"
