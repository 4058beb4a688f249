"""Exclusive locks between processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

__all__ = ["locked"]

_ANY_USER = 0o666  # the umask applies


@contextmanager
def locked(
    file: Path, *, timeout_s: float, on_timeout: Exception, mode: int = _ANY_USER
) -> Iterator[None]:
    """Hold an exclusive lock between processes.

    Args:
        file: Lock file; it is created if needed.
        timeout_s: How long to wait for another process, in seconds.
        on_timeout: Raised where another process still holds the lock then.
        mode: Mode of a lock file that is created.

    Raises:
        OSError: The lock file cannot be created.
    """
    lock = FileLock(file, timeout=timeout_s, mode=mode)
    try:
        lock.acquire()
    except Timeout as error:
        raise on_timeout from error
    try:
        yield
    finally:
        lock.release()
