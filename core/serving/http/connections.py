"""Limits on connections: size and time of request heads, idle connections, slow readers.

uvicorn's parser takes a head of any size and waits for it for ever. Both are bounded here, in front
of the parser, which costs a few microseconds a request; bench/http_servers.py measures the
alternatives. The bodies of requests are bounded in core/serving/http/body_limit.py.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from core.system import open_file_limit

__all__ = ["ConnectionLimits", "LimitedProtocol", "server_config"]

_END_OF_HEAD = re.compile(rb"\n\r?\n")
_UPGRADE = re.compile(rb"(?im)^upgrade(?=[ \t]*:)")
_MAX_CONNECTIONS = 1_000
_MAX_BACKLOG = 2_048

_REFUSED_HEAD = {
    408: b"The head of the request did not come in time.",
    431: b"The head of the request is too large.",
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
    """Half of the files that this process may open, as each photo may need one too."""
    return max(16, min(_MAX_CONNECTIONS, _open_files() // 2))


def _backlog(connections: int) -> int:
    """Connections that may be accepted at once, before the loop gets to close older ones."""
    return max(64, min(_MAX_BACKLOG, (_open_files() - connections) // 2))


@dataclass(frozen=True)
class ConnectionLimits:
    """What a connection may cost.

    Attributes:
        head_bytes: Largest request head; also of what a request may hold between its parts.
        head_s: Seconds in which a head must be complete.
        idle_s: Seconds that a connection may stay open between two requests.
        stalled_s: Seconds in which a client must read some of an answer that waits for it.
        connections: Open connections; None: half of the files that the process may open, at most
            1,000. When one more comes, the one that has waited longest for a request is closed.
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
    """Return how uvicorn serves an ASGI application within the limits.

    Args:
        app: The application.
        stopping_s: Seconds for requests that run when the server is told to stop.
        limits: None: the default ones.
        lifespan: Whether the application is told when the server starts and stops.
        where: `host` and `port`, unless the server gets a socket.
    """
    limits = limits or ConnectionLimits()
    most = limits.connections or _default_connections()
    protocol: Any = partial(LimitedProtocol, limits=limits, others=_Connections(most))
    return uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # core/serving/http/client.py reads them, where a proxy is declared
        backlog=_backlog(most),
        timeout_keep_alive=limits.idle_s,
        timeout_graceful_shutdown=stopping_s,
        lifespan=lifespan,
        **where,
    )


class _Connections:
    """The open connections of a server.

    Args:
        most: How many there may be.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: set[LimitedProtocol] = set()
        # In the order in which they began to wait for a request.
        self._waiting: dict[LimitedProtocol, None] = {}

    def add(self, new: LimitedProtocol) -> bool:
        """Return whether there is room for one more, after closing an idle one if need be."""
        if len(self._open) >= self._most:
            oldest = next(iter(self._waiting), None)
            if oldest is None:
                return False
            self.remove(oldest)
            oldest.abort()
        self._open.add(new)
        self._waiting[new] = None
        return True

    def waits(self, one: LimitedProtocol) -> None:
        """Note that a connection waits for its next request from now on."""
        if one in self._open:
            self._waiting[one] = None

    def works(self, one: LimitedProtocol) -> None:
        """Note that a request came in whole."""
        self._waiting.pop(one, None)

    def remove(self, one: LimitedProtocol) -> None:
        """Forget a connection that is closed."""
        self._open.discard(one)
        self._waiting.pop(one, None)


class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with bounds in front of the parser.

    A head reaches the parser only once it is complete, without its Upgrade field: a client that
    offers another protocol is answered in the one it speaks, as if it had offered none (httptools
    would drop the body). After the head the parser gets pieces of at most `head_bytes`, and at
    most as many bytes in a row that are neither body nor the end of something: what stands around
    chunks, and trailers, is bounded as heads are.

    Args:
        config: As uvicorn gives it; so are `server_state`, `app_state` and `_loop`.
        limits: The bounds.
        others: The open connections of the same server.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: ConnectionLimits,
        others: _Connections,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits = limits
        self._others = others
        # What came and was not given to the parser yet.
        self._held = b""
        self._in_message = False
        self._in_head = False
        # Bytes that the parser took since it last told of a body or of an end.
        self._idle_bytes = 0
        self._progressed = False
        self._head_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, or refuse it where all others are busy."""
        super().connection_made(transport)
        if self._others.add(self):
            self._expect_head()
        else:
            self._refuse(503)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._others.remove(self)
        self._stop_timers()
        self._held = b""
        super().connection_lost(exc)

    def abort(self) -> None:
        """Close the connection at once."""
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Give the parser what came, as far as the limits allow."""
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
                # Of the next request no more is kept than a head.
                self._held = data[start : start + self._limits.head_bytes]
                if len(data) - start > self._limits.head_bytes:
                    self.cycle.keep_alive = False
                return
            found = _END_OF_HEAD.search(data, start, start + self._limits.head_bytes)
            if found is None:
                self._hold_head(data[start:])
                return
            head = data[start : found.end()]
            start = found.end()
            self._feed(_UPGRADE.sub(b"x-upgrade", head))

    def on_message_begin(self) -> None:
        """Start a request."""
        self._in_message = self._in_head = True
        self._progressed = True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field of the head; one of a trailer is dropped, as nothing here reads any."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start to answer."""
        self._in_head = False
        self._progressed = True
        self._stop_head_timer()
        self._others.works(self)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._progressed = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Finish the request's body."""
        self._in_message = False
        self._progressed = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request; or close, where the rest of this one would still come."""
        if self._in_message and not self._in_head:
            self.transport.close()
        super().on_response_complete()
        if self.transport.is_closing():
            self._abort_if_stalled()
        else:
            self._others.waits(self)
            if self._held:
                self.loop.call_soon(self._go_on)

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that was idle for too long."""
        super().timeout_keep_alive_handler()
        self._abort_if_stalled()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP; in the middle of an answer, by closing alone."""
        if self._is_answering() and self.cycle.response_started:
            self.transport.close()
        else:
            super().send_400_response(msg)
        self._held = b""
        self._abort_if_stalled()

    def shutdown(self) -> None:
        """Close the connection, once its request is answered."""
        super().shutdown()
        if self.transport.is_closing():
            self._abort_if_stalled()

    def pause_writing(self) -> None:
        """Give the client some time to read what waits for it."""
        super().pause_writing()
        self._abort_if_stalled()

    def resume_writing(self) -> None:
        """Note that the client reads."""
        super().resume_writing()
        if not self.transport.is_closing():
            self._stop_stall_timer()

    def _feed(self, piece: bytes) -> None:
        self._progressed = False
        super().data_received(piece)
        self._idle_bytes = 0 if self._progressed else self._idle_bytes + len(piece)
        if self._in_message and self._idle_bytes >= self._limits.head_bytes:
            self._refuse(431)
        elif self._in_head:  # one that follows on a body in the same piece
            self._expect_head()

    def _hold_head(self, data: bytes) -> None:
        """Keep the beginning of a head until the rest comes."""
        if len(data) >= self._limits.head_bytes:
            self._refuse(431)
            return
        self._held = data
        self._unset_keepalive_if_required()
        self._expect_head()

    def _go_on(self) -> None:
        """Take the request that came while the last one was answered."""
        if self._held and not self.transport.is_closing():
            self.data_received(b"")

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

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
        """Answer in the place of the application, where no answer has begun, and close."""
        if not self.transport.is_closing():
            if not self._is_answering() or not self.cycle.response_started:
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
