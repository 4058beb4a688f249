"""Handle updates: in order within each chat, chats concurrently, albums as a whole."""

from __future__ import annotations

import asyncio
import bisect
import logging
import math
from collections import deque
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Protocol

from telegram import Bot, Update

from bot.in_flight import InFlightUpdates, lane_of
from bot.owned_lanes import OwnedLanes
from bot.retry import RetryLater, Service
from bot.tasks import wait_or_stop
from bot.timings import Timings
from bot.updates import album_of, has_file
from core.errors import StoreError
from core.store.inbox import InboxTable
from core.store.lanes import Lane

__all__ = ["ChatWorkers", "UpdateHandler"]

_MAX_ALBUM_PHOTOS = 10
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


class _Beginning(Enum):
    """Result of beginning an attempt."""

    COUNTED = auto()
    EXHAUSTED = auto()  # Too many attempts ended with the process.
    LOST = auto()  # Another process may own the lane.


@dataclass
class _ChatQueue:
    """Updates of a chat that were not handled yet, by id."""

    waiting: list[Update] = field(default_factory=list)
    added: asyncio.Event = field(default_factory=asyncio.Event)


class ChatWorkers:
    """One worker for each chat that has updates, and one for its deferred photos.

    An update that cannot be answered now is deferred: later photos of the chat wait behind it, and
    nothing else does. Every attempt is counted in the database before it begins, so that an update
    which kills the process is reported instead of being tried again and again.

    Args:
        table: Table that the updates are stored in.
        bot: Bot that received the updates.
        in_flight: Updates in memory.
        lanes: Lanes that this process owns.
        timings: Intervals and attempt limits.
        stopping: Set when the bot stops: no more updates are handled.
        alone: Whether no other process of the bot can run.
    """

    def __init__(
        self,
        table: InboxTable,
        bot: Bot,
        in_flight: InFlightUpdates,
        lanes: OwnedLanes,
        timings: Timings,
        stopping: asyncio.Event,
        *,
        alone: bool,
    ) -> None:
        self._table = table
        self._bot = bot
        self._in_flight = in_flight
        self._lanes = lanes
        self._timings = timings
        self._stopping = stopping
        self._alone = alone
        self._handler: UpdateHandler | None = None
        self._queues: dict[Lane, _ChatQueue] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._succeeded_at = -math.inf

    def start(self, handler: UpdateHandler) -> None:
        """Set the handler; call it before the first update is enqueued."""
        self._handler = handler

    def enqueue(self, update: Update) -> None:
        """Handle an update after those before it in its chat.

        One that is in flight or was finished lately is ignored, and any update once the bot stops.
        """
        number = update.update_id
        if self._in_flight.knows(number) or self._stopping.is_set():
            return
        lane = self._in_flight.add(update)
        queue = self._queues.get(lane)
        if queue is None:
            queue = self._queues[lane] = _ChatQueue()
            self._start_task(self._work(lane, queue))
        # Webhooks deliver updates concurrently, so they may arrive out of order.
        bisect.insort(queue.waiting, update, key=lambda each: each.update_id)
        queue.added.set()

    async def stop(self) -> None:
        """Give running handlers some time to finish, and cancel them then."""
        if self._tasks:
            _, running = await asyncio.wait(self._tasks, timeout=self._timings.stop_s)
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        # Attempts that were cancelled here did not kill the process.
        await self._settle(list(self._in_flight.begun))

    def _start_task(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self, lane: Lane, queue: _ChatQueue) -> None:
        """Handle the updates of a chat in order; defer those that cannot be answered now."""
        try:
            while queue.waiting and not self._stopping.is_set():
                updates = [queue.waiting.pop(0)]
                if (album := album_of(updates[0])) is not None:
                    await self._collect_album(album, queue, updates)
                    if self._stopping.is_set():
                        return  # The whole album stays stored, to be answered with one reply.
                photos = any(map(has_file, updates))
                if photos and lane in self._in_flight.deferred:
                    self._in_flight.deferred[lane].append(updates)
                elif await self._attempt(updates) is not None:
                    # Only photos keep their order while they are deferred.
                    own_lane = Lane.of(updates[0].update_id, None)
                    self._defer(lane if photos else own_lane, updates)
        finally:
            # There is no await between the last check for updates and this.
            if self._queues.get(lane) is queue:
                del self._queues[lane]

    def _defer(self, lane: Lane, updates: Sequence[Update]) -> None:
        queue = self._in_flight.deferred[lane] = deque([updates])
        self._start_task(self._work_deferred(lane, queue))

    async def _work_deferred(self, lane: Lane, queue: deque[Sequence[Update]]) -> None:
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
                    self._drop_lost(updates)
                elif later is not None:
                    attempts, pause = attempts + 1, backoff.next(pause)
                    others_succeed = self._succeeded_at > began_at
                    exhausted = attempts >= self._timings.max_attempts and others_succeed
                    if later.service is not Service.TELEGRAM or not exhausted:
                        continue
                    with suppress(RetryLater):
                        await self._started_handler.give_up(updates, later.error)
                    await self._finish(updates)
                if queue and queue[0] is updates:  # Unless the lane was lost in the meantime.
                    queue.popleft()
                pause, attempts, began_at = backoff.first_s, 0, _now()
        finally:
            # There is no await between the last check for updates and this, as in `_work`.
            del self._in_flight.deferred[lane]

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
                    await self._lanes.claim()
                continue
            queue.added.clear()
            try:
                await asyncio.wait_for(queue.added.wait(), left)
            except TimeoutError:
                continue
        updates.sort(key=lambda update: update.update_id)

    @property
    def _started_handler(self) -> UpdateHandler:
        if self._handler is None:
            raise RuntimeError("The inbox received an update before it was started.")
        return self._handler

    async def _attempt(self, updates: Sequence[Update]) -> RetryLater | None:
        """Handle updates; return why they are to be handled again, or None when they are done."""
        self._in_flight.attempted.update(update.update_id for update in updates)
        try:
            async with self._in_flight.quarantine.section(updates):
                return await self._attempt_now(updates)
        finally:
            self._in_flight.attempted.difference_update(update.update_id for update in updates)

    async def _attempt_now(self, updates: Sequence[Update]) -> RetryLater | None:
        """Handle updates as `_attempt` does, without waiting for others."""
        numbers = [update.update_id for update in updates]
        if not self._in_flight.are_dropped(numbers):
            try:
                match await self._begin(numbers):
                    case _Beginning.LOST:
                        self._drop_lost(updates)
                        return None
                    case _Beginning.COUNTED:
                        await self._started_handler.handle(updates)
                        self._succeeded_at = _now()
                    case _Beginning.EXHAUSTED:
                        await self._started_handler.abandon(updates)
            except RetryLater as later:
                logger.info("An update is deferred: %s", later)
                await self._settle([each for each in numbers if each in self._in_flight.begun])
                return later
            except Exception:
                logger.exception("An update could not be handled")
        await self._finish(updates)
        return None

    async def _begin(self, numbers: Sequence[int]) -> _Beginning:
        """Count an attempt at updates, unless they must not be attempted.

        Raises:
            RetryLater: It cannot be counted.
        """
        new = [number for number in numbers if number not in self._in_flight.begun]
        if not new:
            return _Beginning.COUNTED
        try:
            unfinished = await asyncio.to_thread(
                self._table.begin, self._bot.id, new, _MAX_UNFINISHED_ATTEMPTS, self._lanes.owner
            )
        except StoreError as error:
            raise RetryLater(Service.DATABASE, error) from error
        if unfinished is None:
            return _Beginning.LOST
        if unfinished >= _MAX_UNFINISHED_ATTEMPTS:
            return _Beginning.EXHAUSTED
        self._in_flight.begun.update(new)
        return _Beginning.COUNTED

    async def _settle(self, numbers: Sequence[int]) -> None:
        """Record that attempts ended without killing the process."""
        if not numbers:
            return
        try:
            await asyncio.to_thread(self._table.settle, self._bot.id, numbers, self._lanes.owner)
        except StoreError:
            logger.exception("The end of attempts at updates could not be recorded")
        else:
            self._in_flight.begun.difference_update(numbers)

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
        try:
            await self._lanes.release(self._in_flight.finish(numbers))
        except StoreError:
            logger.exception("A chat could not be released; this is tried again")

    def _drop_lost(self, updates: Sequence[Update]) -> None:
        """Remove updates and those after them from memory, as another process may own the lane.

        If none does, the next claim returns all of them, in order.
        """
        own = {update.update_id for update in updates}
        lane = lane_of(updates[0])
        in_lane = self._in_flight.of_lane(lane)
        logger.info(
            "The lease on %s updates was lost; another process may handle them", len(in_lane)
        )
        if (queue := self._queues.get(lane)) is not None:
            queue.waiting.clear()
        if (deferred := self._in_flight.deferred.get(lane)) is not None:
            deferred.clear()
        others = in_lane - self._in_flight.attempted
        self._lanes.release_later(self._in_flight.remove(own | others))


def _now() -> float:
    return asyncio.get_running_loop().time()
