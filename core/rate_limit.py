"""A sliding-window rate limit."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable

from core.errors import RateError

__all__ = ["RateLimit"]


class RateLimit:
    """A sliding-window rate limit per key. Safe to share between threads.

    The clock is monotonic, so that no key is locked out when the system clock is set back.

    Args:
        amount: Maximum total cost of a key's actions within the window.
        window_s: Length of the window in seconds.
        clock: Returns the current time in seconds.
    """

    def __init__(
        self, amount: int, *, window_s: float = 60.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._amount = amount
        self._window_s = window_s
        self._clock = clock
        self._lock = threading.Lock()
        # Time and cost of the actions of each key, oldest first.
        self._done: dict[str, deque[tuple[float, int]]] = {}
        self._purge_at = clock() + window_s

    def hit(self, key: str, cost: int = 1) -> None:
        """Count an action of a key.

        Args:
            key: The key.
            cost: Cost of the action; capped at the amount of the limit.

        Raises:
            RateError: The limit is exceeded; the action is not counted.
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
        """Return whether a key has used up its limit, without counting an action."""
        with self._lock:
            done = self._recent(key, self._clock())
            return sum(cost for _, cost in done) >= self._amount

    def _recent(self, key: str, now: float) -> deque[tuple[float, int]]:
        done = self._done.get(key, deque())
        while done and done[0][0] <= now - self._window_s:
            done.popleft()
        return done

    def _free_in_s(self, done: deque[tuple[float, int]], excess: int, now: float) -> int:
        """Return the whole seconds until the total cost has fallen by the excess."""
        for moment, cost in done:
            excess -= cost
            if excess <= 0:
                return max(1, math.ceil(moment + self._window_s - now))
        return max(1, math.ceil(self._window_s))

    def _purge(self, now: float) -> None:
        """Remove the keys without an action in the window."""
        for key in [key for key in self._done if not self._recent(key, now)]:
            del self._done[key]
        self._purge_at = now + self._window_s
