"""Middleware of all routes of the page: limits on requests, and rejection of unwanted ones."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import nullcontext
from pathlib import PurePath
from typing import Any
from urllib.parse import parse_qs

import gradio as gr
import httpx
from gradio.server_messages import UnexpectedErrorMessage
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.errors import BusyError, RateError, RequestError, TenSightError
from core.photos.decode import MAX_BYTES
from core.serving.http.body_limit import BodyLimit, BodyLimits, BodyRule
from core.serving.http.client import ClientAddress
from core.serving.http.client_share import ClientShare
from core.serving.http.errors import error_message, error_response
from core.serving.http.security_headers import SecurityHeaders
from demo.classify_many import MAX_PHOTOS
from demo.closing_streams import ClosingStreams
from demo.context import ClientRateLimiter
from demo.event_checks import EventChecks
from demo.unread_events import UnreadEventLimiter
from demo.uploads import UploadFolder

__all__ = [
    "HELD_PATH",
    "LIVE_PATH",
    "MAX_EVENT_BYTES",
    "MAX_MCP_BYTES",
    "MAX_MCP_VALUES",
    "MCP_PATH",
    "page_middleware",
    "read_body",
    "replay",
]

HELD_PATH = "/held"
LIVE_PATH = "/live"
MCP_PATH = "/mcp"
MAX_MCP_BYTES = 32 * 2**20
"""Maximum size of an MCP message; it leaves room for a tool to report that a photo is too large."""

# Maximum size of an upload: a batch, and the names of its files.
_MAX_UPLOAD_BYTES = MAX_PHOTOS * MAX_BYTES + 2**20
# The page's largest event, a batch of 100 photos with long names, has 77 kB.
MAX_EVENT_BYTES = 2**20
# Maximum number of JSON values of an event, also within its strings. Teaching with 2,500 photos
# sends 10,000, in a string, and each comma in a class or a file name counts as one more.
_MAX_EVENT_VALUES = 60_000
# Maximum number of strings and other values outside of strings, which Gradio takes microseconds
# for, on the event loop. A batch of 100 photos has about 2,200.
_MAX_EVENT_TOKENS = 6_000
MAX_MCP_VALUES = 1_000
"""Maximum number of JSON values of an MCP message; those of our tools have 20."""
_MAX_OTHER_BYTES = 64 * 2**10
# A frame of the camera usually has 20 kB, and one of pure noise 100 kB.
_MAX_FRAME_BYTES = 128 * 2**10
# Maximum number of concurrent request bodies, and total size of those in memory.
_BODIES = BodyLimits(bodies=256, held_bytes=64 * 2**20)
# Maximum number of concurrent requests of one client; an open tab has two.
_OPEN_OF_ONE_CLIENT = 250
# File systems refuse longer names and paths with an error of their own.
_MAX_NAME_BYTES = 255
_MAX_PATH_BYTES = 2_000
# The Hub embeds Spaces in a frame.
_FRAMED_BY = "'self' https://huggingface.co https://*.huggingface.co https://*.hf.space"

_API = "/gradio_api/"
_EVENT = re.compile(r"(queue/join|(call|run|api|stream)/.*)")
_RESULT = re.compile(r"call/(?:v2/)?[^/]+/([^/]+)")
_ADDRESS = re.compile(r"\s*[a-z][a-z0-9+.-]*:/", re.IGNORECASE)

logger = logging.getLogger(__name__)


def page_middleware(
    page: gr.Blocks,
    *,
    upload_limiter: ClientRateLimiter,
    uploads: UploadFolder | None,
    unread_events: UnreadEventLimiter,
    proxies: int,
    bodies: BodyLimits | None = None,
    mcp: bool = False,
) -> list[Middleware]:
    """Return the middleware of all routes of the page.

    Args:
        page: The page.
        upload_limiter: Rate limiter of uploads.
        uploads: Folder of the uploads; None for no limit on their total size.
        unread_events: Limits the memory of events that no client reads.
        proxies: Number of trusted reverse proxies in front.
        bodies: Limits on all request bodies together; None for the defaults.
        mcp: Whether there is an MCP endpoint, which limits the memory of its bodies by itself.
    """
    rule_of = _rule_with_mcp if mcp else _rule_of
    return [
        Middleware(SecurityHeaders, framed_by=_FRAMED_BY),
        Middleware(ClientAddress, proxies=proxies),
        Middleware(ClientShare, max_requests=_OPEN_OF_ONE_CLIENT),
        Middleware(_Refusals),
        Middleware(BodyLimit, limits=bodies or _BODIES, rule_of=rule_of, respond=_response),
        Middleware(_Uploads, limiter=upload_limiter, folder=uploads),
        Middleware(_Events, checks=EventChecks(page), unread_events=unread_events),
        Middleware(ClosingStreams),
    ]


class _Refusals:
    """Rejects requests that make the server fetch URLs, and routes that the page does not use."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (invalid := _invalid_address(scope)):
            await _response(RequestError(invalid))(scope, receive, send)
            return
        if scope["type"] == "http" and (refused := _refused(scope)):
            await _response(refused, status=403)(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        except ClientDisconnect:
            logger.debug("A client disconnected before its request was read")


def _invalid_address(scope: Scope) -> str:
    """Return why Gradio would fail to look up a path or to parse a host; empty if it would not."""
    path = scope["path"].encode(errors="replace")
    if len(path) > _MAX_PATH_BYTES or max(map(len, path.split(b"/"))) > _MAX_NAME_BYTES:
        return (
            f"The path has more than {_MAX_PATH_BYTES:,} bytes, or a part of it has more than "
            f"{_MAX_NAME_BYTES}. Shorten it."
        )
    for name, value in scope["headers"]:
        if name in (b"x-forwarded-host", b"x-gradio-server"):
            host = value.decode("latin-1").partition(",")[0].strip()
            try:
                httpx.URL(host if name == b"x-gradio-server" else f"http://{host}")
            except httpx.InvalidURL:
                header = "X-Forwarded-Host" if name == b"x-forwarded-host" else "X-Gradio-Server"
                return f"The header {header} names no valid host. Correct it in the reverse proxy."
    return ""


def _refused(scope: Scope) -> RequestError | None:
    path = _api_path(scope)
    if path.startswith("proxy="):
        return RequestError("This page does not proxy requests to other servers.")
    if path.startswith("deep_link"):
        return RequestError("This page does not create links to a visitor's session.")
    if path.startswith("component_server"):
        return RequestError("This page has no components with server functions.")
    if path.startswith("process_recording"):
        # Gradio would leave the file in the system's temporary folder, which is never swept.
        return RequestError("This page does not process videos.")
    if path.startswith("file/") or (
        path.startswith("file=") and not PurePath(path.removeprefix("file=")).is_absolute()
    ):
        return RequestError("This page serves only files that were uploaded to it.")
    return None


class _Uploads:
    """Rejects uploads beyond the rate limit or the free space of the upload folder."""

    def __init__(
        self, app: ASGIApp, limiter: ClientRateLimiter, folder: UploadFolder | None
    ) -> None:
        self._app = app
        self._limiter = limiter
        self._folder = folder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _is_upload(scope):
            await self._app(scope, receive, send)
            return
        length = dict(scope["headers"]).get(b"content-length", b"").decode("latin-1")
        if not length.isdecimal():
            message = "The request has no Content-Length header, which uploads need. Send it."
            await _response(RequestError(message), status=411)(scope, receive, send)
            return
        try:
            self._limiter.check_address(scope["client"][0] if scope.get("client") else "")
        except RateError as error:
            await _response(error)(scope, receive, send)
            return
        if self._folder is not None and not self._folder.reserve(int(length)):
            await _response(BusyError(60))(scope, receive, send)
            return
        await self._app(scope, receive, send)


class _Events:
    """Rejects events that Gradio cannot answer, and reports which events clients listen to."""

    def __init__(
        self, app: ASGIApp, checks: EventChecks, unread_events: UnreadEventLimiter
    ) -> None:
        self._app = app
        self._checks = checks
        self._unread_events = unread_events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["method"] == "POST" and _api_path(scope) not in ("", "upload"):
            await self._check(scope, receive, send)
        else:
            await self._pass_on(scope, receive, send)

    async def _check(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read and check the body of an event or another request, then pass it on."""
        body = await read_body(receive)
        if body is None:
            return
        if _has_too_many_tokens(body):
            error = RequestError(
                f"The request has more than {_MAX_EVENT_TOKENS:,} JSON values. Send fewer."
            )
            await _response(error)(scope, receive, send)
            return
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            value = None  # Gradio reports the error
        refusal = self._checks.refusal(_api_path(scope), value)
        if refusal is not None:
            await _response(refusal.error, status=refusal.status)(scope, receive, send)
            return
        if any(_is_elsewhere(each) for each in _objects(value)):
            error = RequestError(
                "This page does not fetch photos from URLs. Upload the photo, and send the path "
                "from the response to the upload."
            )
            await _response(error)(scope, receive, send)
            return
        await self._app(scope, replay(body, receive), send)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on any other request, and report the event that it listens to, if any."""
        path, listened = _api_path(scope), ""
        if path == "queue/data":
            query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
            listened = query.get("session_hash", [""])[-1]
            if "session_hash" in query and not self._unread_events.has_messages(listened):
                await _session_not_found()(scope, receive, send)
                return
        elif scope["method"] == "GET" and (event := _RESULT.fullmatch(path)):
            listened = event[1]
            if not self._unread_events.has_messages(listened):
                # Gradio would abort the response after its headers, and log a traceback.
                error = RequestError(
                    "There is no such event, or its result was not fetched in time."
                )
                await _response(error, status=404)(scope, receive, send)
                return
        with self._unread_events.listening(listened) if listened else nullcontext():
            try:
                await self._app(scope, receive, send)
            except RuntimeError as error:
                # Another listener of the session has read its last message.
                if not listened or not isinstance(error.__cause__, HTTPException):
                    raise
                await send({"type": "http.response.body", "body": b"", "more_body": False})


def _session_not_found() -> Response:
    """Return Gradio's response to a listener of an unknown session.

    Gradio itself would raise an error after it.
    """
    message = UnexpectedErrorMessage(message="404: Not Found", session_not_found=True)
    content = f"data: {message.model_dump_json()}\n\n"
    return Response(content, media_type="text/event-stream")


async def read_body(receive: Receive) -> bytes | None:
    """Read a whole request body; return None if the client disconnects."""
    parts, more = [], True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


def replay(body: bytes, receive: Receive) -> Callable[[], Awaitable[Message]]:
    """Return a `receive` that yields a body that was read, and then later messages."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _has_too_many_tokens(body: bytes) -> bool:
    """Return whether parsing and checking an event would block the event loop for long."""
    # Without escapes, every second part between quotes is outside of strings.
    plain = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    parts = plain.split(b'"', 2 * _MAX_EVENT_TOKENS + 2)
    outside = b"".join(parts[::2])
    tokens = len(parts) // 2 + sum(map(outside.count, (b",", b"[", b"{")))
    return tokens > _MAX_EVENT_TOKENS


def _is_elsewhere(given: dict[str, Any]) -> bool:
    path, url = given.get("path"), given.get("url")
    if isinstance(path, str) and _ADDRESS.match(path):
        return True
    # Browsers send the path of an upload together with the URL that they display it from.
    has_path = isinstance(path, str) and path != ""
    return not has_path and isinstance(url, str) and _ADDRESS.match(url) is not None


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every JSON object within a value."""
    parts = [value]
    while parts:
        part = parts.pop()
        if isinstance(part, dict):
            yield part
            parts += part.values()
        elif isinstance(part, list):
            parts += part


def _api_path(scope: Scope) -> str:
    """Return the path within Gradio's API; empty outside of it."""
    _, api, path = scope["path"].partition(_API)
    return path.removesuffix("/") if api else ""


def _is_upload(scope: Scope) -> bool:
    return _api_path(scope) == "upload"


def _rule_of(scope: Scope) -> BodyRule:
    if _is_upload(scope):
        # It is streamed to a file. Gradio takes photos from these parts only.
        return BodyRule(_MAX_UPLOAD_BYTES, held=False, file_parts="files")
    if _EVENT.fullmatch(_api_path(scope)) or scope["path"] == HELD_PATH:
        return BodyRule(MAX_EVENT_BYTES, max_values=_MAX_EVENT_VALUES)
    if scope["path"] == LIVE_PATH:
        return BodyRule(_MAX_FRAME_BYTES)
    return BodyRule(_MAX_OTHER_BYTES)


def _rule_with_mcp(scope: Scope) -> BodyRule:
    return BodyRule(MAX_MCP_BYTES, held=False) if scope["path"] == MCP_PATH else _rule_of(scope)


def _response(error: TenSightError, /, *, status: int | None = None) -> JSONResponse:
    """Return an error response for clients of the service's format and of Gradio's."""
    response = error_response(error)
    content = {"detail": str(error), "error": error_message(error)}
    headers = {
        name: value for name, value in response.headers.items() if not name.startswith("content-")
    }
    return JSONResponse(content, status or response.status_code, headers)
