"""The audit log: what operators did, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from core.store.database import Database, in_utc
from core.store.tables import AUDIT

__all__ = ["AuditEntry", "AuditLog"]


@dataclass(frozen=True)
class AuditEntry:
    """What an operator did: when, who (a keyed hash), what, and what came of it."""

    at: datetime
    operator: str
    act: str
    outcome: str


class AuditLog:
    """The commands of operators."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, operator: str, act: str, outcome: str) -> None:
        """Keep what an operator did."""
        values = {"at": datetime.now(UTC), "operator": operator, "act": act, "outcome": outcome}
        with self._database.write() as connection:
            connection.execute(sa.insert(AUDIT).values(values))

    def begin(self, bot: int, operator: str, act: str) -> int:
        """Keep that an operator told a bot to do something; a number for `finish`."""
        values = {"operator": operator, "act": act, "outcome": "begun", "doing": bot}
        insert = sa.insert(AUDIT).values(at=datetime.now(UTC), **values).returning(AUDIT.c.id)
        with self._database.write() as connection:
            return int(connection.execute(insert).scalar_one())

    def finish(self, number: int, outcome: str) -> None:
        """Keep what came of something that was begun."""
        self._finish(AUDIT.c.id == number, lambda _: outcome)

    def finish_all(self, bot: int, outcome: Callable[[str], str]) -> list[AuditEntry]:
        """Keep what is to be said of all that a bot began and never ended.

        Args:
            bot: Whose they are.
            outcome: What is to be said, by what was begun.

        Returns:
            What is kept now, the first first.
        """
        return self._finish(AUDIT.c.doing == bot, outcome)

    def _finish(
        self, which: sa.ColumnElement[bool], outcome: Callable[[str], str]
    ) -> list[AuditEntry]:
        change = sa.update(AUDIT).where(which).values(doing=None).returning(AUDIT)
        with self._database.write() as connection:
            rows = sorted(connection.execute(change).all(), key=lambda row: int(row.id))
            now = datetime.now(UTC)
            ended = [AuditEntry(now, row.operator, row.act, outcome(row.act)) for row in rows]
            for each in ended:
                connection.execute(sa.insert(AUDIT).values(asdict(each)))
        return ended

    def recent(self, most: int) -> list[AuditEntry]:
        """What operators did, the last first."""
        select = sa.select(AUDIT).order_by(AUDIT.c.id.desc()).limit(most)
        with self._database.read() as connection:
            rows = connection.execute(select).all()
        return [AuditEntry(in_utc(row.at), row.operator, row.act, row.outcome) for row in rows]
