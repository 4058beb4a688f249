"""API keys and rate limits of the HTTP service."""

from __future__ import annotations

import hashlib
import hmac
import math
import re
import time

from fastapi import Request
from fastapi.security import HTTPBearer
from limits import RateLimitItem, RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from core.errors import AccessError, RateError
from core.serving.remote import CLIENT_HEADER
from core.settings import Settings

__all__ = ["BEARER", "Guard"]

# Wrong keys from one address.
_GUESSES = RateLimitItemPerMinute(20)
_IS_HASH = re.compile(r"[0-9a-f]{64}").fullmatch


BEARER = HTTPBearer(auto_error=False, description="Where TENSIGHT_API_KEYS is set.")


class Guard:
    """Lets requests through that have a key, where keys are set, and are not too many."""

    def __init__(self, settings: Settings) -> None:
        self._trusted = [key.get_secret_value().encode() for key in settings.trusted_keys]
        keys = [key.get_secret_value().encode() for key in settings.api_keys]
        # A key that is trusted is a key; where any is set, one must be sent.
        self._keys = list(dict.fromkeys([*keys, *self._trusted]))
        self._limit = (
            RateLimitItemPerMinute(settings.rate_per_minute) if settings.rate_per_minute else None
        )
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    async def __call__(self, request: Request) -> None:
        """Check a request before its route runs; `request.state.client` tells who asks.

        Raises:
            AccessError: It has no key that is known.
            RateError: Its client or key asks too often.
        """
        who = request.client.host if request.client else ""
        if self._keys:
            scheme, _, given = request.headers.get("authorization", "").partition(" ")
            key = given.strip().encode() if scheme.lower() == "bearer" else b""
            # All are compared, in constant time: how long it takes tells nothing of them.
            if sum(hmac.compare_digest(key, each) for each in self._keys) == 0:
                if not self._limiter.hit(_GUESSES, who):
                    raise RateError(self._free_in(_GUESSES, who))
                raise AccessError
            who = hashlib.sha256(key).hexdigest()
            named = request.headers.get(CLIENT_HEADER, "")
            if key in self._trusted and _IS_HASH(named):
                who = f"{who}:{named}"
        request.state.client = who
        if self._limit is not None and not self._limiter.hit(self._limit, who):
            raise RateError(self._free_in(self._limit, who))

    def _free_in(self, limit: RateLimitItem, who: str) -> int:
        free_at = self._limiter.get_window_stats(limit, who).reset_time
        return max(1, math.ceil(free_at - time.time()))
