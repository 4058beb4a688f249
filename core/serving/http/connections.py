"""Limits on connections: size and duration of request heads, idle connections, slow readers.

uvicorn's parser accepts heads of any size and waits for them without a timeout. Both are limited
here, in front of the parser, at a cost of a few microseconds per request; bench/http_servers.py
compares the alternatives. core/serving/http/body_limit.py limits request bodies.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from core.system import open_file_limit

__all__ = ["ConnectionLimits", "LimitedProtocol", "server_config"]

_NOT_BLANK = re.compile(rb"[^\r\n]")
_END_OF_HEAD = re.compile(rb"\n\r?\n")
_BYTES_OF_END = 3
_UPGRADE = re.compile(rb"(?im)^upgrade(?=[ \t]*:)")
_MAX_CONNECTIONS = 1_000
_MAX_BACKLOG = 2_048
_MAX_PIPELINED = 32

_REFUSED_HEAD = {
    408: b"The request head was not received in time.",
    431: b"The request head is too large.",
    503: b"Too many connections. Try again in a moment.",
}
_PHRASES = {
    408: b"Request Timeout",
    431: b"Request Header Fields Too Large",
    503: b"Service Unavailable",
}


def _open_files() -> int:
    """Return how many files this process may open; a large number where there is no limit."""
    limit = open_file_limit()
    return 4 * _MAX_BACKLOG if limit is None else limit


def _default_connections() -> int:
    """Return half of the files that this process may open, as each photo may need one too."""
    return max(16, min(_MAX_CONNECTIONS, _open_files() // 2))


def _backlog(connections: int) -> int:
    """Return how many connections may be queued until the event loop accepts or closes some."""
    return max(64, min(_MAX_BACKLOG, (_open_files() - connections) // 2))


@dataclass(frozen=True)
class ConnectionLimits:
    """Limits on connections.

    Attributes:
        head_bytes: Maximum size of a request head with the blank lines before it, and of chunk
            headers and trailers in a row.
        head_s: Timeout in seconds for a complete request head.
        idle_s: Keep-alive timeout in seconds between two requests.
        stalled_s: Timeout in seconds for a client that does not read its response.
        connections: Maximum number of open connections; None for half of the files that the
            process may open, at most 1,000. At the maximum, a new connection replaces the one that
            has waited longest for a request.
    """

    head_bytes: int = 16 * 1024
    head_s: float = 10.0
    idle_s: int = 5
    stalled_s: float = 30.0
    connections: int | None = None


def server_config(
    app: Any,
    *,
    stopping_s: int,
    limits: ConnectionLimits | None = None,
    lifespan: Literal["on", "off"] = "off",
    **where: Any,
) -> uvicorn.Config:
    """Return a uvicorn configuration that enforces the limits.

    Args:
        app: The ASGI application.
        stopping_s: Time in seconds to finish running requests when the server stops.
        limits: Limits on connections; None for the defaults.
        lifespan: Whether to send the application lifespan events.
        **where: `host` and `port`, unless the server is given a socket.
    """
    limits = limits or ConnectionLimits()
    max_connections = limits.connections or _default_connections()
    protocol: Any = partial(
        LimitedProtocol, limits=limits, connections=_Connections(max_connections)
    )
    return uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        workers=1,  # otherwise uvicorn reads WEB_CONCURRENCY
        proxy_headers=False,  # core/serving/http/client.py reads them behind trusted proxies
        backlog=_backlog(max_connections),
        timeout_keep_alive=limits.idle_s,
        timeout_graceful_shutdown=stopping_s,
        lifespan=lifespan,
        **where,
    )


class _Connections:
    """The open connections of a server.

    Args:
        max_connections: Maximum number of connections.
    """

    def __init__(self, max_connections: int) -> None:
        self._max_connections = max_connections
        self._open: set[LimitedProtocol] = set()
        # Ordered by the time since which they wait for a request.
        self._waiting: dict[LimitedProtocol, None] = {}

    def add(self, new: LimitedProtocol) -> bool:
        """Add a connection, closing the longest idle one if necessary; False if all are busy."""
        if len(self._open) >= self._max_connections:
            oldest = next(iter(self._waiting), None)
            if oldest is None:
                return False
            self.remove(oldest)
            oldest.abort()
        self._open.add(new)
        self._waiting[new] = None
        return True

    def mark_waiting(self, connection: LimitedProtocol) -> None:
        """Mark a connection as waiting for its next request."""
        if connection in self._open:
            self._waiting[connection] = None

    def mark_busy(self, connection: LimitedProtocol) -> None:
        """Mark a connection as handling a request."""
        self._waiting.pop(connection, None)

    def remove(self, connection: LimitedProtocol) -> None:
        """Remove a closed connection."""
        self._open.discard(connection)
        self._waiting.pop(connection, None)


class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with limits in front of the parser.

    A head is passed to the parser once it is complete, without its Upgrade field, since httptools
    would drop the body of a request that offers another protocol. After the head, the parser gets
    chunks of at most `head_bytes`, and at most as many bytes in a row that are neither body nor the
    end of a part. This limits chunk headers and trailers as heads are limited. Blank lines before
    a head are counted, but not passed on.

    Args:
        config: Configuration of the server, passed by uvicorn.
        server_state: State shared by all connections, passed by uvicorn.
        app_state: State of the application, passed by uvicorn.
        _loop: Event loop; None for the running one.
        limits: Limits on connections.
        connections: The open connections of the same server.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: ConnectionLimits,
        connections: _Connections,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits = limits
        self._connections = connections
        # Received bytes that have not been passed to the parser yet.
        self._held = b""
        # How many of them contain no end of a head.
        self._searched = 0
        # uvicorn's `cycle` is the newest request, which may be queued behind this one.
        self._running: RequestResponseCycle | None = None
        # Bytes of blank lines since the last request.
        self._blank_bytes = 0
        self._in_message = False
        self._in_head = False
        # Bytes parsed since the last progress in the body or the end of a part.
        self._idle_bytes = 0
        self._progressed = False
        # Parts of the body that the parser found in the current piece. Appending each to the body
        # would copy the body once per chunk.
        self._body_parts: list[bytes] = []
        self._head_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection, or reject it if all others are busy."""
        super().connection_made(transport)
        if self._connections.add(self):
            self._expect_head()
        else:
            self._refuse(503)

    def connection_lost(self, exc: Exception | None) -> None:
        """Release everything that the connection holds."""
        self._connections.remove(self)
        self._stop_timers()
        self._held = b""
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)

    def abort(self) -> None:
        """Close the connection immediately."""
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Pass received bytes to the parser, as far as the limits allow."""
        searched, self._searched = self._searched, 0
        if self._held:
            data, self._held = self._held + data, b""
        start = 0
        while start < len(data) and not self.transport.is_closing():
            if self._in_message:
                end = start + self._limits.head_bytes - self._idle_bytes
                piece = data[start:end]
                start = end
                self._feed(piece)
                continue
            if self._is_answering():
                # At most one head of the next request is buffered.
                self._held = data[start : start + self._limits.head_bytes]
                if len(data) - start > self._limits.head_bytes:
                    self.cycle.keep_alive = False
                return
            text = _NOT_BLANK.search(data, start)
            first = len(data) if text is None else text.start()
            self._blank_bytes += first - start
            start, searched = first, max(first, searched)
            most = self._limits.head_bytes - self._blank_bytes
            found = _END_OF_HEAD.search(data, searched, start + max(most, 0))
            if found is None:
                self._hold_head(data[start:], most)
                return
            head = data[start : found.end()]
            start = found.end()
            self._blank_bytes = 0
            self._feed(_UPGRADE.sub(b"x-upgrade", head))

    def on_message_begin(self) -> None:
        """Handle the start of a request.

        Raises:
            RuntimeError: Too many requests wait for a response. It stops the parser, and the
                connection is closed, since a refusal would be misread.
        """
        if len(self.pipeline) >= _MAX_PIPELINED:
            raise RuntimeError
        self._in_message = self._in_head = True
        self._progressed = True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Handle a header field; trailers are dropped, since no application here reads them."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start the response."""
        self._in_head = False
        self._progressed = True
        self._stop_head_timer()
        self._connections.mark_busy(self)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Handle a chunk of the body."""
        self._progressed = True
        self._body_parts.append(body)

    def on_message_complete(self) -> None:
        """Handle the end of the request body."""
        self._in_message = False
        self._progressed = True
        self._pass_body_on()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request, or close if the body of this one was not read to its end."""
        if self._in_message and not self._in_head:
            self.transport.close()
        super().on_response_complete()
        if self.transport.is_closing():
            self._abort_if_stalled()
        else:
            self._connections.mark_waiting(self)
            if self._held:
                self.loop.call_soon(self._handle_held)

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection after the keep-alive timeout."""
        super().timeout_keep_alive_handler()
        self._abort_if_stalled()

    def send_400_response(self, msg: str) -> None:
        """Reject malformed HTTP; if a response has started, only close the connection."""
        if self._is_refusal_misread():
            self.transport.close()
        elif self.transport.is_closing():  # refused already
            return
        else:
            super().send_400_response(msg)
        self._held = b""
        self._abort_if_stalled()

    def shutdown(self) -> None:
        """Close the connection after the response to its current request."""
        super().shutdown()
        if self.transport.is_closing():
            self._abort_if_stalled()

    def pause_writing(self) -> None:
        """Start the timeout for a client that does not read."""
        super().pause_writing()
        self._abort_if_stalled()

    def resume_writing(self) -> None:
        """Stop the timeout, as the client reads again."""
        super().resume_writing()
        if not self.transport.is_closing():
            self._stop_stall_timer()

    def _feed(self, piece: bytes) -> None:
        self._progressed = False
        super().data_received(piece)
        self._pass_body_on()
        self._idle_bytes = 0 if self._progressed else self._idle_bytes + len(piece)
        if self._in_message and self._idle_bytes >= self._limits.head_bytes:
            self._refuse(431)
        elif self._in_head:  # a head that follows a body in the same chunk
            self._expect_head()

    def _pass_body_on(self) -> None:
        """Append the parts that were just parsed to the body of the current request."""
        if self._body_parts:
            body = b"".join(self._body_parts)
            self._body_parts.clear()
            super().on_body(body)

    def _hold_head(self, data: bytes, most: int) -> None:
        """Buffer an incomplete head, or reject it if it has `most` bytes already."""
        if len(data) >= most:
            self._refuse(431)
            return
        if not data:
            # Blank lines alone are no request: the timeout that runs is not extended.
            return
        self._held = data
        self._searched = max(len(data) - _BYTES_OF_END + 1, 0)
        self._unset_keepalive_if_required()
        self._expect_head()

    def _handle_held(self) -> None:
        """Handle the request that was received during the last response."""
        if self._held and not self.transport.is_closing():
            self.data_received(b"")

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _is_refusal_misread(self) -> bool:
        """Return whether the client would take a refusal for a part of an earlier response."""
        return bool(self.pipeline) or (self._is_answering() and self.cycle.response_started)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _expect_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self._limits.head_s, self._give_up_head)

    def _give_up_head(self) -> None:
        self._head_timer = None
        if self._held or self._in_head:
            self._refuse(408)
        else:
            self.abort()

    def _refuse(self, status: int) -> None:
        """Respond with an error, unless it would be misread, and close."""
        if not self.transport.is_closing():
            if not self._is_refusal_misread():
                self.transport.write(_refusal(status))
            self.transport.close()
        self._held = b""
        self._abort_if_stalled()

    def _abort_if_stalled(self) -> None:
        if self._stall_timer is None:
            self._stall_timer = self.loop.call_later(self._limits.stalled_s, self.abort)

    def _stop_timers(self) -> None:
        self._stop_head_timer()
        self._stop_stall_timer()

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _stop_stall_timer(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None


def _refusal(status: int) -> bytes:
    text = _REFUSED_HEAD[status]
    return b"HTTP/1.1 %d %s\r\ncontent-type: text/plain; charset=utf-8\r\n" % (
        status,
        _PHRASES[status],
    ) + b"content-length: %d\r\nconnection: close\r\n\r\n%s" % (len(text), text)
