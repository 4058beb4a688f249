"""Servers that tests start on loopback."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import httpx

LOOK_S = 0.02
"""How often a server of http.server looks whether it is to end; its own half a second adds up."""


def free_port() -> int:
    """A port that nothing listens on just now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def wait_until_it_answers(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    """Return once a server answers; fail with its log when it ends before."""
    while True:
        try:
            httpx.get(url, timeout=5)
        except httpx.HTTPError:
            assert server.poll() is None, log.read_text()
            time.sleep(0.05)
        else:
            return


def wait_for(condition: Callable[[], bool], *, seconds: float = 30) -> None:
    """Return once a condition holds; fail when it does not within some time."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come to that"
        time.sleep(0.01)
