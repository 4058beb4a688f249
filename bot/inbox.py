"""Updates on their way to an answer: none is lost, and each chat gets its own in order."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from telegram import Bot, Update

from core.errors import StoreError
from core.store import Store

__all__ = ["Inbox", "Later", "album_of"]

# Seconds: an album has no end marker.
_QUIET_S, _ALBUM_S = 1.0, 5.0
_MOST_OF_ALBUM = 10
# Seconds between tries of what cannot be answered now.
_PAUSES_S = (5.0, 60.0)

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
    """

    def __init__(
        self, store: Store, bot: Bot, handle: Callable[[Sequence[Update]], Awaitable[None]]
    ) -> None:
        self._store = store
        self._bot = bot
        self._handle = handle
        self._lines: dict[int, _Line] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._seen: dict[int, float] = {}
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
        for _, payload in await asyncio.to_thread(self._store.waiting, self._bot.id):
            self._hand_over(self._read(json.loads(payload)))

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

    def _hand_over(self, update: Update | None) -> None:
        if update is None or update.update_id in self._seen or self._stopping.is_set():
            return
        self._seen[update.update_id] = asyncio.get_running_loop().time()
        chat = _line_of(update)
        key = update.update_id if chat is None else chat
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

    async def _work(self, key: int, line: _Line) -> None:
        try:
            while line.waiting and not self._stopping.is_set():
                first = line.waiting.popleft()
                updates = [first]
                if (album := album_of(first)) is not None:
                    updates += await self._rest_of(album, line)
                    if self._stopping.is_set():
                        return  # All of it stays in the inbox, for one reply.
                await self._until_done(updates)
        finally:
            # Nothing can come between the last look and this: there is no wait.
            if self._lines.get(key) is line:
                del self._lines[key]

    async def _rest_of(self, album: str, line: _Line) -> list[Update]:
        """The other items of an album; what else comes meanwhile waits."""
        clock = asyncio.get_running_loop().time
        until, found = clock() + _ALBUM_S, list[Update]()
        quiet_until = clock() + _QUIET_S
        while len(found) < _MOST_OF_ALBUM - 1 and not self._stopping.is_set():
            mine = [update for update in line.waiting if album_of(update) == album]
            for update in mine:
                line.waiting.remove(update)
            if mine:
                found += mine
                quiet_until = clock() + _QUIET_S
            left = min(until, quiet_until) - clock()
            if left <= 0:
                break
            line.more.clear()
            try:
                await asyncio.wait_for(line.more.wait(), left)
            except TimeoutError:
                continue
        return sorted(found, key=lambda update: update.update_id)

    async def _until_done(self, updates: Sequence[Update]) -> None:
        pause = _PAUSES_S[0]
        while True:
            try:
                await self._handle(updates)
                break
            except Later as later:
                logger.info("An update waits: %s", later)
            except Exception:
                logger.exception("An update could not be handled")
                break
            try:
                await asyncio.wait_for(self._stopping.wait(), pause)
                return  # It stays in the inbox.
            except TimeoutError:
                pause = min(2 * pause, _PAUSES_S[1])
        numbers = [update.update_id for update in updates]
        while True:
            try:
                await asyncio.to_thread(self._store.finish, self._bot.id, numbers)
                break
            except StoreError:
                # Unmarked it would be answered again.
                logger.exception("An answered update cannot be marked yet")
                if self._stopping.is_set():
                    return
                await asyncio.sleep(_PAUSES_S[0])
        for number in numbers:
            self._seen.pop(number, None)


def album_of(update: Update) -> str | None:
    """What the items of one album share; None of an update that is no such item."""
    message = update.message
    return message.media_group_id if message is not None else None


def _line_of(update: Update) -> int | None:
    """The chat whose updates are handled in order; else the person's; None where it has neither."""
    if update.effective_chat is not None:
        return update.effective_chat.id
    return update.effective_user.id if update.effective_user is not None else None
