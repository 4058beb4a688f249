"""ASGI applications served on loopback with limits, and clients that send raw bytes."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from core.serving.http.connections import ConnectionLimits, server_config
from core.sockets import listen
from tests.support.servers import wait_for

PATIENCE_S = 120.0
"""Timeout in seconds; far longer than it takes on a busy machine."""


@contextmanager
def served(app: Any, limits: ConnectionLimits | None = None) -> Iterator[int]:
    """Serve an application while the context is open, and yield its port."""
    listening = listen("127.0.0.1", 0)
    server = uvicorn.Server(server_config(app, limits=limits, stopping_s=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        wait_for(lambda: server.started)
        yield int(listening.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(PATIENCE_S)
        listening.close()


@contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    """Open a connection to a port of this machine."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
        yield connection


def everything(connection: socket.socket) -> bytes:
    """Return everything that is received until the other side closes."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def exchange(port: int, request: bytes) -> bytes:
    """Send bytes on a new connection, and return everything received until it is closed."""
    with connected(port) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(request)
        return everything(connection)


def status_of(answer: bytes) -> int:
    """Return the status of a response; 0 if there is none."""
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/") else 0
