"""Middleware that adds security headers to responses."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["NOBODY", "SecurityHeaders"]

NOBODY = "'none'"
"""Value of `framed_by` that forbids framing altogether."""


class SecurityHeaders:
    """Adds security headers to every response that does not set them itself.

    Args:
        app: The ASGI application.
        framed_by: Sources that may embed the responses in a frame, as in the directive
            `frame-ancestors` of Content-Security-Policy.
    """

    def __init__(self, app: ASGIApp, framed_by: str = NOBODY) -> None:
        self._app = app
        self._headers = {
            b"x-content-type-options": b"nosniff",
            b"referrer-policy": b"same-origin",
            b"content-security-policy": f"frame-ancestors {framed_by}".encode(),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and add the headers to its response."""

        async def add(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = list(message.get("headers", []))
                names = {name.lower() for name, _ in given}
                missing = [(n, value) for n, value in self._headers.items() if n not in names]
                message = {**message, "headers": given + missing}
            await send(message)

        await self._app(scope, receive, add if scope["type"] == "http" else send)
