"""A limit on how often somebody may do something."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable

from core.errors import RateError

__all__ = ["RateLimit"]


class RateLimit:
    """Counts what each key did in the last seconds; safe to use from several threads.

    Time is taken from a clock that never goes back, so that setting the system's clock back locks
    nobody out.

    Args:
        amount: What one key may do within the window.
        window_s: Length of the window in seconds.
        clock: Seconds since some moment.
    """

    def __init__(
        self, amount: int, *, window_s: float = 60.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._amount = amount
        self._window_s = window_s
        self._clock = clock
        self._lock = threading.Lock()
        # Moment and cost of what each key did, the oldest first.
        self._done: dict[str, deque[tuple[float, int]]] = {}
        self._purge_at = clock() + window_s

    def hit(self, key: str, cost: int = 1) -> None:
        """Count what a key does.

        Args:
            key: Who does it.
            cost: What it counts; more than the whole amount counts as the whole amount.

        Raises:
            RateError: It is too much; nothing is counted then.
        """
        cost = min(cost, self._amount)
        with self._lock:
            now = self._clock()
            if now >= self._purge_at:
                self._purge(now)
            done = self._recent(key, now)
            excess = sum(each for _, each in done) + cost - self._amount
            if excess > 0:
                raise RateError(self._free_in_s(done, excess, now))
            done.append((now, cost))
            self._done[key] = done

    def is_spent(self, key: str) -> bool:
        """Return whether a key could do nothing more now; nothing is counted."""
        with self._lock:
            done = self._recent(key, self._clock())
            return sum(cost for _, cost in done) >= self._amount

    def _recent(self, key: str, now: float) -> deque[tuple[float, int]]:
        done = self._done.get(key, deque())
        while done and done[0][0] <= now - self._window_s:
            done.popleft()
        return done

    def _free_in_s(self, done: deque[tuple[float, int]], excess: int, now: float) -> int:
        """Whole seconds until so much less is counted."""
        for moment, cost in done:
            excess -= cost
            if excess <= 0:
                return max(1, math.ceil(moment + self._window_s - now))
        return max(1, math.ceil(self._window_s))

    def _purge(self, now: float) -> None:
        """Forget the keys that did nothing of late."""
        for key in [key for key in self._done if not self._recent(key, now)]:
            del self._done[key]
        self._purge_at = now + self._window_s
