"""API keys and rate limits of the HTTP service."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import math
import re
from dataclasses import dataclass, field

from fastapi import Request
from fastapi.security import HTTPBearer

from core.errors import AccessError, RateError
from core.rate_limit import RateLimit
from core.serving.http.client import client_key
from core.serving.remote import CLIENT_HEADER
from core.settings import Settings

__all__ = ["BEARER", "Guard"]

# Failed attempts per minute after which an address is slowed down.
_MAX_GUESSES = 20
# Maximum number of waiting requests of such an address.
_MAX_WAITING = 8
_MAX_KNOWN = 10_000
_IS_HASH = re.compile(r"[0-9a-f]{64}").fullmatch

BEARER = HTTPBearer(auto_error=False, description="API key; required if TENSIGHT_API_KEYS is set.")


@dataclass
class _Guesses:
    """Requests of a slowed-down address, whose keys are checked one at a time."""

    waiting: int = 0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class Guard:
    """Checks API keys and rate limits.

    An address that has sent many wrong keys is slowed down: new keys from it are checked one at a
    time, with a pause. It is not locked out, so clients with a valid key behind the same proxy are
    still served.

    Args:
        settings: `api_keys`, `trusted_keys` and `rate_per_minute` are used.
        guess_s: Pause in seconds before each check of a slowed-down address.
        window_s: Length in seconds of the sliding window of all rate limits.
    """

    def __init__(self, settings: Settings, *, guess_s: float = 0.5, window_s: float = 60.0) -> None:
        self._guess_s = guess_s
        self._trusted = [key.get_secret_value().encode() for key in settings.trusted_keys]
        keys = [key.get_secret_value().encode() for key in settings.api_keys]
        # A trusted key is also an API key. If any key is set, requests must send one.
        self._keys = list(dict.fromkeys([*keys, *self._trusted]))
        per_minute = settings.rate_per_minute
        self._limit = RateLimit(per_minute, window_s=window_s) if per_minute else None
        self._guesses = RateLimit(_MAX_GUESSES, window_s=window_s)
        # Addresses and hashes of the valid keys that they sent, which are not slowed down.
        self._known: dict[tuple[str, str], None] = {}
        self._guessing: dict[str, _Guesses] = {}

    async def __call__(self, request: Request) -> None:
        """Check a request, and set `request.state.client` to the key of its client.

        Raises:
            AccessError: The request has no valid key.
            RateError: The client exceeds its rate limit.
        """
        client = client_key(request.client.host if request.client else "")
        if self._keys:
            scheme, _, given = request.headers.get("authorization", "").partition(" ")
            key = given.strip().encode() if scheme.lower() == "bearer" else b""
            digest = hashlib.sha256(key).hexdigest()
            if (client, digest) not in self._known and self._guesses.is_spent(client):
                await self._slow_down(client)
            # Compare with all keys in constant time, so that the duration reveals nothing.
            if sum(hmac.compare_digest(key, each) for each in self._keys) == 0:
                self._guesses.hit(client)
                raise AccessError
            self._remember(client, digest)
            client = digest
            named = request.headers.get(CLIENT_HEADER, "")
            if key in self._trusted and _IS_HASH(named):
                client = f"{client}:{named}"
        request.state.client = client
        if self._limit is not None:
            self._limit.hit(client)

    async def _slow_down(self, client: str) -> None:
        guesses = self._guessing.setdefault(client, _Guesses())
        if guesses.waiting >= _MAX_WAITING:
            raise RateError(max(1, math.ceil(_MAX_WAITING * self._guess_s)))
        guesses.waiting += 1
        try:
            async with guesses.turn:
                await asyncio.sleep(self._guess_s)
        finally:
            guesses.waiting -= 1
            if guesses.waiting == 0:
                self._guessing.pop(client, None)

    def _remember(self, client: str, digest: str) -> None:
        self._known.pop((client, digest), None)
        self._known[client, digest] = None
        while len(self._known) > _MAX_KNOWN:
            del self._known[next(iter(self._known))]
