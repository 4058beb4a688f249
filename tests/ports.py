"""Servers that tests start on loopback."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path

import httpx


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
            time.sleep(0.1)
        else:
            return
