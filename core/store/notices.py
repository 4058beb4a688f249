"""Notices that all processes together send at most once per period."""

from __future__ import annotations

import hashlib

import sqlalchemy as sa

from core.store.database import Database
from core.store.dialects import clock, insert
from core.store.tables import NOTICES

__all__ = ["NoticeTable", "operator_notice", "purge_notices"]

# Names of notices have at most 32 characters; this leaves 17 of them for the kind.
_DIGEST_BYTES = 7


class NoticeTable:
    """The table of the times from which notices may be sent again.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def is_due(self, name: str) -> bool:
        """Return whether a notice may be sent now; only `claim` decides who sends it."""
        with self._database.read() as connection:
            waits = sa.select(NOTICES.c.name).where(
                NOTICES.c.name == name, NOTICES.c.due_at > clock(connection)
            )
            return connection.execute(waits).first() is None

    def claim(self, name: str, pause_s: float) -> bool:
        """Claim a notice for this process, so that none sends it again before a pause is over.

        Args:
            name: Name of the notice, at most 32 characters.
            pause_s: Seconds from now until it may be sent again.

        Returns:
            Whether it may be sent now: True for one of several processes that ask at once.
        """
        with self._database.write() as connection:
            later = clock(connection, pause_s)
            is_due = sa.and_(NOTICES.c.name == name, NOTICES.c.due_at <= clock(connection))
            claimed = sa.update(NOTICES).where(is_due).values(due_at=later)
            if connection.execute(claimed).rowcount:
                return True
            first = insert(connection, NOTICES).values(name=name, due_at=later)
            inserted = first.on_conflict_do_nothing().returning(NOTICES.c.name)
            return connection.execute(inserted).first() is not None

    def postpone(self, name: str, pause_s: float) -> None:
        """Delay a claimed notice: it may be sent again after a pause.

        Args:
            name: Name of the notice.
            pause_s: Seconds from now.
        """
        with self._database.write() as connection:
            later = clock(connection, pause_s)
            notice = sa.update(NOTICES).where(NOTICES.c.name == name)
            connection.execute(notice.values(due_at=later))

    def release(self, name: str) -> None:
        """Give back the claim on a notice that could not be sent."""
        with self._database.write() as connection:
            connection.execute(sa.delete(NOTICES).where(NOTICES.c.name == name))


def operator_notice(kind: str, bot: int, operator: str) -> str:
    """Name a notice of a bot to one operator; several bots may share the database.

    Args:
        kind: Kind of the notice, at most 17 characters.
        bot: Id of the bot.
        operator: Keyed hash of the operator's id.
    """
    text = f"{bot} {operator}".encode()
    return f"{kind} {hashlib.blake2b(text, digest_size=_DIGEST_BYTES).hexdigest()}"


def purge_notices(connection: sa.Connection) -> None:
    """Delete the rows of notices that may be sent again; a notice without a row may be."""
    connection.execute(sa.delete(NOTICES).where(NOTICES.c.due_at <= clock(connection)))
