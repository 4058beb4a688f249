"""Response headers that tell browsers what not to do with a response."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["NOBODY", "SecurityHeaders"]

NOBODY = "'none'"
"""For `framed_by`: no page may show the responses in a frame."""


class SecurityHeaders:
    """Add the headers to every response that does not set them itself.

    Args:
        app: What handles the requests.
        framed_by: Sources of Content-Security-Policy that may show a response in a frame.
    """

    def __init__(self, app: ASGIApp, framed_by: str = NOBODY) -> None:
        self._app = app
        self._headers = {
            b"x-content-type-options": b"nosniff",
            b"referrer-policy": b"same-origin",
            b"content-security-policy": f"frame-ancestors {framed_by}".encode(),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""

        async def add(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = list(message.get("headers", []))
                names = {name.lower() for name, _ in given}
                missing = [(n, value) for n, value in self._headers.items() if n not in names]
                message = {**message, "headers": given + missing}
            await send(message)

        await self._app(scope, receive, add if scope["type"] == "http" else send)
