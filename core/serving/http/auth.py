"""API keys and rate limits of the HTTP service."""

from __future__ import annotations

import hashlib
import hmac

from fastapi import Request
from fastapi.security import HTTPBearer

from core.errors import AccessError
from core.rate_limit import RateLimit
from core.serving.http.client import client_key
from core.settings import Settings

__all__ = ["BEARER", "Guard"]

# Wrong keys from one address in a minute.
_GUESSES = 20


BEARER = HTTPBearer(auto_error=False, description="Where TENSIGHT_API_KEYS is set.")


class Guard:
    """Lets requests through that have a key, where keys are set, and are not too many.

    Args:
        settings: `api_keys` and `rate_per_minute` are used.
        window_s: Seconds in which requests and wrong keys are counted.
    """

    def __init__(self, settings: Settings, *, window_s: float = 60.0) -> None:
        self._keys = [key.get_secret_value().encode() for key in settings.api_keys]
        per_minute = settings.rate_per_minute
        self._limit = RateLimit(per_minute, window_s=window_s) if per_minute else None
        self._guesses = RateLimit(_GUESSES, window_s=window_s)

    async def __call__(self, request: Request) -> None:
        """Check a request before its route runs.

        Raises:
            AccessError: It has no key that is known.
            RateError: Its client or key asks too often.
        """
        who = client_key(request.client.host if request.client else "")
        if self._keys:
            scheme, _, given = request.headers.get("authorization", "").partition(" ")
            key = given.strip().encode() if scheme.lower() == "bearer" else b""
            # All are compared, in constant time: how long it takes tells nothing of them.
            if sum(hmac.compare_digest(key, each) for each in self._keys) == 0:
                self._guesses.hit(who)
                raise AccessError
            who = hashlib.sha256(key).hexdigest()
        if self._limit is not None:
            self._limit.hit(who)
