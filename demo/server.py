"""The server of the page: Gradio's application behind our middleware and connection limits."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import webbrowser
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import gradio as gr
import uvicorn
from fastapi import FastAPI
from gradio import networking, tunneling
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from core.errors import ListenError
from core.serving.http.connections import ConnectionLimits, server_config
from core.sockets import listen
from demo import manifest
from demo.sessions import store_only_state

__all__ = ["Endpoint", "open_in_browser", "page_routes", "serve_page", "share_page"]


class Endpoint(Protocol):
    """A route that needs the lifespan of the application."""

    @property
    def route(self) -> Route:
        """The route."""

    def lifespan(self, app: Any, /) -> AbstractAsyncContextManager[None]:
        """Return a context manager that is entered before the first request."""


_STOPPING_S = 3
_START_S = 60.0

logger = logging.getLogger(__name__)


def serve_page(
    page: gr.Blocks,
    *,
    host: str,
    port: int,
    middleware: Sequence[Middleware],
    appearance: Mapping[str, Any],
    inner_middleware: Sequence[Middleware] = (),
    mcp: Endpoint | None = None,
    own: Sequence[Route] = (),
    limits: ConnectionLimits | None = None,
) -> None:
    """Start serving a page in a thread; `page.close()` stops it.

    Args:
        page: The page. Its attributes, such as `local_url`, are set as by `Blocks.launch`.
        host: Address to bind to.
        port: Port to bind to.
        middleware: Middleware of all routes.
        appearance: Arguments of `Blocks.launch` for appearance and limits.
        inner_middleware: Middleware between Gradio's own, which compresses, and its routes.
        mcp: The MCP endpoint; None for no endpoint.
        own: Other routes of the page.
        limits: Limits on connections; None for the defaults.

    Raises:
        ListenError: The page cannot bind to the address.
    """
    listening = listen(host, port)
    outer = FastAPI(
        middleware=middleware,
        routes=page_routes(mcp, own),
        lifespan=None if mcp is None else mcp.lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    gr.mount_gradio_app(
        outer,
        page,
        "/",
        server_name=host,
        server_port=port,
        root_path=os.environ.get("GRADIO_ROOT_PATH"),
        show_error=False,
        app_kwargs={"redirect_slashes": False, "middleware": list(inner_middleware)},
        **appearance,
    )
    inner = outer.routes[-1].app  # type: ignore[attr-defined]  # mounted above
    server = _Server(
        server_config(outer, stopping_s=_STOPPING_S, limits=limits, lifespan="on"), inner
    )
    # The same attributes as after `Blocks.launch`.
    launched: Any = page
    launched.app = launched.server_app = inner
    launched.local_url = _address(host, port)
    launched.server_name, launched.server_port = host, port
    launched.server = server
    page._queue.set_server_app(inner)
    store_only_state(page, inner)
    server.start(listening)


def page_routes(mcp: Endpoint | None, own: Sequence[Route]) -> list[BaseRoute]:
    """Return our own routes, which must precede Gradio's, as those match every path."""
    routes: list[BaseRoute] = [Route("/healthz", _health, methods=["GET", "HEAD"])]
    routes += manifest.routes()
    if mcp is not None:
        routes.append(mcp.route)
    return [*routes, *own]


def open_in_browser(page: gr.Blocks) -> None:
    """Open a served page in the browser of this desktop."""
    webbrowser.open(str(page.local_url))


def share_page(page: gr.Blocks) -> str | None:
    """Make a served page public through Gradio's tunnel.

    Returns:
        The public address; None if the tunnel cannot be set up.
    """
    page.share = True
    try:
        address = networking.setup_tunnel(
            local_host=page.server_name,
            local_port=page.server_port,
            share_token=page.share_token,
            share_server_address=None,
            share_server_tls_certificate=None,
        )
    except Exception as error:  # noqa: BLE001  # Gradio does not document its errors
        logger.error("The page cannot be shared: %s", error)
        return None
    return f"https://{address.partition('://')[2]}"


def _address(host: str, port: int) -> str:
    """Return the address for a browser on this machine."""
    if host in ("0.0.0.0", "::"):  # noqa: S104  # a comparison, no bind
        host = "localhost"
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


async def _health(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


class _Server(uvicorn.Server):
    """A server in its own thread, with the `close` that Gradio's pages call.

    Args:
        config: Output of `server_config`.
        app: Gradio's application.
    """

    def __init__(self, config: uvicorn.Config, app: Any) -> None:
        super().__init__(config)
        self._app = app
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._started_or_failed = threading.Event()

    def start(self, listening: Any) -> None:
        """Serve on a listening socket.

        Raises:
            ListenError: The server does not start.
        """

        def work() -> None:
            try:
                self.run(sockets=[listening])
            finally:
                self._started_or_failed.set()
                listening.close()

        self._thread = threading.Thread(target=work, name="page", daemon=True)
        self._thread.start()
        self._started_or_failed.wait(_START_S)
        if not self.started:
            raise ListenError("The page did not start. See the log for the reason.")

    async def startup(self, sockets: list[Any] | None = None) -> None:
        """Start, and wake up `start`."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets=sockets)
        self._started_or_failed.set()

    def close(self) -> None:
        """Stop after the running requests, or after a few seconds."""
        self.should_exit = True
        if self._loop is not None and not self._loop.is_closed():
            # End the event streams of open pages.
            self._loop.call_soon_threadsafe(self._app.stop_event.set)
        tunnels: list[Any] = list(tunneling.CURRENT_TUNNELS)
        for tunnel in tunnels:
            tunnel.kill()
        if self._thread is not None:
            self._thread.join(2 * _STOPPING_S)
