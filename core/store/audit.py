"""The audit log: commands of operators and their outcomes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from core.store.database import Database, in_utc
from core.store.end_reasons import EndReason
from core.store.lanes import is_alive
from core.store.tables import AUDIT

__all__ = ["AuditEntry", "AuditLog", "record_entry"]


@dataclass(frozen=True)
class AuditEntry:
    """A command of an operator.

    Attributes:
        at: Time of the entry, in UTC.
        operator: Keyed hash of the operator's id, or the name of a front without operators' ids.
        act: The command.
        outcome: Its result in words.
        cause: Reason for which TenSight ended a rollout by itself; None for all other entries,
            and for those of earlier versions.
    """

    at: datetime
    operator: str
    act: str
    outcome: str
    cause: EndReason | None = None

    @classmethod
    def now(
        cls, operator: str, act: str, outcome: str, cause: EndReason | None = None
    ) -> AuditEntry:
        """Create an entry of the present time; arguments as the attributes."""
        return cls(datetime.now(UTC), operator, act, outcome, cause)


class AuditLog:
    """The table of operators' commands.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, operator: str, act: str, outcome: str) -> None:
        """Record a finished command.

        Args:
            operator: Keyed hash of the operator's id.
            act: The command.
            outcome: Its result in words.
        """
        with self._database.write() as connection:
            record_entry(connection, AuditEntry.now(operator, act, outcome))

    def begin(self, bot: int, owner: str, operator: str, act: str) -> int:
        """Record that a command was started.

        Args:
            bot: Id of the bot that runs it.
            owner: Name of the process that runs it.
            operator: Keyed hash of the operator's id.
            act: The command.

        Returns:
            Number of the entry, for `finish`.
        """
        values = {"operator": operator, "act": act, "outcome": "begun", "doing": bot}
        values |= {"at": datetime.now(UTC), "owner": owner}
        insert = sa.insert(AUDIT).values(values).returning(AUDIT.c.id)
        with self._database.write() as connection:
            return int(connection.execute(insert).scalar_one())

    def finish(self, number: int, outcome: str) -> None:
        """Record the outcome of a command that was started with `begin`.

        Args:
            number: Number of the entry, from `begin`.
            outcome: Result in words.
        """
        with self._database.write() as connection:
            self._finish(connection, AUDIT.c.id == number, lambda _: outcome)

    def finish_all(
        self, bot: int, owner: str, outcome: Callable[[str], str], *, alone: bool
    ) -> list[AuditEntry]:
        """Record an outcome for the commands of a bot that dead processes never finished.

        Args:
            bot: Id of the bot.
            owner: Name of this process, whose own commands go on.
            outcome: Returns the outcome for a command.
            alone: Whether no other process of the bot can run, however recently it did.

        Returns:
            The entries that were added, oldest first.
        """
        unknown = AUDIT.c.owner.is_(None)  # the process of an earlier version
        with self._database.write() as connection:
            dead = sa.true() if alone else ~is_alive(connection, AUDIT)
            lost = (AUDIT.c.doing == bot) & (unknown | ((AUDIT.c.owner != owner) & dead))
            return self._finish(connection, lost, outcome)

    def _finish(
        self,
        connection: sa.Connection,
        condition: sa.ColumnElement[bool],
        outcome: Callable[[str], str],
    ) -> list[AuditEntry]:
        change = sa.update(AUDIT).where(condition).values(doing=None).returning(AUDIT)
        rows = sorted(connection.execute(change).all(), key=lambda row: int(row.id))
        now = datetime.now(UTC)
        ended = [AuditEntry(now, row.operator, row.act, outcome(row.act)) for row in rows]
        for each in ended:
            record_entry(connection, each)
        return ended

    def recent(self, limit: int) -> list[AuditEntry]:
        """Return the latest entries, newest first.

        Args:
            limit: Maximum number of entries.
        """
        select = sa.select(AUDIT).order_by(AUDIT.c.id.desc()).limit(limit)
        with self._database.read() as connection:
            rows = connection.execute(select).all()
        return [_entry(row) for row in rows]

    def by(self, operator: str, since: datetime) -> dict[int, AuditEntry]:
        """Return the entries of an operator since a time by number, oldest first.

        Args:
            operator: As in the entries.
            since: The time.
        """
        condition = (AUDIT.c.operator == operator) & (AUDIT.c.at >= since)
        with self._database.read() as connection:
            rows = connection.execute(sa.select(AUDIT).where(condition).order_by(AUDIT.c.id)).all()
        return {int(row.id): _entry(row) for row in rows}


def _entry(row: sa.Row[Any]) -> AuditEntry:
    cause = None if row.cause is None else EndReason(**row.cause)
    return AuditEntry(in_utc(row.at), row.operator, row.act, row.outcome, cause)


def record_entry(connection: sa.Connection, entry: AuditEntry) -> None:
    """Record a command in the transaction that carries it out.

    Args:
        connection: The transaction.
        entry: The command and its outcome.
    """
    connection.execute(sa.insert(AUDIT).values(asdict(entry)))
