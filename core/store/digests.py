"""Table of the operators who want a digest: the interval, and when the next one is due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa

from core.store.database import Database, in_utc
from core.store.dialects import upsert
from core.store.tables import DIGESTS

__all__ = ["DigestTable", "DueDigest", "digest_notice"]


class DueDigest(NamedTuple):
    """A digest that is due.

    Attributes:
        days: Number of days that it covers; the next one follows after as many.
        at: When it became due, in UTC.
    """

    days: int
    at: datetime


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

    def reported_labels(self, operator: str) -> int | None:
        """Return the number of labels last reported to an operator; None without digests."""
        select = sa.select(DIGESTS.c.reported_labels).where(DIGESTS.c.operator == operator)
        with self._database.read() as connection:
            return connection.execute(select).scalar()

    def due(self, operator: str) -> DueDigest | None:
        """Return the digest of an operator that is due now; None where none is due."""
        with self._database.read() as connection:
            select = sa.select(DIGESTS).where(DIGESTS.c.operator == operator)
            row = connection.execute(select).first()
        if row is None or in_utc(row.due_at) > datetime.now(UTC):
            return None
        return DueDigest(row.days, in_utc(row.due_at))

    def advance(self, operator: str, sent: DueDigest, *, labels: int) -> None:
        """Make the next digest due: at the same time of a later day, however late this one was.

        What the operator has chosen in the meantime is kept.

        Args:
            operator: Keyed hash of the operator's id.
            sent: The digest that was sent.
            labels: Number of all labels that it stated; see `reported_labels`.
        """
        pause, late = timedelta(sent.days), datetime.now(UTC) - sent.at
        following = sent.at + (late // pause + 1) * pause
        is_same = DIGESTS.c.days == sent.days, DIGESTS.c.due_at == sent.at
        change = sa.update(DIGESTS).where(DIGESTS.c.operator == operator)
        with self._database.write() as connection:
            connection.execute(change.values(reported_labels=labels))
            connection.execute(change.where(*is_same).values(due_at=following))


def digest_notice(operator: str) -> str:
    """Name the notice by which a process claims the digest of an operator.

    Args:
        operator: Keyed hash of the operator's id.
    """
    # Names of notices have at most 32 characters.
    return f"digest {operator[:24]}"
