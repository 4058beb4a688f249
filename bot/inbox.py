"""Persistent queue of updates: at-least-once delivery, in order within each chat.

Several processes may share it: a chat's updates are handled by one of them at a time.
"""

from __future__ import annotations

import asyncio
import bisect
import json
import logging
import math
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from telegram import Bot, Update

from bot.lane_keeper import LaneKeeper
from bot.quarantine import Quarantine
from bot.retry import RetryLater, Service
from bot.tasks import wait_or_stop
from bot.timings import Timings
from bot.updates import (
    album_of,
    chat_id_of,
    has_file,
    is_forget_command,
    is_reply_to,
    is_sent_by,
    parse_update,
)
from core.errors import StoreError
from core.store.inbox import InboxTable, StoredUpdate
from core.store.lanes import Lane

__all__ = ["MAX_WAITING", "Inbox", "UpdateHandler"]

MAX_WAITING = 20_000
"""Updates in memory above which no more are accepted; further ones stay with Telegram."""

_MAX_ALBUM_PHOTOS = 10
# Chats that one process handles at a time, not counting those whose photos are deferred. Others
# are left to processes that have room.
_MAX_LANES = 100
# Ids of handled updates, since one may be delivered again while it is being marked.
_MAX_REMEMBERED = 10_000
# Attempts at an update that may end with the death of the process.
_MAX_UNFINISHED_ATTEMPTS = 2

logger = logging.getLogger(__name__)


class UpdateHandler(Protocol):
    """Handles the updates of an inbox: one, or the items of an album."""

    async def handle(self, updates: Sequence[Update]) -> None:
        """Answer updates; any error but RetryLater counts as done.

        Raises:
            RetryLater: They are to be handled again.
        """

    async def give_up(self, updates: Sequence[Update], error: Exception) -> None:
        """Report updates that Telegram prevents from being answered while it serves other chats.

        They count as done, even if this raises RetryLater.
        """

    async def abandon(self, updates: Sequence[Update]) -> None:
        """Report updates that were being handled twice when the process died.

        Raises:
            RetryLater: They are to be reported again.
        """


@dataclass
class _ChatQueue:
    """Updates of a chat that were not handled yet, by id."""

    waiting: list[Update] = field(default_factory=list)
    added: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True)
class _Unfinished:
    """An update that is not done, and when it was received, by the clock of the event loop."""

    update: Update
    received_at: float


class Inbox:
    """Queue that stores updates, passes them to a handler and marks them when they are done.

    The updates of one chat are handled in order, chats concurrently. An update that cannot be
    answered now is deferred: later photos of the chat wait behind it, and nothing else does. The
    items of an album are handled together.

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
        self._keeper = keeper
        self._alone = alone
        self._bot = bot
        self._timings = timings
        self._handler: UpdateHandler | None = None
        self._queues: dict[Lane, _ChatQueue] = {}
        self._deferred: dict[Lane, deque[Sequence[Update]]] = {}
        # Ids of the updates in memory by lane, and lanes without any that are still owned.
        self._lanes: dict[Lane, set[int]] = {}
        self._emptied: set[Lane] = set()
        self._repeated: list[asyncio.Task[None]] = []
        self._has_ended = False
        # Whether there may be lanes that were left unclaimed for want of room.
        self._left_lanes = False
        self._wants_lanes = asyncio.Event()
        # Of its own: neither a prediction nor a slow query may delay the renewal of the lease.
        self._lease_thread = ThreadPoolExecutor(1, thread_name_prefix="lease")
        self._wants_lease = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._unfinished: dict[int, _Unfinished] = {}
        self._done: dict[int, None] = {}
        self._dropped: set[int] = set()
        # Updates of others about photos of users who have asked to be forgotten since.
        self._about_forgotten: set[int] = set()
        # Updates that are being attempted, or wait for the quarantine of others to end.
        self._attempted: set[int] = set()
        # Updates whose current attempt is counted in the database and has not ended.
        self._begun: set[int] = set()
        self._quarantine = Quarantine(timings.quarantine_s)
        self._keeping = asyncio.Lock()
        self._succeeded_at = -math.inf
        self._stopping = asyncio.Event()

    @property
    def owner(self) -> str:
        """Name of this process in the database."""
        return self._keeper.owner

    @property
    def waiting(self) -> int:
        """Number of updates that are not done, in all processes."""
        return len(self._unfinished) + self._keeper.elsewhere

    def age(self, update: Update) -> float:
        """Return the seconds since this process received an update; 0 once it is done."""
        unfinished = self._unfinished.get(update.update_id)
        return 0.0 if unfinished is None else _now() - unfinished.received_at

    async def start(self, handler: UpdateHandler) -> None:
        """Handle the updates that an earlier process left, and those that are received from now.

        Args:
            handler: Handles them.

        Raises:
            StoreError: The database cannot be used; may be called again.
        """
        self._handler = handler
        await self._renew()
        await self._claim()
        if not self._repeated:
            self._repeated = [
                asyncio.create_task(self._repeat(self._renew, self._wants_lease)),
                asyncio.create_task(self._repeat(self._claim_and_release, self._wants_lanes)),
            ]

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
                rows.append((update.update_id, _chat_of(update), serialised))
        urgent = any(chat is None for _, chat, _ in rows)
        owner = self._keeper.owner if urgent or self._room > 0 else None
        self._left_lanes |= owner is None
        owned = await asyncio.to_thread(self._table.receive, self._bot.id, rows, owner)
        # Earlier updates of these chats may have arrived at other processes.
        earlier = owned - parsed.keys() - self._unfinished.keys()
        if earlier:
            await self._admit(await asyncio.to_thread(self._table.load, self._bot.id, earlier))
        for number in sorted(owned & parsed.keys()):
            self._enqueue(parsed[number])

    @asynccontextmanager
    async def keeping(self, update: Update) -> AsyncIterator[bool]:
        """Enter a section that stores data of an update; yield whether it may be stored.

        It may not once the sender, or the owner of the photo that the update is about, has asked
        to be forgotten. A request to be forgotten waits for the section to end, and then deletes
        what was stored in it.
        """
        number = update.update_id
        async with self._keeping:
            if number in self._dropped or number in self._about_forgotten:
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
        for number, unfinished in self._unfinished.items():
            # Marked before the deletion, or running handlers would store new data after it.
            if is_sent_by(unfinished.update, user):
                self._dropped.add(number)
            elif is_reply_to(unfinished.update, user):
                self._about_forgotten.add(number)
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
        if self._tasks:
            _, running = await asyncio.wait(self._tasks, timeout=self._timings.stop_s)
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        # Attempts that were cancelled here did not kill the process.
        await self._settle(list(self._begun))
        if self._repeated:
            self._has_ended = True
            self._wants_lease.set()
            self._wants_lanes.set()
            # Not cancelled, since a thread that still claims would do so after the process left.
            await asyncio.gather(*self._repeated, return_exceptions=True)
            try:
                await asyncio.to_thread(self._keeper.leave)
            except StoreError:
                logger.exception("Other processes take over this one's chats only later")
        self._lease_thread.shutdown()

    @property
    def _room(self) -> int:
        """Number of lanes that this process can handle in addition to those that it owns."""
        return max(0, _MAX_LANES - max(0, len(self._lanes) - len(self._deferred)))

    async def _repeat(self, act: Callable[[], Awaitable[None]], wake: asyncio.Event) -> None:
        """Do something at intervals and when it is asked for, until all handlers have ended."""
        fails = False
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(wake.wait(), self._timings.claim_s)
            if self._has_ended:
                return
            wake.clear()
            try:
                await act()
            except StoreError as error:
                if not fails:
                    logger.warning("The chats of this process cannot be kept: %s", error)
                fails = True
            else:
                fails = False

    async def _renew(self) -> None:
        """Renew the lease.

        Raises:
            StoreError: The database cannot be used.
        """
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._lease_thread, self._keeper.renew)

    async def _claim(self) -> None:
        """Claim lanes, and enqueue updates of owned lanes that are not in memory.

        Raises:
            StoreError: The database cannot be used.
        """
        room = 0 if self._stopping.is_set() else self._room
        known = frozenset(self._unfinished)
        stored = await asyncio.to_thread(self._keeper.claim, known, room)
        self._left_lanes = self._keeper.claimed == room and not self._stopping.is_set()
        await self._admit(stored)

    async def _claim_and_release(self) -> None:
        """Claim lanes, and give up those that could not be given up before."""
        await self._claim()
        await self._release(())

    async def _admit(self, stored: Sequence[StoredUpdate]) -> None:
        """Enqueue updates from the database."""
        updates, unreadable = [], []
        for each in stored:
            if each.number in self._unfinished or each.number in self._done:
                continue  # It was received, or done, while this was read.
            update = self._read(each.payload)
            if update is None:
                unreadable.append(each.number)
                continue
            updates.append(update)
            if each.forgotten:
                self._about_forgotten.add(each.number)
            if each.attempts:
                self._quarantine.add(each.number)  # A process died of it, or beside it.
        for update in updates:
            self._enqueue(update)
        if unreadable:
            await asyncio.to_thread(self._table.finish, self._bot.id, unreadable)

    async def _release(self, lanes: Collection[Lane]) -> None:
        """Give up lanes without updates; those that have got some meanwhile go on.

        Raises:
            StoreError: The database cannot be used; they are given up at a later call.
        """
        self._emptied.update(lanes)
        empty = {lane for lane in self._emptied if lane not in self._lanes}
        self._emptied &= empty
        if empty:
            more = await asyncio.to_thread(self._keeper.release, empty)
            self._emptied -= empty
            await self._admit(more)
        if self._left_lanes and self._room >= _MAX_LANES // 4:
            self._wants_lanes.set()

    def _enqueue(self, update: Update) -> None:
        number = update.update_id
        if number in self._unfinished or number in self._done or self._stopping.is_set():
            return
        self._unfinished[number] = _Unfinished(update, _now())
        key = Lane.of(number, _chat_of(update))
        self._lanes.setdefault(key, set()).add(number)
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = _ChatQueue()
            self._start_task(self._work(key, queue))
        # Webhooks deliver updates concurrently, so they may arrive out of order.
        bisect.insort(queue.waiting, update, key=lambda each: each.update_id)
        queue.added.set()

    def _start_task(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self, key: Lane, queue: _ChatQueue) -> None:
        """Handle the updates of a chat in order; defer those that cannot be answered now."""
        try:
            while queue.waiting and not self._stopping.is_set():
                updates = [queue.waiting.pop(0)]
                if (album := album_of(updates[0])) is not None:
                    await self._collect_album(album, queue, updates)
                    if self._stopping.is_set():
                        return  # The whole album stays stored, to be answered with one reply.
                photos = any(map(has_file, updates))
                if photos and key in self._deferred:
                    self._deferred[key].append(updates)
                elif await self._attempt(updates) is not None:
                    # Only photos keep their order while they are deferred.
                    alone = Lane.of(updates[0].update_id, None)
                    self._defer(key if photos else alone, updates)
        finally:
            # There is no await between the last check for updates and this.
            if self._queues.get(key) is queue:
                del self._queues[key]

    def _defer(self, key: Lane, updates: Sequence[Update]) -> None:
        queue = self._deferred[key] = deque([updates])
        self._start_task(self._work_deferred(key, queue))

    async def _work_deferred(self, key: Lane, queue: deque[Sequence[Update]]) -> None:
        """Handle deferred updates in order; the first one was attempted once."""
        backoff = self._timings.retry
        pause, attempts, began_at = backoff.first_s, 1, _now()
        try:
            while queue and not self._stopping.is_set():
                if attempts and await wait_or_stop(self._stopping, pause):
                    return  # They stay in the inbox.
                if not queue:
                    return  # The lane was lost in the meantime.
                updates = queue[0]
                later = await self._attempt(updates)
                if later is not None and not queue:
                    self._lose(updates)
                elif later is not None:
                    attempts, pause = attempts + 1, backoff.next(pause)
                    others_succeed = self._succeeded_at > began_at
                    exhausted = attempts >= self._timings.max_attempts and others_succeed
                    if later.service is not Service.TELEGRAM or not exhausted:
                        continue
                    with suppress(RetryLater):
                        await self._handlers.give_up(updates, later.error)
                    await self._finish(updates)
                if queue and queue[0] is updates:  # Unless the lane was lost in the meantime.
                    queue.popleft()
                pause, attempts, began_at = backoff.first_s, 0, _now()
        finally:
            del self._deferred[key]  # Without an await since the last check, as in `_work`.

    async def _collect_album(self, album: str, queue: _ChatQueue, updates: list[Update]) -> None:
        """Add the other items of an album; updates that arrive in the meantime wait."""
        is_complete = False
        ends_at = _now() + self._timings.album_max_s
        quiet_at = _now() + self._timings.album_quiet_s
        while len(updates) < _MAX_ALBUM_PHOTOS and not self._stopping.is_set():
            items = [update for update in queue.waiting if album_of(update) == album]
            for update in items:
                queue.waiting.remove(update)
            if items:
                updates += items
                quiet_at = _now() + self._timings.album_quiet_s
            left = min(ends_at, quiet_at) - _now()
            if left <= 0 and (self._alone or is_complete):
                break
            is_complete = left <= 0
            if is_complete:
                # Items may have arrived at other processes.
                with suppress(StoreError):
                    await self._claim()
                continue
            queue.added.clear()
            try:
                await asyncio.wait_for(queue.added.wait(), left)
            except TimeoutError:
                continue
        updates.sort(key=lambda update: update.update_id)

    @property
    def _handlers(self) -> UpdateHandler:
        if self._handler is None:
            raise RuntimeError("The inbox received an update before it was started.")
        return self._handler

    async def _attempt(self, updates: Sequence[Update]) -> RetryLater | None:
        """Handle updates; return why they are to be handled again, or None when they are done."""
        self._attempted.update(update.update_id for update in updates)
        try:
            async with self._quarantine.section(updates):
                return await self._attempt_now(updates)
        finally:
            self._attempted.difference_update(update.update_id for update in updates)

    async def _attempt_now(self, updates: Sequence[Update]) -> RetryLater | None:
        """Handle updates as `_attempt` does, without waiting for others."""
        numbers = [update.update_id for update in updates]
        if not self._dropped.issuperset(numbers):
            try:
                begun = await self._begin(numbers)
                if begun is None:
                    self._lose(updates)
                    return None
                if begun:
                    await self._handlers.handle(updates)
                    self._succeeded_at = _now()
                else:
                    await self._handlers.abandon(updates)
            except RetryLater as later:
                logger.info("An update is deferred: %s", later)
                await self._settle([each for each in numbers if each in self._begun])
                return later
            except Exception:
                logger.exception("An update could not be handled")
        await self._finish(updates)
        return None

    async def _begin(self, numbers: Sequence[int]) -> bool | None:
        """Count an attempt; return False where too many attempts ended with the process.

        None where this process is not to handle the updates any more.

        Raises:
            RetryLater: It cannot be counted.
        """
        new = [number for number in numbers if number not in self._begun]
        if not new:
            return True
        try:
            unfinished = await asyncio.to_thread(
                self._table.begin,
                *(self._bot.id, new, _MAX_UNFINISHED_ATTEMPTS, self._keeper.owner),
            )
        except StoreError as error:
            raise RetryLater(Service.DATABASE, error) from error
        if unfinished is None:
            return None
        if unfinished >= _MAX_UNFINISHED_ATTEMPTS:
            return False
        self._begun.update(new)
        return True

    async def _settle(self, numbers: Sequence[int]) -> None:
        """Record that attempts ended without killing the process."""
        if not numbers:
            return
        try:
            await asyncio.to_thread(self._table.settle, self._bot.id, numbers, self.owner)
        except StoreError:
            logger.exception("The end of attempts at updates could not be recorded")
        else:
            self._begun.difference_update(numbers)

    async def _finish(self, updates: Sequence[Update]) -> None:
        """Mark updates as done."""
        numbers = [update.update_id for update in updates]
        while True:
            try:
                await asyncio.to_thread(self._table.finish, self._bot.id, numbers)
                break
            except StoreError:
                # Without the mark they would be answered again after a restart.
                logger.exception("Answered updates could not be marked as done")
                if self._stopping.is_set():
                    return
                await asyncio.sleep(self._timings.retry.first_s)
        for number in numbers:
            self._done[number] = None
        while len(self._done) > _MAX_REMEMBERED:
            del self._done[next(iter(self._done))]
        try:
            await self._release(self._remove(numbers))
        except StoreError:
            logger.exception("A chat could not be given up yet")

    def _lose(self, updates: Sequence[Update]) -> None:
        """Remove updates and those after them from memory, as another process may own the lane.

        If none does, the next claim returns all of them, in order.
        """
        own = {update.update_id for update in updates}
        lane = Lane.of(updates[0].update_id, _chat_of(updates[0]))
        logger.info("The lease on %s updates is lost", len(self._lanes.get(lane, ())))
        if (queue := self._queues.get(lane)) is not None:
            queue.waiting.clear()
        if (deferred := self._deferred.get(lane)) is not None:
            deferred.clear()
        others = self._lanes.get(lane, set()) - self._attempted
        self._emptied.update(self._remove(own | others))

    def _remove(self, numbers: Collection[int]) -> set[Lane]:
        """Remove updates from memory; return the lanes that have no others."""
        emptied = set()
        for number in numbers:
            unfinished = self._unfinished.pop(number, None)
            self._begun.discard(number)
            self._dropped.discard(number)
            self._about_forgotten.discard(number)
            if unfinished is not None:
                lane = Lane.of(number, _chat_of(unfinished.update))
                self._lanes[lane].discard(number)
                if not self._lanes[lane]:
                    del self._lanes[lane]
                    emptied.add(lane)
        self._quarantine.discard(numbers)
        return emptied


def _chat_of(update: Update) -> int | None:
    """Return the chat in whose order an update is handled; None for one that is handled alone."""
    # A request to be forgotten does not wait for answers.
    return None if is_forget_command(update) else chat_id_of(update)


def _now() -> float:
    return asyncio.get_running_loop().time()
