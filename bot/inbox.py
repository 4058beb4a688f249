"""Persistent queue of updates: at-least-once delivery, in order within each chat.

Several processes may share it: a chat's updates are handled by one of them at a time. While the
database is locked or away, updates that cannot be stored stay with Telegram (`bot.polling`,
`bot.webhook`), and stored ones are retried (`bot.chat_workers`).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from typing import Any

from telegram import Bot, Update

from bot.chat_workers import ChatWorkers, UpdateHandler
from bot.in_flight import InFlightUpdates
from bot.lane_keeper import LaneKeeper
from bot.owned_lanes import OwnedLanes
from bot.quarantine import Quarantine
from bot.timings import Timings
from bot.updates import is_reply_to, is_sent_by, ordering_chat_of, parse_update
from core.store.inbox import InboxTable, StoredUpdate

__all__ = ["MAX_WAITING", "Inbox"]

MAX_WAITING = 20_000
"""Updates in memory above which no more are accepted; further ones stay with Telegram."""


class Inbox:
    """Queue that stores updates, passes them to a handler and marks them when they are done.

    Args:
        table: Table that the updates are stored in.
        keeper: Claims the chats that this process handles.
        bot: Bot that receives the updates.
        timings: Intervals and attempt limits.
        alone: Whether no other process of the bot can run.
    """

    def __init__(
        self, table: InboxTable, keeper: LaneKeeper, bot: Bot, timings: Timings, *, alone: bool
    ) -> None:
        self._table = table
        self._bot = bot
        self._alone = alone
        self._stopping = asyncio.Event()
        self._in_flight = InFlightUpdates(Quarantine(timings.quarantine_s))
        self._lanes = OwnedLanes(keeper, self._in_flight, timings, self._admit, self._stopping)
        self._workers = ChatWorkers(
            table, bot, self._in_flight, self._lanes, timings, self._stopping, alone=alone
        )
        self._keeping = asyncio.Lock()

    @property
    def owner(self) -> str:
        """Name of this process in the database."""
        return self._lanes.owner

    @property
    def waiting(self) -> int:
        """Number of updates that are not done, in all processes."""
        return len(self._in_flight) + self._lanes.elsewhere

    def age(self, update: Update) -> float:
        """Return the seconds since this process received an update; 0 once it is done."""
        return self._in_flight.age(update)

    async def start(self, handler: UpdateHandler) -> None:
        """Handle the updates that an earlier process left, and those that are received from now.

        Args:
            handler: Handles them.

        Raises:
            StoreError: The database cannot be used; may be called again.
        """
        self._workers.start(handler)
        await self._lanes.start()

    async def receive(self, updates: Sequence[dict[str, Any]]) -> None:
        """Store updates and enqueue them; they are persistent when this returns.

        Args:
            updates: Updates as Telegram sends them, each with an `update_id`.

        Raises:
            StoreError: They cannot be stored.
        """
        parsed: dict[int, Update] = {}
        rows = []
        for content in updates:
            # Serialised before it is parsed: the library modifies what it parses.
            serialised = json.dumps(content)
            if (update := parse_update(content, self._bot)) is not None:
                parsed[update.update_id] = update
                rows.append((update.update_id, ordering_chat_of(update), serialised))
        owner = self._lanes.owner_of_new(urgent=any(chat is None for _, chat, _ in rows))
        owned = await asyncio.to_thread(self._table.receive, self._bot.id, rows, owner)
        # Earlier updates of these chats may have arrived at other processes.
        earlier = owned - parsed.keys() - self._in_flight.ids
        if earlier:
            await self._admit(await asyncio.to_thread(self._table.load, self._bot.id, earlier))
        for number in sorted(owned & parsed.keys()):
            self._workers.enqueue(parsed[number])

    @asynccontextmanager
    async def keeping(self, update: Update) -> AsyncIterator[bool]:
        """Enter a section that stores data of an update; yield whether it may be stored.

        It may not once the sender, or the owner of the photo that the update is about, has asked
        to be forgotten. A request to be forgotten waits for the section to end, and then deletes
        what was stored in it.
        """
        number = update.update_id
        async with self._keeping:
            if not self._in_flight.may_keep(number):
                yield False
            elif self._alone:
                yield True
            else:
                # The request may arrive at another process, which waits for this lock.
                with ExitStack() as stack:
                    section = self._table.holding(self._bot.id, number)
                    may_keep = await asyncio.to_thread(stack.enter_context, section)
                    yield may_keep
                    await asyncio.to_thread(stack.close)

    async def forget(self, user: int, delete: Callable[[], Awaitable[None]]) -> None:
        """Drop the waiting updates of a user, and store nothing of those about their photos.

        Args:
            user: Id of the user.
            delete: Deletes the stored data of the user.
        """
        # Marked before the deletion, or running handlers would store new data after it.
        self._in_flight.forget(user)
        async with self._keeping:
            of_user, about_user = await asyncio.to_thread(self._find_updates, user)
            await asyncio.to_thread(self._table.forget, self._bot.id, about_user)
            await asyncio.to_thread(self._table.finish, self._bot.id, of_user)
            await delete()

    def _find_updates(self, user: int) -> tuple[list[int], list[int]]:
        """Find unfinished updates: those that a user sent, and those about their photos."""
        of_user, about_user = [], []
        for number, content in self._table.waiting(self._bot.id):
            update = self._read(content)
            if update is not None and is_sent_by(update, user):
                of_user.append(number)
            elif update is not None and is_reply_to(update, user):
                about_user.append(number)
        return of_user, about_user

    def _read(self, content: str) -> Update | None:
        """Parse a stored update; return None where it is damaged."""
        try:
            return parse_update(json.loads(content), self._bot)
        except ValueError:
            return None

    async def stop(self) -> None:
        """Stop handling updates; running handlers get some time to finish, the rest stays."""
        self._stopping.set()
        await self._workers.stop()
        await self._lanes.stop()

    async def _admit(self, stored: Sequence[StoredUpdate]) -> None:
        """Enqueue updates from the database."""
        updates, unreadable = [], []
        for each in stored:
            if self._in_flight.knows(each.number):
                continue  # It was received, or done, while this was read.
            update = self._read(each.payload)
            if update is None:
                unreadable.append(each.number)
                continue
            updates.append(update)
            if each.forgotten:
                self._in_flight.mark_about_forgotten(each.number)
            if each.attempts:
                self._in_flight.quarantine.add(each.number)  # A process died of it, or beside it.
        for update in updates:
            self._workers.enqueue(update)
        if unreadable:
            await asyncio.to_thread(self._table.finish, self._bot.id, unreadable)
