"""The MCP endpoint of the page: the tools of `core.serving.mcp` over streamable HTTP, at /mcp."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from mcp import types
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from core.errors import RequestError, TenSightError
from core.serving.http.body_limit import BodyLimit, BodyLimits, BodyRule
from core.serving.http.errors import error_response
from core.serving.mcp import build_server, error_fields
from core.serving.predictor import Predictor
from demo.context import ClientRateLimiter
from demo.guard import MAX_MCP_BYTES, MAX_MCP_VALUES, MCP_PATH, read_body, replay
from demo.hosts import TrustedHosts

__all__ = ["McpEndpoint"]

# A large photo in base64 is in memory several times while it is parsed, so few run at once.
_BODIES = BodyLimits(bodies=64, held_bytes=4 * MAX_MCP_BYTES)


class McpEndpoint:
    """Serves MCP clients over HTTP without sessions.

    Args:
        predictor: Classifies the photos.
        photo_limiter: Counts the photos of each client, together with those of the page.
        hosts: Validates Host headers.
        bodies: Limits on all bodies together; None for the defaults.
    """

    def __init__(
        self,
        predictor: Predictor,
        photo_limiter: ClientRateLimiter,
        hosts: TrustedHosts,
        bodies: BodyLimits | None = None,
    ) -> None:
        def admit(request: Any, photos: int) -> str:
            photo_limiter.check_rate(request, photos)
            return photo_limiter.client(request)

        self._hosts = hosts
        self._manager = StreamableHTTPSessionManager(
            build_server(predictor, admit, reads_paths=False),
            json_response=True,
            stateless=True,
            max_request_body_size=MAX_MCP_BYTES,
        )
        self._app = BodyLimit(self._handle, bodies or _BODIES, _rule_of, respond=_refusal)

    @property
    def route(self) -> Route:
        """Route of the endpoint, for all methods."""
        return Route(MCP_PATH, self)

    @asynccontextmanager
    async def lifespan(self, _: Any) -> AsyncIterator[None]:
        """Serve requests while the context is open."""
        async with self._manager.run():
            yield

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        refused = self._refused(scope)
        if refused is not None:
            await _refusal(refused, status=403)(scope, receive, send)
        elif scope["method"] != "POST":
            # There are no streams to listen to, and no sessions to end.
            error = RequestError("Send MCP messages by POST.")
            response = _refusal(error, status=405)
            response.headers["Allow"] = "POST"
            await response(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read a message, and pass it on unless it was refused, which the SDK would log."""
        body = await read_body(receive)
        if body is not None:
            await self._manager.handle_request(scope, replay(body, receive), send)

    def _refused(self, scope: Scope) -> RequestError | None:
        """Return the error for a request that another site may have made a browser send."""
        here = self._hosts.origin(scope)
        if here is None:
            return RequestError(
                "This host name is not accepted. Use the address that the page was started with; "
                "behind a reverse proxy, set TENSIGHT_PROXIES."
            )
        origin = Headers(scope=scope).get("origin")
        # The scheme may differ behind a proxy that terminates TLS without saying so.
        if origin is not None and _host_of(origin.lower()) != _host_of(here):
            return RequestError("Pages of other sites cannot use the MCP server from a browser.")
        return None


def _host_of(origin: str) -> str:
    return origin.partition("://")[2]


def _rule_of(_: Any) -> BodyRule:
    return BodyRule(MAX_MCP_BYTES, max_values=MAX_MCP_VALUES)


def _refusal(error: TenSightError, /, *, status: int | None = None) -> JSONResponse:
    """Return an error in the format of JSON-RPC, with our code in its data."""
    plain = error_response(error)
    content = {
        "jsonrpc": "2.0",
        "id": None,
        "error": {
            "code": types.INVALID_REQUEST,
            "message": str(error),
            "data": error_fields(error),
        },
    }
    headers = {
        name: value for name, value in plain.headers.items() if not name.startswith("content-")
    }
    return JSONResponse(content, status or plain.status_code, headers)
