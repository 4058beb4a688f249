"""Table of the operators who want a digest: the interval, and when the next one is due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from core.store.database import Database, in_utc
from core.store.dialects import upsert
from core.store.tables import DIGESTS

__all__ = ["DigestTable"]


class DigestTable:
    """The table of the operators who want a digest.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def set(self, operator: str, days: int | None) -> None:
        """Set how often an operator gets a digest; the first one is due after that time.

        Args:
            operator: Keyed hash of the operator's id.
            days: Days between two digests; None for no digests.
        """
        with self._database.write() as connection:
            if days is None:
                connection.execute(sa.delete(DIGESTS).where(DIGESTS.c.operator == operator))
            else:
                values = {"days": days, "due_at": datetime.now(UTC) + timedelta(days)}
                upsert(connection, DIGESTS, {"operator": operator}, values)

    def days(self, operator: str) -> int | None:
        """Return the days between two digests of an operator; None without digests."""
        select = sa.select(DIGESTS.c.days).where(DIGESTS.c.operator == operator)
        with self._database.read() as connection:
            return connection.execute(select).scalar()

    def claim(self, operator: str) -> int | None:
        """Claim the digest that is due now for this process, so that no other one sends it.

        The next one is due at the same time of another day.

        Args:
            operator: Keyed hash of the operator's id.

        Returns:
            The days that it is about; None where none is due, or another process has claimed it.
        """
        own_row, now = DIGESTS.c.operator == operator, datetime.now(UTC)
        with self._database.read() as connection:
            row = connection.execute(sa.select(DIGESTS).where(own_row)).first()
        if row is None or in_utc(row.due_at) > now:
            return None
        pause, late = timedelta(row.days), now - in_utc(row.due_at)
        following = in_utc(row.due_at) + (late // pause + 1) * pause
        unchanged = sa.and_(own_row, DIGESTS.c.due_at == row.due_at, DIGESTS.c.days == row.days)
        with self._database.write() as connection:
            claimed = connection.execute(
                sa.update(DIGESTS).where(unchanged).values(due_at=following)
            )
        return int(row.days) if claimed.rowcount else None

    def postpone(self, operator: str, seconds: float) -> None:
        """Make a digest that could not be sent due again after some seconds."""
        change = sa.update(DIGESTS).where(DIGESTS.c.operator == operator)
        with self._database.write() as connection:
            due_at = datetime.now(UTC) + timedelta(seconds=seconds)
            connection.execute(change.values(due_at=due_at))
