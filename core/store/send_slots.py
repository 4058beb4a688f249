"""Rate limits on messages to Telegram, shared by the processes of a bot."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import NamedTuple

import sqlalchemy as sa

from core.store.database import Database
from core.store.dialects import insert, is_postgresql
from core.store.tables import SEND_SLOTS

__all__ = ["Pace", "SendSlotTable", "Slot"]

_MINUTE_S = 60.0


@dataclass(frozen=True)
class Pace:
    """Limits on messages.

    Attributes:
        overall: Messages per second to all chats.
        chat_s: Seconds between two messages to a chat.
        group: Messages per minute to a group.
    """

    overall: int
    chat_s: float
    group: int


class Slot(NamedTuple):
    """Answer to a request to send a message.

    Attributes:
        is_granted: Whether the message may be sent; otherwise the request is to be repeated.
        wait_s: Seconds until then.
    """

    is_granted: bool
    wait_s: float


class SendSlotTable:
    """The table of the times at which messages may be sent, by the clock of the database.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def reserve(self, everyone: str, chat: str, pace: Pace, *, is_group: bool) -> Slot:
        """Reserve the next time at which a message to a chat may be sent.

        The messages to all chats are evenly spaced: none of them comes in a burst.

        Args:
            everyone: Key of the messages to all chats.
            chat: Key of the chat.
            pace: The limits.
            is_group: Whether the chat is a group.
        """
        spacing_s = 1 / pace.overall
        with self._database.write() as connection:
            row = self._lock(connection, chat)
            now, times = _now(connection), list(row.times)
            free_at = row.next_at
            if is_group and len(times) >= pace.group:
                free_at = max(free_at, times[-pace.group] + _MINUTE_S)
            if free_at > now:
                return Slot(is_granted=False, wait_s=free_at - now)
            at = max(now, self._lock(connection, everyone).next_at)
            _set(connection, everyone, at + spacing_s, [])
            kept = [*times, at][-pace.group :] if is_group else []
            _set(connection, chat, at + pace.chat_s, kept)
        return Slot(is_granted=True, wait_s=at - now)

    def pause(self, chat: str, seconds: float) -> None:
        """Let no message be sent to a chat for some seconds."""
        with self._database.write() as connection:
            row = self._lock(connection, chat)
            _set(connection, chat, max(row.next_at, _now(connection) + seconds), row.times)

    def purge(self) -> None:
        """Delete the rows that no longer limit any message."""
        with self._database.write() as connection:
            old = SEND_SLOTS.c.next_at < _now(connection) - _MINUTE_S
            connection.execute(sa.delete(SEND_SLOTS).where(old))

    def _lock(self, connection: sa.Connection, key: str) -> sa.Row[tuple[float, list[float]]]:
        """Lock the row of a key until the end of the transaction, and create it if needed."""
        new = insert(connection, SEND_SLOTS).values(key=key, next_at=0.0, times=[])
        locked = new.on_conflict_do_update(index_elements=["key"], set_={"key": new.excluded.key})
        returned = locked.returning(SEND_SLOTS.c.next_at, SEND_SLOTS.c.times)
        return connection.execute(returned).one()


def _set(connection: sa.Connection, key: str, next_at: float, times: list[float]) -> None:
    change = sa.update(SEND_SLOTS).where(SEND_SLOTS.c.key == key)
    connection.execute(change.values(next_at=next_at, times=times))


def _now(connection: sa.Connection) -> float:
    """Return the time of the database in seconds since the epoch."""
    if not is_postgresql(connection):
        return time.time()
    now = sa.func.extract("epoch", sa.func.clock_timestamp())
    return float(connection.execute(sa.select(now)).scalar_one())
