"""Middleware that keeps an event from waiting for ever if it is sent while its stream closes.

Gradio's server closes the event stream of a session after the last answer, with a message that says
so. A page that sends another event before it has read this message takes the stream for open, and
waits for an answer that no stream carries.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from urllib.parse import parse_qs

from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["ClosingStreams"]

# Clients close the connection as soon as they have read the last message. This limits how long a
# client or a proxy that does not close it is waited for.
_TIMEOUT_S = 5.0
_STREAM = "/gradio_api/queue/data"
_JOIN = "/gradio_api/queue/join"


class ClosingStreams:
    """Holds the response to an event back until its session has read the end of its last stream.

    Args:
        app: Gradio's application.
        timeout_s: Seconds after which a stream is taken for read.
    """

    def __init__(self, app: ASGIApp, timeout_s: float = _TIMEOUT_S) -> None:
        self._app = app
        self._timeout_s = timeout_s
        # By session: set once the client has read the last message of its stream.
        self._closing: dict[str, asyncio.Event] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; this is the interface of ASGI."""
        path = scope.get("path", "").removesuffix("/")
        if scope["type"] == "http" and path.endswith(_STREAM):
            await self._stream(scope, receive, send)
        elif scope["type"] == "http" and path.endswith(_JOIN):
            await self._join(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send an event stream, and leave the response open until its last message is read."""
        query = parse_qs(scope["query_string"].decode("latin-1"))
        session = query.get("session_hash", [""])[0]
        if not session:
            await self._app(scope, receive, send)
            return
        read: asyncio.Event | None = None

        async def pass_on(message: Message) -> None:
            nonlocal read
            if message["type"] == "http.response.body":
                if read is None and _closes(message.get("body", b"")):
                    read = self._closing[session] = asyncio.Event()
                if read is not None:
                    message = {**message, "more_body": True}
            await send(message)

        try:
            await self._app(scope, receive, pass_on)
            if read is not None:
                with suppress(TimeoutError):
                    await asyncio.wait_for(_disconnected(receive), self._timeout_s)
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            if read is not None:
                read.set()
                if self._closing.get(session) is read:
                    del self._closing[session]

    async def _join(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on an event, and respond once no stream of its session is closing."""
        body = bytearray()

        async def copy() -> Message:
            message = await receive()
            body.extend(message.get("body", b""))
            return message

        async def hold(message: Message) -> None:
            if message["type"] == "http.response.start" and self._closing:
                closing = self._closing.get(_session_of(bytes(body)))
                if closing is not None:
                    await closing.wait()
            await send(message)

        await self._app(scope, copy, hold)


def _closes(content: bytes) -> bool:
    """Return whether a part of an event stream is the message that the stream closes."""
    if b"close_stream" not in content:
        return False
    try:
        message = json.loads(content.decode().removeprefix("data:"))
    except ValueError:
        return False
    return isinstance(message, dict) and message.get("msg") == "close_stream"


def _session_of(body: bytes) -> str:
    """Return the session of an event; empty where it names none."""
    try:
        event = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    session = event.get("session_hash") if isinstance(event, dict) else None
    return session if isinstance(session, str) else ""


async def _disconnected(receive: Receive) -> None:
    """Wait until the client closes its connection."""
    while (await receive())["type"] != "http.disconnect":
        pass
