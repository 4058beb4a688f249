"""Updates on their way to an answer: none is lost, and each chat gets its own in order."""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

from telegram import Bot, Update
from telegram.error import NetworkError

from core.errors import StoreError
from core.store import Store

__all__ = ["Inbox", "Later", "album_of"]

# Seconds: an album has no end marker.
_QUIET_S, _ALBUM_S = 1.0, 5.0
_MOST_OF_ALBUM = 10
# Seconds between tries of what cannot be answered now.
_PAUSES_S = (5.0, 60.0)
# Of one update where others are answered meanwhile: ten minutes or so.
_MOST_TRIES = 12

logger = logging.getLogger(__name__)


class Later(Exception):  # noqa: N818  # no error: what cannot be done now is done later
    """An update cannot be answered now; it stays in the inbox and is handled again."""


@dataclass
class _Line:
    """What a chat sent, and has no answer yet."""

    waiting: deque[Update] = field(default_factory=deque)
    more: asyncio.Event = field(default_factory=asyncio.Event)


class Inbox:
    """Writes updates down, hands them to a handler, and marks them once that is done.

    Those of one chat are handled in order, chats side by side. The items of an album are handed
    over together, once no more have come for a second, or five seconds after the first.

    Args:
        store: Where they are written down.
        bot: Whose they are.
        handle: Answers updates: one, or the items of an album. What raises `Later` is handled
            again after a while, and again; whatever else it raises is its own to tell of before,
            and counts as done.
        give_up: Hears of updates that Telegram keeps from being answered, while it does not keep
            others; they count as done.
    """

    def __init__(
        self,
        store: Store,
        bot: Bot,
        handle: Callable[[Sequence[Update]], Awaitable[None]],
        give_up: Callable[[Sequence[Update], BaseException], Awaitable[None]],
    ) -> None:
        self._store = store
        self._bot = bot
        self._handle = handle
        self._give_up = give_up
        self._lines: dict[Hashable, _Line] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._seen: dict[int, float] = {}
        self._running: dict[int, Update] = {}
        self._dropped: set[int] = set()
        self._succeeded_at = -math.inf
        self._stopping = asyncio.Event()

    @property
    def waiting(self) -> int:
        """Updates that have no answer yet."""
        return len(self._seen)

    def age(self, update: Update) -> float:
        """Seconds since an update was taken, by this process."""
        now = asyncio.get_running_loop().time()
        return now - self._seen.get(update.update_id, now)

    async def receive(self, updates: Sequence[dict[str, Any]]) -> None:
        """Take updates; they are written down when this returns.

        Args:
            updates: As Telegram sends them, each with an `update_id`.

        Raises:
            StoreError: They cannot be written down.
        """
        parsed: dict[int, Update] = {}
        rows = []
        for each in updates:
            # Before it is read: the library changes what it reads.
            written = json.dumps(each)
            if (update := self._read(each)) is not None:
                parsed[update.update_id] = update
                rows.append((update.update_id, _line_of(update), written))
        new = await asyncio.to_thread(self._store.receive, self._bot.id, rows)
        # What was there already is done, or on its way.
        for number in sorted(new):
            self._hand_over(parsed[number])

    async def replay(self) -> None:
        """Hand over what was written down and has no answer: what a crash left."""
        unreadable = []
        for number, payload in await asyncio.to_thread(self._store.waiting, self._bot.id):
            update = self._read(json.loads(payload))
            if update is None:
                unreadable.append(number)
            else:
                self._hand_over(update)
        await asyncio.to_thread(self._store.finish, self._bot.id, unreadable)

    def is_dropped(self, update: Update) -> bool:
        """Whether its sender asked to be forgotten since."""
        return update.update_id in self._dropped

    async def drop(self, user: int) -> None:
        """Answer nothing more of what a person has sent by now."""
        mine = []
        for line in self._lines.values():
            for update in [each for each in line.waiting if _is_of(each, user)]:
                line.waiting.remove(update)
                mine.append(update.update_id)
        self._dropped |= {number for number, each in self._running.items() if _is_of(each, user)}
        await self._finish(mine)

    def _read(self, update: dict[str, Any]) -> Update | None:
        """An update as the library has it; None where it is none that it knows."""
        try:
            read = Update.de_json(update, self._bot)
            for of in (read.effective_chat, read.effective_user):
                # The library takes anything as an id.
                if of is not None and type(of.id) is not int:
                    raise TypeError("an id is no number")
            return read
        except Exception as error:  # noqa: BLE001  # whatever a parser raises on what it never saw
            # Not what was in it: that may be anything that somebody wrote.
            number, kind = update.get("update_id"), type(error).__name__
            logger.warning("Update %s cannot be read (%s) and is left out", number, kind)
            return None

    def _hand_over(self, update: Update) -> None:
        if update.update_id in self._seen or self._stopping.is_set():
            return
        self._seen[update.update_id] = asyncio.get_running_loop().time()
        chat = _line_of(update)
        # Who wants to be forgotten does not wait for answers.
        apart = chat is None or _is_forget(update)
        key: Hashable = (update.update_id,) if apart else chat
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = _Line()
            task = asyncio.create_task(self._work(key, line))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        line.waiting.append(update)
        line.more.set()

    async def stop(self, within_s: float) -> None:
        """Take no more; let what runs come to its end, but not for ever. The rest stays."""
        self._stopping.set()
        if self._tasks:
            _, running = await asyncio.wait(self._tasks, timeout=within_s)
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _work(self, key: Hashable, line: _Line) -> None:
        try:
            while line.waiting and not self._stopping.is_set():
                updates = [line.waiting.popleft()]
                try:
                    await self._next(updates, line)
                finally:
                    for update in updates:
                        self._running.pop(update.update_id, None)
                        self._dropped.discard(update.update_id)
        finally:
            # Nothing can come between the last look and this: there is no wait.
            if self._lines.get(key) is line:
                del self._lines[key]

    async def _next(self, updates: list[Update], line: _Line) -> None:
        """Answer an update; with it the other items of its album, which are added to the list."""
        (first,) = updates
        self._running[first.update_id] = first
        if (album := album_of(first)) is not None:
            await self._add_rest(album, line, updates)
            if self._stopping.is_set():
                return  # All of it stays in the inbox, for one reply.
        await self._until_done(updates)

    async def _add_rest(self, album: str, line: _Line, updates: list[Update]) -> None:
        """Add the other items of an album; what else comes meanwhile waits."""
        clock = asyncio.get_running_loop().time
        until, quiet_until = clock() + _ALBUM_S, clock() + _QUIET_S
        while len(updates) < _MOST_OF_ALBUM and not self._stopping.is_set():
            mine = [update for update in line.waiting if album_of(update) == album]
            for update in mine:
                line.waiting.remove(update)
                self._running[update.update_id] = update
            if mine:
                updates += mine
                quiet_until = clock() + _QUIET_S
            left = min(until, quiet_until) - clock()
            if left <= 0:
                break
            line.more.clear()
            try:
                await asyncio.wait_for(line.more.wait(), left)
            except TimeoutError:
                continue
        updates.sort(key=lambda update: update.update_id)

    async def _until_done(self, updates: Sequence[Update]) -> None:
        clock = asyncio.get_running_loop().time
        pause, tries, began = _PAUSES_S[0], 0, clock()
        numbers = [update.update_id for update in updates]
        while not self._dropped.issuperset(numbers):
            try:
                await self._handle(updates)
                self._succeeded_at = clock()
                break
            except Later as later:
                logger.info("An update waits: %s", later)
                tries += 1
                why = later.__cause__
                others_do = self._succeeded_at > began
                if isinstance(why, NetworkError) and tries >= _MOST_TRIES and others_do:
                    await self._give_up(updates, why)
                    break
            except Exception:
                logger.exception("An update could not be handled")
                break
            try:
                await asyncio.wait_for(self._stopping.wait(), pause)
                return  # It stays in the inbox.
            except TimeoutError:
                pause = min(2 * pause, _PAUSES_S[1])
        await self._finish(numbers)

    async def _finish(self, numbers: Sequence[int]) -> None:
        """Mark updates as done."""
        while True:
            try:
                await asyncio.to_thread(self._store.finish, self._bot.id, numbers)
                break
            except StoreError:
                # Unmarked they would be answered again.
                logger.exception("Answered updates cannot be marked yet")
                if self._stopping.is_set():
                    return
                await asyncio.sleep(_PAUSES_S[0])
        for number in numbers:
            self._seen.pop(number, None)


def album_of(update: Update) -> str | None:
    """What the items of one album share; None of an update that is no such item."""
    message = update.message
    return message.media_group_id if message is not None else None


def _is_forget(update: Update) -> bool:
    message = update.message
    text = message.text if message is not None else None
    # The library takes anything as a text.
    return isinstance(text, str) and text.split("@")[0].strip().lower() == "/forget"


def _is_of(update: Update, user: int) -> bool:
    """Whether a person sent an update, other than to be forgotten."""
    sender = update.effective_user
    return sender is not None and sender.id == user and not _is_forget(update)


def _line_of(update: Update) -> int | None:
    """The chat whose updates are handled in order; else the person's; None where it has neither."""
    if update.effective_chat is not None:
        return update.effective_chat.id
    return update.effective_user.id if update.effective_user is not None else None
