"""Updates on their way to an answer: none is lost, and each chat gets its own in order."""

from __future__ import annotations

import asyncio
import bisect
import json
import logging
import math
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Hashable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from telegram import Bot, Update
from telegram.error import NetworkError

from core.errors import StoreError
from core.store.store import Store

__all__ = ["Inbox", "RetryLater", "album_of"]

# Seconds: an album has no end marker.
_QUIET_S, _ALBUM_S = 1.0, 5.0
_MAX_ALBUM_PHOTOS = 10
# Seconds between tries of what cannot be answered now.
_PAUSES_S = (5.0, 60.0)
# Of one update where others are answered meanwhile: ten minutes or so.
_MAX_ATTEMPTS = 12
# Updates that were answered: one may come once more while it is marked.
_REMEMBERED = 10_000
# Attempts at an update that may end with the end of the process.
_MAX_UNFINISHED_ATTEMPTS = 2
# Seconds after a start that other updates wait for those that the last process died with.
_ALONE_S = 10.0
# What a database takes as an id.
_IDS = range(-(2**63), 2**63)

logger = logging.getLogger(__name__)


class RetryLater(Exception):  # noqa: N818  # no error: what cannot be done now is done later
    """An update cannot be answered now; it stays in the inbox and is handled again."""


@dataclass
class _Line:
    """What a chat sent, and nobody has looked at yet; by number."""

    waiting: list[Update] = field(default_factory=list)
    more: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True)
class _Taken:
    """An update that is not done, and when it was taken."""

    update: Update
    at: float


class Inbox:
    """Writes updates down, hands them to a handler, and marks them once that is done.

    Those of one chat are handled in order, chats side by side. What cannot be answered now is put
    off: the photos that come after it wait behind it, and nothing else does. The items of an album
    are handed over together, once no more have come for a second, or five seconds after the first.

    Args:
        store: Where they are written down.
        bot: Whose they are.
        handle: Answers updates: one, or the items of an album. What raises `RetryLater` is handled
            again after a while, and again; whatever else it raises is its own to tell of before,
            and counts as done.
        give_up: Hears of updates that Telegram keeps from being answered, while it does not keep
            others; they count as done, also where it raises `RetryLater`.
        abandon: Hears, in place of `handle`, of updates that were being handled twice when the
            process died. What raises `RetryLater` is told again; else they count as done.
    """

    def __init__(
        self,
        store: Store,
        bot: Bot,
        handle: Callable[[Sequence[Update]], Awaitable[None]],
        give_up: Callable[[Sequence[Update], BaseException], Awaitable[None]],
        abandon: Callable[[Sequence[Update]], Awaitable[None]],
    ) -> None:
        self._store = store
        self._bot = bot
        self._handle = handle
        self._give_up = give_up
        self._abandon = abandon
        self._lines: dict[Hashable, _Line] = {}
        self._put_off: dict[Hashable, deque[Sequence[Update]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._taken: dict[int, _Taken] = {}
        self._done: dict[int, None] = {}
        self._dropped: set[int] = set()
        # Others asked these about photos of people who asked to be forgotten since.
        self._about_forgotten: set[int] = set()
        # Of these, this process has counted an attempt that the database does not know ended.
        self._begun: set[int] = set()
        # What the last process died with is handled one at a time: where one of them kills this
        # process too, that attempt is counted for it alone.
        self._suspects: set[int] = set()
        self._alone = asyncio.Lock()
        self._no_suspects = asyncio.Event()
        self._alone_until = -math.inf
        self._keeping = asyncio.Lock()
        self._succeeded_at = -math.inf
        self._stopping = asyncio.Event()

    @property
    def waiting(self) -> int:
        """Updates that have no answer yet."""
        return len(self._taken)

    def age(self, update: Update) -> float:
        """Seconds since an update was taken, by this process."""
        taken = self._taken.get(update.update_id)
        return 0.0 if taken is None else asyncio.get_running_loop().time() - taken.at

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
        undone = await asyncio.to_thread(self._store.inbox.receive, self._bot.id, rows)
        for number in sorted(undone):
            self._hand_over(parsed[number])

    async def replay(self) -> None:
        """Hand over what was written down and has no answer: what a crash left."""
        self._suspects = await asyncio.to_thread(self._store.inbox.unsettled, self._bot.id)
        self._about_forgotten |= await asyncio.to_thread(self._store.inbox.forgotten, self._bot.id)
        self._alone_until = asyncio.get_running_loop().time() + _ALONE_S
        unreadable = []
        for number, payload in await asyncio.to_thread(self._store.inbox.waiting, self._bot.id):
            update = self._read(json.loads(payload))
            if update is None:
                unreadable.append(number)
            else:
                self._hand_over(update)
        await asyncio.to_thread(self._store.inbox.finish, self._bot.id, unreadable)
        self._suspects.difference_update(unreadable)

    @asynccontextmanager
    async def keeping(self, update: Update) -> AsyncIterator[bool]:
        """Whether something may be kept of an update.

        Not once who sent it, or the photo that it is about, asked to be forgotten. Who asks
        meanwhile is forgotten afterwards, with what was kept here.
        """
        async with self._keeping:
            yield update.update_id not in self._dropped | self._about_forgotten

    async def drop(self, user: int, forget: Callable[[], Awaitable[None]]) -> None:
        """Answer nothing more of what a person has sent by now, and keep nothing of it.

        Args:
            user: Their id.
            forget: Deletes what is kept of them.
        """
        mine, about_mine = [], []
        for number, taken in self._taken.items():
            if _is_of(taken.update, user):
                mine.append(number)
            elif _is_about(taken.update, user):
                about_mine.append(number)
        # First what waits, which would be kept again.
        self._dropped.update(mine)
        self._about_forgotten.update(about_mine)
        inbox = self._store.inbox
        async with self._keeping:
            await asyncio.to_thread(inbox.forget, self._bot.id, about_mine)
            await asyncio.to_thread(inbox.finish, self._bot.id, mine)
            await forget()

    def _read(self, update: dict[str, Any]) -> Update | None:
        """An update as the library has it; None where it is none that it knows."""
        try:
            read = Update.de_json(update, self._bot)
            if read.effective_message is not None and read.effective_chat is None:
                raise TypeError("a message is of no chat")
            ids = [of.id for of in (read.effective_chat, read.effective_user) if of is not None]
            # The library takes anything as an id.
            if any(
                type(number) is not int or number not in _IDS for number in (*ids, read.update_id)
            ):
                raise TypeError("an id is no number, or too large")
            return read
        except Exception as error:  # noqa: BLE001  # whatever a parser raises on what it never saw
            # Not what was in it: that may be anything that somebody wrote.
            number, kind = update.get("update_id"), type(error).__name__
            logger.warning("Update %s cannot be read (%s) and is left out", number, kind)
            return None

    def _hand_over(self, update: Update) -> None:
        number = update.update_id
        if number in self._taken or number in self._done or self._stopping.is_set():
            return
        self._taken[number] = _Taken(update, asyncio.get_running_loop().time())
        chat = _line_of(update)
        # Who wants to be forgotten does not wait for answers.
        apart = chat is None or _is_forget(update)
        key: Hashable = (number,) if apart else chat
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = _Line()
            self._start(self._work(key, line))
        # Webhooks come side by side.
        bisect.insort(line.waiting, update, key=lambda each: each.update_id)
        line.more.set()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self, within_s: float) -> None:
        """Take no more; let what runs come to its end, but not for ever. The rest stays."""
        self._stopping.set()
        if self._tasks:
            _, running = await asyncio.wait(self._tasks, timeout=within_s)
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        # What was broken off on purpose has killed nothing.
        await self._settle(list(self._begun))

    async def _work(self, key: Hashable, line: _Line) -> None:
        """Answer what a chat sends, one after the other; put off what cannot be answered now."""
        try:
            while line.waiting and not self._stopping.is_set():
                updates = [line.waiting.pop(0)]
                if (album := album_of(updates[0])) is not None:
                    await self._add_rest(album, line, updates)
                    if self._stopping.is_set():
                        return  # All of it stays in the inbox, for one reply.
                photos = any(map(_has_file, updates))
                if photos and key in self._put_off:
                    self._put_off[key].append(updates)
                elif await self._try(updates) is not None:
                    # What is no photo keeps no place before others.
                    self._put_off_till_later(key if photos else (updates[0].update_id,), updates)
        finally:
            # Nothing can come between the last look and this: there is no wait.
            if self._lines.get(key) is line:
                del self._lines[key]

    def _put_off_till_later(self, key: Hashable, updates: Sequence[Update]) -> None:
        line = self._put_off[key] = deque([updates])
        self._start(self._work_off(key, line))

    async def _work_off(self, key: Hashable, line: deque[Sequence[Update]]) -> None:
        """Answer what was put off; the first of it was tried once."""
        clock = asyncio.get_running_loop().time
        pause, tries, began = _PAUSES_S[0], 1, clock()
        try:
            while line and not self._stopping.is_set():
                if tries and await self._is_stopped_within(pause):
                    return  # It stays in the inbox.
                later = await self._try(line[0])
                if later is not None:
                    tries, pause = tries + 1, min(2 * pause, _PAUSES_S[1])
                    why = later.__cause__
                    others_do = self._succeeded_at > began
                    if not (isinstance(why, NetworkError) and tries >= _MAX_ATTEMPTS and others_do):
                        continue
                    with suppress(RetryLater):
                        await self._give_up(line[0], why)
                    await self._finish(line[0])
                line.popleft()
                pause, tries, began = _PAUSES_S[0], 0, clock()
        finally:
            del self._put_off[key]  # as above

    async def _is_stopped_within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return False
        return True

    async def _add_rest(self, album: str, line: _Line, updates: list[Update]) -> None:
        """Add the other items of an album; what else comes meanwhile waits."""
        clock = asyncio.get_running_loop().time
        until, quiet_until = clock() + _ALBUM_S, clock() + _QUIET_S
        while len(updates) < _MAX_ALBUM_PHOTOS and not self._stopping.is_set():
            mine = [update for update in line.waiting if album_of(update) == album]
            for update in mine:
                line.waiting.remove(update)
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

    async def _try(self, updates: Sequence[Update]) -> RetryLater | None:
        """Answer updates; why not, where they are to be tried again."""
        numbers = [update.update_id for update in updates]
        async with self._apart(updates):
            if not self._dropped.issuperset(numbers):
                try:
                    if await self._begin(numbers):
                        await self._handle(updates)
                        self._succeeded_at = asyncio.get_running_loop().time()
                    else:
                        await self._abandon(updates)
                except RetryLater as later:
                    logger.info("An update waits: %s", later)
                    await self._settle([each for each in numbers if each in self._begun])
                    return later
                except Exception:
                    logger.exception("An update could not be handled")
            await self._finish(updates)
        return None

    @asynccontextmanager
    async def _apart(self, updates: Sequence[Update]) -> AsyncIterator[None]:
        """Keep what the last process died with apart, each from all others."""
        numbers = {update.update_id for update in updates}
        if not numbers.isdisjoint(self._suspects):
            try:
                async with self._alone:
                    yield
            finally:
                self._suspects -= numbers
                if not self._suspects:
                    self._no_suspects.set()
            return
        left = self._alone_until - asyncio.get_running_loop().time()
        if self._suspects and left > 0 and not any(map(_is_forget, updates)):
            with suppress(TimeoutError):
                await asyncio.wait_for(self._no_suspects.wait(), left)
        yield

    async def _begin(self, numbers: Sequence[int]) -> bool:
        """Count an attempt; whether it may be made.

        Raises:
            RetryLater: It cannot be counted.
        """
        new = [number for number in numbers if number not in self._begun]
        if not new:
            return True
        try:
            deadly = await asyncio.to_thread(
                self._store.inbox.begin, self._bot.id, new, _MAX_UNFINISHED_ATTEMPTS
            )
        except StoreError as error:
            raise RetryLater(str(error)) from error
        if deadly >= _MAX_UNFINISHED_ATTEMPTS:
            return False
        self._begun.update(new)
        return True

    async def _settle(self, numbers: Sequence[int]) -> None:
        """Note that attempts came to an end."""
        if not numbers:
            return
        try:
            await asyncio.to_thread(self._store.inbox.settle, self._bot.id, numbers)
        except StoreError:
            logger.exception("It cannot be written down that updates did no harm")
        else:
            self._begun.difference_update(numbers)

    async def _finish(self, updates: Sequence[Update]) -> None:
        """Mark updates as done."""
        numbers = [update.update_id for update in updates]
        while True:
            try:
                await asyncio.to_thread(self._store.inbox.finish, self._bot.id, numbers)
                break
            except StoreError:
                # Unmarked they would be answered again.
                logger.exception("Answered updates cannot be marked yet")
                if self._stopping.is_set():
                    return
                await asyncio.sleep(_PAUSES_S[0])
        for number in numbers:
            self._taken.pop(number, None)
            self._begun.discard(number)
            self._dropped.discard(number)
            self._about_forgotten.discard(number)
            self._done[number] = None
        while len(self._done) > _REMEMBERED:
            del self._done[next(iter(self._done))]


def album_of(update: Update) -> str | None:
    """What the items of one album share; None of an update that is no such item."""
    message = update.message
    return message.media_group_id if message is not None else None


def _has_file(update: Update) -> bool:
    """Whether something was sent that may be a photo."""
    message = update.message
    return message is not None and (bool(message.photo) or message.document is not None)


def _is_forget(update: Update) -> bool:
    message = update.message
    text = message.text if message is not None else None
    # The library takes anything as a text.
    return isinstance(text, str) and text.split("@")[0].strip().lower() == "/forget"


def _is_of(update: Update, user: int) -> bool:
    """Whether a person sent an update, other than to be forgotten."""
    sender = update.effective_user
    return sender is not None and sender.id == user and not _is_forget(update)


def _is_about(update: Update, user: int) -> bool:
    """Whether an update is sent in reply to a message of a person."""
    to = update.message.reply_to_message if update.message is not None else None
    return to is not None and to.from_user is not None and to.from_user.id == user


def _line_of(update: Update) -> int | None:
    """The chat whose updates are handled in order; else the person's; None where it has neither."""
    if update.effective_chat is not None:
        return update.effective_chat.id
    return update.effective_user.id if update.effective_user is not None else None
