"""Observe other processes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["is_running", "wait_until"]


def is_running(process: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    status = Path(f"/proc/{process}/stat")
    if Path("/proc/self/stat").is_file():
        try:
            return status.read_text("ascii", errors="replace").rpartition(") ")[2][0] not in "ZX"
        except OSError:
            return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until(happened: Callable[[], bool], *, seconds: float = 120) -> None:
    """Wait until something has happened; fail after a generous timeout."""
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
