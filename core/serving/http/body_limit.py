"""Limits on the size and the speed of request bodies."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from core.errors import BusyError, ImageError, SlowRequestError, TenSightError
from core.photos.decode import MAX_BYTES
from core.serving.http.errors import error_response

__all__ = ["BodyLimit", "is_form"]

_MAX_FORM_BYTES = 5 * MAX_BYTES
# A body must be there after so many seconds, and one more for each of so many bytes: who sends a
# byte now and then would else hold a place for ever.
_SLOWEST_S = 20.0
_SLOWEST_BYTES_S = 32 * 1024
# Of all bodies that are read or answered.
_MAX_HELD_BYTES = 512 * 2**20

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class BodyLimit:
    """Bounds how large bodies are, how long they may take to come, and how much is held at once.

    A body that is too large or too slow is read no further, rather than once it is all there.

    Args:
        app: What handles the requests.
        at_once: Bodies.
    """

    def __init__(self, app: App, at_once: int) -> None:
        self._app = app
        self._at_once = at_once
        self._held = 0
        self._held_bytes = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer an ASGI request, or refuse it where its body breaks a limit."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        most = _MAX_FORM_BYTES if is_form(_text(headers, b"content-type")) else MAX_BYTES
        length = _text(headers, b"content-length")
        ended = length in ("", "0") and b"transfer-encoding" not in headers
        has_body = not ended
        read = 0
        began = time.monotonic()

        async def counted() -> Message:
            nonlocal read, ended
            if ended:
                return await receive()
            late = began + _SLOWEST_S + read / _SLOWEST_BYTES_S
            try:
                message = await asyncio.wait_for(receive(), max(late - time.monotonic(), 0))
            except TimeoutError as error:
                raise SlowRequestError(time.monotonic() - began) from error
            piece = len(message.get("body", b""))
            read += piece
            self._held_bytes += piece
            if self._held_bytes > _MAX_HELD_BYTES:
                raise BusyError(1)
            ended = not message.get("more_body", False)
            if read > most:
                ended = False
                raise _too_large(most)
            return message

        async def closing(message: Message) -> None:
            if message["type"] == "http.response.start" and not ended:
                # Else what the sender goes on to send would still be read, and thrown away.
                message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        refusal: TenSightError | None = None
        if length.isdigit() and int(length) > most:
            refusal = _too_large(most)
        elif has_body and self._held >= self._at_once:
            refusal = BusyError(1)
        if refusal is not None:
            await error_response(refusal)(scope, receive, closing)
            return
        self._held += has_body
        try:
            await self._app(scope, counted, closing)
        finally:
            self._held -= has_body
            self._held_bytes -= read


def _text(headers: dict[bytes, bytes], name: bytes) -> str:
    return headers.get(name, b"").decode("latin-1")


def is_form(content_type: str) -> bool:
    """Return whether a body of this type is a form with files."""
    return content_type.lower().startswith("multipart/form-data")


def _too_large(most: int) -> ImageError:
    return ImageError(
        "too_large",
        f"The request is larger than {most // 2**20} MB. Send smaller photos, or fewer.",
    )
