"""Ownership of chats by the processes of a bot."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from typing import NamedTuple

import sqlalchemy as sa

from core.store.database import Database
from core.store.dialects import clock, insert
from core.store.tables import BOT_PROCESSES, INBOX, LANES

__all__ = ["Lane", "LaneTable", "among", "is_alive", "open_lanes", "same_lane"]

# Seconds after its death for which a process stays on record.
_REMEMBERED_S = 3600


class Lane(NamedTuple):
    """Updates that one process handles in order: those of a chat, or one update alone.

    Attributes:
        chat: Id of the chat; 0 for an update that is handled alone.
        update: Id of the update; 0 for the updates of a chat.
    """

    chat: int
    update: int = 0

    @classmethod
    def of(cls, update: int, chat: int | None) -> Lane:
        """Return the lane of an update; without a chat, it is handled alone."""
        return cls(0, update) if chat is None else cls(chat)


class LaneTable:
    """The tables of lanes, and of the processes that may own them.

    A lane exists while it has unfinished updates. Its owner is the only process that handles them,
    until the process releases it or its lease expires: a process that does not renew its lease
    counts as dead, and others take over its lanes.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def renew(self, bot: int, owner: str, lease_s: float) -> None:
        """Register a process, or renew its lease.

        Args:
            bot: Id of the bot.
            owner: Name of the process.
            lease_s: Seconds for which it counts as alive from now on.
        """
        with self._database.write() as connection:
            values = {"owner": owner, "bot": bot, "alive_until": clock(connection, lease_s)}
            new = insert(connection, BOT_PROCESSES).values(values)
            connection.execute(
                new.on_conflict_do_update(
                    index_elements=["owner"], set_={"alive_until": new.excluded.alive_until}
                )
            )
            dead = BOT_PROCESSES.c.alive_until < clock(connection, -_REMEMBERED_S)
            connection.execute(sa.delete(BOT_PROCESSES).where(dead))

    def claim(self, bot: int, owner: str, limit: int, *, take_over: bool = True) -> list[Lane]:
        """Become the owner of lanes that have none, the longest waiting ones first.

        Args:
            bot: Id of the bot.
            owner: Name of the process.
            limit: Maximum number of lanes.
            take_over: Whether to claim the lanes of dead processes, too.
        """
        with self._database.write() as connection:
            is_free: sa.ColumnElement[bool] = LANES.c.owner.is_(None)
            if take_over:
                is_free = is_free | (~is_alive(connection, LANES) & (LANES.c.owner != owner))
            # Rows that another process locks are just being claimed or released.
            select = (
                sa.select(LANES.c.chat, LANES.c.update_id)
                .where(LANES.c.bot == bot, is_free)
                .order_by(LANES.c.since)
                .limit(limit)
                .with_for_update(skip_locked=True)
            )
            lanes = [Lane(row.chat, row.update_id) for row in connection.execute(select)]
            if lanes:
                change = sa.update(LANES).where(LANES.c.bot == bot, among(lanes))
                connection.execute(change.values(owner=owner))
        return lanes

    def release(self, bot: int, owner: str, lanes: Collection[Lane]) -> set[int]:
        """Delete lanes of a process that have no unfinished updates.

        Args:
            bot: Id of the bot.
            owner: Name of the process.
            lanes: The lanes; those of other processes are not changed.

        Returns:
            Ids of the unfinished updates of the others, which the process still owns.
        """
        owned = sa.and_(LANES.c.bot == bot, LANES.c.owner == owner, among(lanes))
        order = (LANES.c.chat, LANES.c.update_id)
        lock = sa.select(*order).where(owned).order_by(*order).with_for_update()
        unfinished = INBOX.c.done_at.is_(None) & same_lane()
        more = sa.select(INBOX.c.update_id).join(LANES, unfinished).where(owned)
        with self._database.write() as connection:
            # Adding an update locks its lane, too, so none is added between these statements.
            connection.execute(lock).all()
            left = set(connection.execute(more).scalars())
            connection.execute(
                sa.delete(LANES).where(owned, ~sa.exists().where(unfinished).correlate(LANES))
            )
        return left

    def leave(self, bot: int, owner: str) -> None:
        """Free all lanes of a process that ends."""
        owned = sa.and_(LANES.c.bot == bot, LANES.c.owner == owner)
        with self._database.write() as connection:
            connection.execute(sa.update(LANES).where(owned).values(owner=None))
            connection.execute(sa.delete(BOT_PROCESSES).where(BOT_PROCESSES.c.owner == owner))

    def free_all(self, bot: int) -> None:
        """Free all lanes of a bot; call it where no other process of the bot can run."""
        with self._database.write() as connection:
            connection.execute(sa.update(LANES).where(LANES.c.bot == bot).values(owner=None))
            connection.execute(sa.delete(BOT_PROCESSES).where(BOT_PROCESSES.c.bot == bot))


def open_lanes(
    connection: sa.Connection, bot: int, lanes: Collection[Lane], owner: str | None
) -> set[Lane]:
    """Create lanes for new updates, and claim those that have no owner that is alive.

    Args:
        connection: A connection within a transaction, which locks the lanes until its end.
        bot: Id of the bot.
        lanes: The lanes; those that exist stay.
        owner: Name of the process that claims them; None to leave them to any.

    Returns:
        The lanes that the process owns.
    """
    now = datetime.now(UTC)
    # In one order everywhere, so that two transactions do not wait for each other.
    new = insert(connection, LANES).values(
        [
            {"bot": bot, "chat": chat, "update_id": update, "owner": owner, "since": now}
            for chat, update in sorted(lanes)
        ]
    )
    current = sa.case((is_alive(connection, LANES), LANES.c.owner), else_=new.excluded.owner)
    opened = new.on_conflict_do_update(
        index_elements=["bot", "chat", "update_id"], set_={"owner": current}
    ).returning(LANES.c.chat, LANES.c.update_id, LANES.c.owner)
    rows = connection.execute(opened).all()
    return {Lane(row.chat, row.update_id) for row in rows if owner and row.owner == owner}


def same_lane() -> sa.ColumnElement[bool]:
    """Build the condition that joins updates with their lanes."""
    of_chat = (LANES.c.chat == INBOX.c.chat) & (LANES.c.update_id == 0)
    alone = INBOX.c.chat.is_(None) & (LANES.c.chat == 0) & (LANES.c.update_id == INBOX.c.update_id)
    return (LANES.c.bot == INBOX.c.bot) & (of_chat | alone)


def is_alive(connection: sa.Connection, table: sa.Table) -> sa.ColumnElement[bool]:
    """Build the condition that the owner of a table's row is alive."""
    return (
        sa.exists()
        .where(
            BOT_PROCESSES.c.owner == table.c.owner,
            BOT_PROCESSES.c.alive_until >= clock(connection),
        )
        .correlate(table)
    )


def among(lanes: Collection[Lane]) -> sa.ColumnElement[bool]:
    """Build the condition that selects lanes."""
    return sa.tuple_(LANES.c.chat, LANES.c.update_id).in_([tuple(lane) for lane in lanes])
