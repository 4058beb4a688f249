"""Separate updates that may have killed a process from all others."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager, suppress

from telegram import Update

from bot.updates import is_forget_command

__all__ = ["Quarantine"]


class Quarantine:
    """Updates that were being handled when a process died.

    They are handled one at a time: if one of them kills this process too, the attempt is counted
    for it alone. Others wait for them, though not for long.

    Args:
        longest_s: Seconds after which others no longer wait.
    """

    def __init__(self, longest_s: float) -> None:
        self._longest_s = longest_s
        self._suspects: set[int] = set()
        self._lock = asyncio.Lock()
        self._is_empty = asyncio.Event()
        self._ends_at = -math.inf

    def add(self, update: int) -> None:
        """Add the id of an update."""
        self._suspects.add(update)
        self._is_empty.clear()
        self._ends_at = _now() + self._longest_s

    def discard(self, updates: Collection[int]) -> None:
        """Remove the ids of updates; unknown ids are ignored."""
        self._suspects.difference_update(updates)
        if not self._suspects:
            self._is_empty.set()

    @asynccontextmanager
    async def section(self, updates: Sequence[Update]) -> AsyncIterator[None]:
        """Enter the section in which updates are handled, once no suspect update is running."""
        numbers = {update.update_id for update in updates}
        if not numbers.isdisjoint(self._suspects):
            try:
                async with self._lock:
                    yield
            finally:
                self.discard(numbers)
            return
        left = self._ends_at - _now()
        if self._suspects and left > 0 and not any(map(is_forget_command, updates)):
            with suppress(TimeoutError):
                await asyncio.wait_for(self._is_empty.wait(), left)
        yield


def _now() -> float:
    return asyncio.get_running_loop().time()
