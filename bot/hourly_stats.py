"""Statistics of the last hour, and counts that are not stored yet."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from core.errors import ImageError, PhotoReadError, RateError
from core.store.activity import Activity

__all__ = ["HourlyStats", "HourlySummary"]

_HOUR_S = 3600.0
_MAX_ENTRIES = 100_000


class HourlySummary(NamedTuple):
    """Summary of the last hour.

    Attributes:
        photos: Number of answered photos.
        median_s: Median latency in seconds, 0 without photos.
        p95_s: 95th percentile of the latency in seconds, 0 without photos.
        errors: Number of errors.
    """

    photos: int
    median_s: float
    p95_s: float
    errors: int


class HourlyStats:
    """Latencies and errors of the last hour.

    Args:
        clock: Monotonic clock in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._answers: deque[tuple[float, float]] = deque(maxlen=_MAX_ENTRIES)
        self._errors: deque[float] = deque(maxlen=_MAX_ENTRIES)
        self._pending = Activity()

    def record_answer(self, seconds: float, verdict: str) -> None:
        """Record an answered photo: its latency in seconds, and the verdict of the answer."""
        self._answers.append((self._clock(), seconds))
        self._pending.record_answer(seconds, verdict)

    def record_error(self, error: BaseException) -> None:
        """Record an error, unless the photo caused it or the chat exceeded its rate limit."""
        if not isinstance(error, (ImageError, PhotoReadError, RateError)):
            self._errors.append(self._clock())
            self._pending.errors += 1

    def take_pending(self) -> Activity:
        """Return the counts recorded since the last call, and reset them."""
        pending, self._pending = self._pending, Activity()
        return pending

    def put_back(self, pending: Activity) -> None:
        """Add counts back that were taken but could not be stored."""
        self._pending.add(pending)

    def summary(self) -> HourlySummary:
        """Summarise the last hour."""
        since = self._clock() - _HOUR_S
        latencies = sorted(seconds for at, seconds in self._answers if at > since)
        errors = sum(at > since for at in self._errors)
        if not latencies:
            return HourlySummary(0, 0.0, 0.0, errors)
        n = len(latencies)
        p95 = latencies[math.ceil(0.95 * n) - 1]
        return HourlySummary(n, latencies[n // 2], p95, errors)
