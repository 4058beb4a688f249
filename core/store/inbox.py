"""The bot's queue of Telegram updates."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from core.store.database import Database
from core.store.tables import INBOX

__all__ = ["InboxTable"]


class InboxTable:
    """The table of each bot's Telegram updates.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def receive(self, bot: int, updates: Sequence[tuple[int, int | None, str]]) -> set[int]:
        """Store updates; those that exist already are not changed.

        Args:
            bot: Id of the bot.
            updates: Id, chat and content of each update.

        Returns:
            Ids of the updates that are not finished, including those that were stored before: a
            caller may repeat this after a lost connection.
        """
        now = datetime.now(UTC)
        rows: list[dict[str, Any]] = [
            {"bot": bot, "update_id": number, "chat": chat, "at": now, "payload": payload}
            for number, chat, payload in updates
        ]
        if not rows:
            return set()
        with self._database.write() as connection:
            known = connection.execute(
                sa.select(INBOX.c.update_id, INBOX.c.done_at).where(
                    INBOX.c.bot == bot, INBOX.c.update_id.in_([r["update_id"] for r in rows])
                )
            ).all()
            there = {row.update_id for row in known}
            new = {row["update_id"]: row for row in rows if row["update_id"] not in there}
            if new:
                connection.execute(sa.insert(INBOX), list(new.values()))
        return {*new, *(row.update_id for row in known if row.done_at is None)}

    def waiting(self, bot: int) -> list[tuple[int, str]]:
        """Return id and content of each unfinished update of a bot, oldest first."""
        select = (
            sa.select(INBOX.c.update_id, INBOX.c.payload)
            .where(INBOX.c.bot == bot, INBOX.c.done_at.is_(None))
            .order_by(INBOX.c.update_id)
        )
        with self._database.read() as connection:
            return [(row.update_id, row.payload or "") for row in connection.execute(select)]

    def unsettled(self, bot: int) -> set[int]:
        """Return the ids of the updates that the bot was handling when its process crashed."""
        select = sa.select(INBOX.c.update_id).where(
            INBOX.c.bot == bot, INBOX.c.done_at.is_(None), INBOX.c.attempts > 0
        )
        with self._database.read() as connection:
            return set(connection.execute(select).scalars())

    def forgotten(self, bot: int) -> set[int]:
        """Return the ids of updates about photos whose senders have since deleted their data."""
        select = sa.select(INBOX.c.update_id).where(
            INBOX.c.bot == bot, INBOX.c.done_at.is_(None), INBOX.c.forgotten.is_(True)
        )
        with self._database.read() as connection:
            return set(connection.execute(select).scalars())

    def forget(self, bot: int, updates: Sequence[int]) -> None:
        """Mark updates as being about photos of a user who deletes their data."""
        change = (
            sa.update(INBOX)
            .where(INBOX.c.bot == bot, INBOX.c.update_id.in_(updates))
            .values(forgotten=True)
        )
        with self._database.write() as connection:
            connection.execute(change)

    def begin(self, bot: int, updates: Sequence[int], most: int) -> int:
        """Count an attempt to handle updates, before it starts.

        Args:
            bot: Id of the bot.
            updates: Ids of the updates that are handled together.
            most: Maximum number of attempts; beyond it, none is counted.

        Returns:
            Number of earlier attempts that did not finish; the maximum over the updates.
        """
        mine = sa.and_(INBOX.c.bot == bot, INBOX.c.update_id.in_(updates))
        before = sa.select(sa.func.coalesce(sa.func.max(INBOX.c.attempts), 0)).where(mine)
        count = sa.update(INBOX).where(mine).values(attempts=INBOX.c.attempts + 1)
        with self._database.write() as connection:
            failed = int(connection.execute(before).scalar_one())
            if failed < most:
                connection.execute(count)
        return failed

    def settle(self, bot: int, updates: Sequence[int]) -> None:
        """Reset the attempts of updates, since the last one ended without a crash."""
        change = (
            sa.update(INBOX)
            .where(INBOX.c.bot == bot, INBOX.c.update_id.in_(updates))
            .values(attempts=0)
        )
        with self._database.write() as connection:
            connection.execute(change)

    def finish(self, bot: int, updates: Sequence[int]) -> None:
        """Mark updates as finished, and delete their content and chat."""
        change = (
            sa.update(INBOX)
            .where(INBOX.c.bot == bot, INBOX.c.update_id.in_(updates))
            .values(done_at=datetime.now(UTC), payload=None, chat=None)
        )
        with self._database.write() as connection:
            connection.execute(change)
