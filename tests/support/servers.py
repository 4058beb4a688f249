"""Helpers for servers that tests start on loopback."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import httpx

LOOK_S = 0.02
"""Poll interval in seconds for `serve_forever` of http.server; its default of 0.5 s adds up."""


class HasStatus(Protocol):
    """A process."""

    def poll(self) -> int | None:
        """Return its exit status; None while it runs."""


def free_port() -> int:
    """Return a port that is free at the moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def wait_until_it_answers(url: str, server: HasStatus, log: Path) -> None:
    """Wait until a server responds; fail with its log if it exits before."""
    while True:
        try:
            httpx.get(url, timeout=5)
        except httpx.HTTPError:
            assert server.poll() is None, log.read_text()
            time.sleep(0.05)
        else:
            return


def wait_for(condition: Callable[[], bool], *, seconds: float = 120) -> None:
    """Wait until a condition holds; fail after a generous timeout."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "the condition did not become true in time"
        time.sleep(0.01)
