"""A sliding-window rate limit."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from core.errors import RateError

__all__ = ["RateLimit"]


@dataclass
class _Actions:
    """Actions of one key: time and cost of each, and when the last one was reported."""

    done: deque[tuple[float, int]] = field(default_factory=deque)
    reported: float = 0.0


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
        self._actions: dict[str, _Actions] = {}
        self._purge_at = clock() + window_s

    def hit(self, key: str, cost: int = 1, *, at: float | None = None) -> None:
        """Count an action of a key.

        Args:
            key: The key.
            cost: Cost of the action; capped at the amount of the limit.
            at: Time of the action on the clock; None for now. Actions may be reported late and
                out of order: each counts against those less than a window before or after it.

        Raises:
            RateError: The limit is exceeded; the action is not counted.
        """
        cost = min(cost, self._amount)
        with self._lock:
            now = self._clock()
            if now >= self._purge_at:
                self._purge(now)
            moment = now if at is None else at
            recent = self._recent(key, moment)
            excess = sum(each for _, each in recent) + cost - self._amount
            if excess > 0:
                raise RateError(self._free_in_s(recent, excess, now))
            actions = self._actions.setdefault(key, _Actions())
            actions.done.append((moment, cost))
            actions.reported = now
            # No window holds more actions than this, since each costs at least 1.
            while len(actions.done) > self._amount:
                actions.done.popleft()

    def is_spent(self, key: str) -> bool:
        """Return whether a key has used up its limit, without counting an action."""
        with self._lock:
            recent = self._recent(key, self._clock())
            return sum(cost for _, cost in recent) >= self._amount

    def _recent(self, key: str, moment: float) -> list[tuple[float, int]]:
        """Return the actions within a window of a moment, oldest first."""
        actions = self._actions.get(key)
        if actions is None:
            return []
        return sorted(each for each in actions.done if abs(each[0] - moment) < self._window_s)

    def _free_in_s(self, recent: list[tuple[float, int]], excess: int, now: float) -> int:
        """Return the whole seconds until the total cost has fallen by the excess."""
        for moment, cost in recent:
            excess -= cost
            if excess <= 0:
                return max(1, math.ceil(moment + self._window_s - now))
        return max(1, math.ceil(self._window_s))

    def _purge(self, now: float) -> None:
        """Remove the keys that reported no action within the window."""
        oldest = now - self._window_s
        self._actions = {k: each for k, each in self._actions.items() if each.reported > oldest}
        self._purge_at = now + self._window_s
