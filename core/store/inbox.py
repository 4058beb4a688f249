"""The bot's queue of Telegram updates."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from core.store.database import Database
from core.store.dialects import insert
from core.store.lanes import Lane, among, is_alive, open_lanes, same_lane
from core.store.tables import INBOX, LANES

__all__ = ["InboxTable", "StoredUpdate"]


class StoredUpdate(NamedTuple):
    """An unfinished update.

    Attributes:
        number: Its id.
        payload: Its content.
        attempts: Number of times that a process started to handle it and did not finish.
        forgotten: Whether it is about a photo whose sender has since deleted their data.
    """

    number: int
    payload: str
    attempts: int
    forgotten: bool


class InboxTable:
    """The table of each bot's Telegram updates.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def receive(
        self, bot: int, updates: Sequence[tuple[int, int | None, str]], owner: str | None = None
    ) -> set[int]:
        """Store updates; those that exist already are not changed.

        Args:
            bot: Id of the bot.
            updates: Id, chat and content of each update; those without a chat are handled alone.
            owner: Process that handles them, unless another one handles their chats; None to leave
                them to any process.

        Returns:
            Ids of the unfinished updates that the process is to handle: these, and earlier ones of
            the same chats, which it may not have read yet. A caller may repeat this after a lost
            connection.
        """
        now = datetime.now(UTC)
        rows: list[dict[str, Any]] = [
            {"bot": bot, "update_id": number, "chat": chat, "at": now, "payload": payload}
            for number, chat, payload in updates
        ]
        if not rows:
            return set()
        numbers = {row["update_id"] for row in rows}
        done = sa.select(INBOX.c.update_id).where(
            INBOX.c.bot == bot, INBOX.c.update_id.in_(numbers), INBOX.c.done_at.is_not(None)
        )
        with self._database.write() as connection:
            connection.execute(insert(connection, INBOX).on_conflict_do_nothing(), rows)
            numbers -= set(connection.execute(done).scalars())
            lanes = {row["update_id"]: Lane.of(row["update_id"], row["chat"]) for row in rows}
            wanted = {lanes[number] for number in numbers}
            owned = open_lanes(connection, bot, wanted, owner) if wanted else set()
            if not owned:
                return set()
            unfinished = sa.select(INBOX.c.update_id).join(LANES, same_lane())
            owned_lanes = (LANES.c.bot == bot) & among(owned) & INBOX.c.done_at.is_(None)
            return set(connection.execute(unfinished.where(owned_lanes)).scalars())

    def waiting(self, bot: int) -> list[tuple[int, str]]:
        """Return id and content of each unfinished update of a bot, oldest first."""
        select = (
            sa.select(INBOX.c.update_id, INBOX.c.payload)
            .where(INBOX.c.bot == bot, INBOX.c.done_at.is_(None))
            .order_by(INBOX.c.update_id)
        )
        with self._database.read() as connection:
            return [(row.update_id, row.payload or "") for row in connection.execute(select)]

    def count(self, bot: int) -> int:
        """Return the number of unfinished updates of a bot."""
        select = sa.select(sa.func.count()).where(INBOX.c.bot == bot, INBOX.c.done_at.is_(None))
        with self._database.read() as connection:
            return int(connection.execute(select).scalar_one())

    def unsettled(self, bot: int) -> set[int]:
        """Return the ids of the updates that are being handled, or were when a process crashed."""
        select = sa.select(INBOX.c.update_id).where(
            INBOX.c.bot == bot, INBOX.c.done_at.is_(None), INBOX.c.attempts > 0
        )
        with self._database.read() as connection:
            return set(connection.execute(select).scalars())

    def load(self, bot: int, updates: Collection[int]) -> list[StoredUpdate]:
        """Return unfinished updates by their ids, oldest first."""
        wanted = INBOX.c.update_id.in_(updates)
        select = (
            sa.select(INBOX)
            .where(INBOX.c.bot == bot, INBOX.c.done_at.is_(None), wanted)
            .order_by(INBOX.c.update_id)
        )
        with self._database.read() as connection:
            rows = connection.execute(select).all()
        return [
            StoredUpdate(row.update_id, row.payload or "", row.attempts, row.forgotten)
            for row in rows
        ]

    def owned(self, bot: int, owner: str) -> set[int]:
        """Return the ids of the unfinished updates in the lanes of a process."""
        select = (
            sa.select(INBOX.c.update_id)
            .join(LANES, same_lane())
            .where(INBOX.c.bot == bot, INBOX.c.done_at.is_(None), LANES.c.owner == owner)
        )
        with self._database.read() as connection:
            return set(connection.execute(select).scalars())

    @contextmanager
    def holding(self, bot: int, update: int) -> Iterator[bool]:
        """Enter a section that stores data of an update; yield whether it may be stored.

        It may not once the update was finished or marked by `forget`. Both wait for the section to
        end, where the database has row locks.
        """
        select = (
            sa.select(INBOX.c.done_at, INBOX.c.forgotten)
            .where(INBOX.c.bot == bot, INBOX.c.update_id == update)
            .with_for_update(read=True)
        )
        with self._database.read() as connection:
            row = connection.execute(select).first()
            yield row is not None and row.done_at is None and not row.forgotten

    def forget(self, bot: int, updates: Sequence[int]) -> None:
        """Mark updates as being about photos of a user who deletes their data."""
        change = (
            sa.update(INBOX)
            .where(INBOX.c.bot == bot, INBOX.c.update_id.in_(updates))
            .values(forgotten=True)
        )
        with self._database.write() as connection:
            connection.execute(change)

    def begin(self, bot: int, updates: Sequence[int], max_attempts: int, owner: str) -> int | None:
        """Count an attempt to handle updates, before it starts.

        Args:
            bot: Id of the bot.
            updates: Ids of the updates that are handled together.
            max_attempts: Maximum number of attempts; beyond it, none is counted.
            owner: Process that handles them.

        Returns:
            Number of earlier attempts that did not finish; the maximum over the updates. None where
            the process is not to handle them: its lease has expired, another process has taken over
            their chat, or they are finished.
        """
        unfinished = (INBOX.c.bot == bot) & INBOX.c.done_at.is_(None)
        select = (
            sa.select(INBOX.c.update_id, INBOX.c.attempts)
            .join(LANES, same_lane())
            .where(unfinished, INBOX.c.update_id.in_(updates), LANES.c.owner == owner)
            # No other process takes over the lane before the attempt is counted.
            .with_for_update(of=LANES)
        )
        with self._database.write() as connection:
            rows = connection.execute(select.where(is_alive(connection, LANES)))
            attempts = {row.update_id: row.attempts for row in rows}
            failed = max(attempts.values(), default=None)
            if failed is not None and failed < max_attempts:
                count = sa.update(INBOX).where(INBOX.c.bot == bot, INBOX.c.update_id.in_(attempts))
                connection.execute(count.values(attempts=INBOX.c.attempts + 1))
        return failed

    def settle(self, bot: int, updates: Sequence[int], owner: str) -> None:
        """Reset the attempts of updates, since the last one ended without a crash.

        Those that another process handles by now are not changed.

        Args:
            bot: Id of the bot.
            updates: Ids of the updates.
            owner: Name of this process.
        """
        is_mine = sa.exists().where(same_lane(), LANES.c.owner == owner).correlate(INBOX)
        change = (
            sa.update(INBOX)
            .where(INBOX.c.bot == bot, INBOX.c.update_id.in_(updates), is_mine)
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
