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
    """Telegram updates of each bot, until they are answered."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def receive(self, bot: int, updates: Sequence[tuple[int, int | None, str]]) -> set[int]:
        """Put updates into the inbox; what is or was there already stays as it is.

        Args:
            bot: Id of the bot.
            updates: Id, chat and content of each.

        Returns:
            Ids of those that are not done: who writes them down twice, as where the connection
            broke the first time, hears of them again.
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
        """Id and content of each update of the inbox that is not done, the oldest first."""
        select = (
            sa.select(INBOX.c.update_id, INBOX.c.payload)
            .where(INBOX.c.bot == bot, INBOX.c.done_at.is_(None))
            .order_by(INBOX.c.update_id)
        )
        with self._database.read() as connection:
            return [(row.update_id, row.payload or "") for row in connection.execute(select)]

    def unsettled(self, bot: int) -> set[int]:
        """Ids of the updates that a process of this bot was handling when it died."""
        select = sa.select(INBOX.c.update_id).where(
            INBOX.c.bot == bot, INBOX.c.done_at.is_(None), INBOX.c.attempts > 0
        )
        with self._database.read() as connection:
            return set(connection.execute(select).scalars())

    def forgotten(self, bot: int) -> set[int]:
        """Ids of the updates that are about photos of people who asked to be forgotten since."""
        select = sa.select(INBOX.c.update_id).where(
            INBOX.c.bot == bot, INBOX.c.done_at.is_(None), INBOX.c.forgotten.is_(True)
        )
        with self._database.read() as connection:
            return set(connection.execute(select).scalars())

    def forget(self, bot: int, updates: Sequence[int]) -> None:
        """Note that updates are about photos of somebody who asks to be forgotten."""
        change = (
            sa.update(INBOX)
            .where(INBOX.c.bot == bot, INBOX.c.update_id.in_(updates))
            .values(forgotten=True)
        )
        with self._database.write() as connection:
            connection.execute(change)

    def begin(self, bot: int, updates: Sequence[int], most: int) -> int:
        """Count an attempt at handling updates, before it is made.

        Args:
            bot: Id of the bot.
            updates: Ids of those that are handled together.
            most: Attempts that may come to no end; no further one is counted.

        Returns:
            How many attempts at one of them came to no end before.
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
        """Note that an attempt came to an end, though the updates are not done."""
        change = (
            sa.update(INBOX)
            .where(INBOX.c.bot == bot, INBOX.c.update_id.in_(updates))
            .values(attempts=0)
        )
        with self._database.write() as connection:
            connection.execute(change)

    def finish(self, bot: int, updates: Sequence[int]) -> None:
        """Mark updates as done; what was in them, and whose they were, is deleted."""
        change = (
            sa.update(INBOX)
            .where(INBOX.c.bot == bot, INBOX.c.update_id.in_(updates))
            .values(done_at=datetime.now(UTC), payload=None, chat=None)
        )
        with self._database.write() as connection:
            connection.execute(change)
