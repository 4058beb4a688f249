"""Middleware that limits the number of concurrent requests of each client."""

from __future__ import annotations

from collections import Counter

from starlette.types import ASGIApp, Receive, Scope, Send

from core.errors import RateError
from core.serving.http.client import client_key
from core.serving.http.errors import error_response

__all__ = ["ClientShare"]


class ClientShare:
    """Limits the number of concurrent requests of each client.

    It must run after `ClientAddress`, which tells clients behind a proxy apart.

    Args:
        app: The ASGI application.
        max_requests: Maximum number of concurrent requests of one client.
    """

    def __init__(self, app: ASGIApp, max_requests: int) -> None:
        self._app = app
        self._max_requests = max_requests
        self._open: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or reject it with status 429."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        key = client_key(scope["client"][0] if scope.get("client") else "")
        if self._open[key] >= self._max_requests:
            await error_response(RateError(1))(scope, receive, send)
            return
        self._open[key] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._open[key] -= 1
            if not self._open[key]:
                del self._open[key]
