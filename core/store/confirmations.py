"""Operators' commands that wait to be confirmed by a button."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from core.store.database import Database
from core.store.dialects import clock
from core.store.tables import CONFIRMATIONS

__all__ = ["ConfirmationTable", "PendingCommand"]


@dataclass(frozen=True)
class PendingCommand:
    """A command that an operator has to confirm, or has confirmed.

    Attributes:
        operator: Keyed hash of the operator's id.
        act: The command with its arguments, as in the audit log.
        expected: State that the operator was shown, which must not have changed when it runs.
        is_valid: Whether it can still be confirmed.
        result: Result of a command that was run, for a press that is handled again.
    """

    operator: str
    act: str
    expected: Mapping[str, Any]
    is_valid: bool
    result: str | None


class ConfirmationTable:
    """The table of commands to be confirmed, and of the results of those that were.

    A button may be pressed while another process runs than the one that showed it.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, operator: str, act: str, expected: Mapping[str, Any], valid_s: float) -> str:
        """Add a command; return its key, for the buttons that confirm or cancel it.

        Args:
            operator: Keyed hash of the operator's id.
            act: The command with its arguments.
            expected: State that the operator was shown, which must not have changed when it runs.
            valid_s: Seconds within which it can be confirmed.
        """
        key = secrets.token_urlsafe(8)
        with self._database.write() as connection:
            values = {"key": key, "operator": operator, "act": act, "seen": dict(expected)}
            new = sa.insert(CONFIRMATIONS).values(**values, expires_at=clock(connection, valid_s))
            connection.execute(new)
        return key

    def get(self, key: str) -> PendingCommand | None:
        """Return a command; None if it is unknown, or was cancelled."""
        with self._database.read() as connection:
            is_valid = (CONFIRMATIONS.c.expires_at > clock(connection)).label("is_valid")
            select = sa.select(CONFIRMATIONS, is_valid).where(CONFIRMATIONS.c.key == key)
            row = connection.execute(select).first()
        if row is None:
            return None
        return PendingCommand(row.operator, row.act, row.seen, bool(row.is_valid), row.result)

    def finish(self, key: str, result: str | None = None) -> None:
        """Keep the result of a command that was run, or delete one that was cancelled.

        Until then the command stays, so that a press is handled again if the database fails.

        Args:
            key: Key of the command.
            result: Result of a command that was run.
        """
        this_row = CONFIRMATIONS.c.key == key
        with self._database.write() as connection:
            if result is None:
                connection.execute(sa.delete(CONFIRMATIONS).where(this_row))
            else:
                connection.execute(sa.update(CONFIRMATIONS).where(this_row).values(result=result))
