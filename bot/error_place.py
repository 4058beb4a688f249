"""Find the line of this program that an error came from."""

from __future__ import annotations

import traceback
from pathlib import Path

from bot.rate_limiter import TelegramRateLimiter
from bot.sending import reply, reply_photo

__all__ = ["is_ours", "place_of"]

_ROOT = Path(__file__).resolve().parent.parent
_PACKAGES = ("bot", "core", "demo")
_LIBRARY_FOLDERS = {"site-packages", "dist-packages"}
# Every request to Telegram passes through these, so they do not tell where it was made.
_PASSED_THROUGH = {
    TelegramRateLimiter.process_request.__code__,
    reply.__code__,
    reply_photo.__code__,
}


def place_of(error: BaseException) -> str:
    """Return file and line of the innermost frame of this program, as `photos.py:12`."""
    place = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        file = Path(frame.f_code.co_filename).resolve()
        if not place or (is_ours(file) and frame.f_code not in _PASSED_THROUGH):
            place = f"{file.name}:{line}"
    return place


def is_ours(file: Path, root: Path = _ROOT) -> bool:
    """Return whether a file belongs to this program, not to a library installed below it.

    Args:
        file: The file.
        root: Folder that the packages of this program lie in.
    """
    if not file.is_relative_to(root):
        return False
    relative = file.relative_to(root)
    return relative.parts[0] in _PACKAGES or _LIBRARY_FOLDERS.isdisjoint(file.parts)
