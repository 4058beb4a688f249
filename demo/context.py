"""Objects and settings that all tabs of the page share."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import gradio as gr
import numpy as np
from numpy.typing import NDArray

from core import locale
from core.bundle.leaderboard import Result
from core.errors import ModelNotFoundError, TenSightError
from core.rate_limit import RateLimit
from core.serving.http.client import client_key
from core.serving.predictor import Predictor
from core.store.store import Store

__all__ = ["Front", "Samples", "Visitors", "error_of", "language_of", "refusal"]

Samples = Callable[[], Mapping[str, Sequence[NDArray[np.uint8]]]]
"""Gives some images of a data set by label, each of shape (h, w, 3), uint8; or a DataError."""

logger = logging.getLogger(__name__)


class Visitors:
    """Lets each visitor send so many photos a minute, and no more.

    Args:
        photos_per_minute: How many; a visitor is who comes from one address, or one /64 of IPv6.
        window_s: Seconds in which so many are allowed, in place of a minute.
        clock: Seconds since some moment.
    """

    def __init__(
        self,
        photos_per_minute: int,
        *,
        window_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = RateLimit(photos_per_minute, window_s=window_s, clock=clock)

    def admit(self, request: gr.Request, photos: int = 1) -> None:
        """Count photos of a visitor.

        Raises:
            RateError: They are too many.
        """
        self.admit_address(request.client.host if request.client else "", photos)

    def admit_address(self, address: str, photos: int = 1) -> None:
        """Count photos that came from an address.

        Raises:
            RateError: They are too many.
        """
        # More than a minute's worth is taken once nothing else was sent.
        self._limit.hit(client_key(address), photos)

    def client(self, request: gr.Request) -> str:
        """Return who a visitor is to the predictor, which shares its places out among clients."""
        address = request.client.host if request.client else ""
        return f"visitor:{client_key(address)}"


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
