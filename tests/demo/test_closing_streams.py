from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from demo.closing_streams import ClosingStreams

COMPLETED = b'data: {"msg": "process_completed", "output": "close_stream"}\n\n'
CLOSE = b'data: {"msg": "close_stream"}\n\n'


class Request:
    """A request to an ASGI application, whose messages the test gives and takes."""

    def __init__(
        self, app: Any, path: str, *, query: bytes = b"", method: str = "GET", body: bytes = b""
    ) -> None:
        self.received: asyncio.Queue[Message] = asyncio.Queue()
        self.received.put_nowait({"type": "http.request", "body": body, "more_body": False})
        self.sent: list[Message] = []
        scope = {"type": "http", "method": method, "path": path, "query_string": query}
        self.task = asyncio.create_task(app(scope, self.received.get, self._send))

    async def _send(self, message: Message) -> None:
        self.sent.append(message)

    def disconnect(self) -> None:
        self.received.put_nowait({"type": "http.disconnect"})

    @property
    def content(self) -> bytes:
        return b"".join(each.get("body", b"") for each in self.sent)

    @property
    def is_complete(self) -> bool:
        return any(each.get("more_body") is False for each in self.sent)


def open_stream(app: Any, session: str) -> Request:
    query = f"session_hash={session}".encode()
    return Request(app, "/gradio_api/queue/data", query=query)


def join(app: Any, session: Any) -> Request:
    body = json.dumps({"data": [], "session_hash": session}).encode()
    return Request(app, "/gradio_api/queue/join", method="POST", body=body)


async def gradio(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer as Gradio does: a stream that ends after one answer, and events."""
    parts = [COMPLETED, CLOSE] if scope["path"].endswith("data") else [b"{}"]
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for part in parts:
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("the condition did not become true")


async def settle() -> None:
    for _ in range(100):
        await asyncio.sleep(0)


def test_event_is_answered_once_its_closing_stream_is_read() -> None:
    async def run() -> None:
        app = ClosingStreams(gradio)
        stream = open_stream(app, "a")
        await until(lambda: stream.content == COMPLETED + CLOSE)
        event, other = join(app, "a"), join(app, "b")
        await other.task
        await settle()
        assert other.is_complete
        assert not event.sent
        assert not stream.is_complete
        stream.disconnect()
        await asyncio.gather(stream.task, event.task)
        assert event.content == b"{}"
        later = join(app, "a")
        await later.task
        assert later.is_complete

    asyncio.run(run())


def test_stream_of_a_client_that_does_not_disconnect_is_ended() -> None:
    async def run() -> None:
        app = ClosingStreams(gradio, timeout_s=0.01)
        stream, event = open_stream(app, "a"), join(app, "a")
        await asyncio.gather(stream.task, event.task)
        assert stream.content == COMPLETED + CLOSE
        assert stream.is_complete
        assert event.is_complete

    asyncio.run(run())


def test_stream_without_a_session_holds_nothing_back() -> None:
    async def run() -> None:
        app = ClosingStreams(gradio)
        stream, event = open_stream(app, ""), join(app, "")
        await asyncio.gather(stream.task, event.task)
        assert stream.is_complete
        assert event.is_complete

    asyncio.run(run())


def test_failed_stream_does_not_hold_events_back() -> None:
    async def fail(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].endswith("join"):
            await gradio(scope, receive, send)
            return
        await send({"type": "http.response.body", "body": CLOSE, "more_body": True})
        raise OSError("the connection was lost")

    async def run() -> None:
        app = ClosingStreams(fail)
        with pytest.raises(OSError, match="was lost"):
            await open_stream(app, "a").task
        event = join(app, "a")
        await event.task
        assert event.is_complete

    asyncio.run(run())


@pytest.mark.parametrize("session", [None, 7, ["a"]])
def test_event_without_a_session_is_answered(session: Any) -> None:
    async def run() -> None:
        event = join(ClosingStreams(gradio), session)
        await event.task
        assert event.is_complete

    asyncio.run(run())
