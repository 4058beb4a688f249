"""Operators' commands that wait to be confirmed by a button."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from bot.outcome import Outcome

__all__ = ["Confirmations", "PendingCommand"]

_MAX_RESULTS = 1_000


@dataclass(frozen=True)
class PendingCommand:
    """A command that an operator has to confirm.

    Attributes:
        operator: Id of the operator.
        command: The command with its arguments, as in the audit log.
        run: Runs it; called in a thread.
        expires_at: Time of the event loop's clock until which it can be confirmed.
    """

    operator: int
    command: str
    run: Callable[[], Outcome]
    expires_at: float


class Confirmations:
    """Commands to be confirmed, and the results of those that were.

    Args:
        valid_s: Seconds within which a command can be confirmed.
    """

    def __init__(self, valid_s: float) -> None:
        self._valid_s = valid_s
        self._pending: dict[str, PendingCommand] = {}
        self._results: dict[str, str] = {}

    def add(self, operator: int, command: str, run: Callable[[], Outcome]) -> str:
        """Add a command; return its key, for the buttons that confirm or cancel it."""
        now = _now()
        self._pending = {k: each for k, each in self._pending.items() if each.expires_at >= now}
        key = secrets.token_urlsafe(8)
        self._pending[key] = PendingCommand(operator, command, run, now + self._valid_s)
        return key

    def may_press(self, key: str, operator: int) -> bool:
        """Return whether a button is not that of another operator's command."""
        pending = self._pending.get(key)
        return pending is None or pending.operator == operator

    def get(self, key: str) -> PendingCommand | None:
        """Return a command; None if it is unknown, finished or expired."""
        pending = self._pending.get(key)
        return pending if pending is not None and pending.expires_at >= _now() else None

    def result(self, key: str) -> str | None:
        """Return the result of a finished command, for a press that is handled again."""
        return self._results.get(key)

    def finish(self, key: str, result: str | None = None) -> None:
        """Remove a command that was run or cancelled.

        It stays until then, so that a press is handled again if the database fails.

        Args:
            key: Key of the command.
            result: Result of a command that was run.
        """
        self._pending.pop(key, None)
        if result is not None:
            self._results[key] = result
        while len(self._results) > _MAX_RESULTS:
            del self._results[next(iter(self._results))]


def _now() -> float:
    return asyncio.get_running_loop().time()
