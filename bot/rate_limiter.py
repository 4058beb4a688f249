"""How fast the bot may talk: Telegram's limits, and what Telegram says when they are passed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

from telegram.error import ChatMigrated, RetryAfter
from telegram.ext import BaseRateLimiter

__all__ = ["TelegramRateLimiter"]

# Requests that put no message anywhere.
UNLIMITED_METHODS = (
    *("answerCallbackQuery", "getChat", "getFile", "getMe", "getWebhookInfo", "sendChatAction"),
    *("deleteWebhook", "setWebhook", "getMyCommands", "getMyName", "getMyDescription"),
    *("getMyShortDescription", "setMyCommands", "setMyName", "setMyDescription"),
    "setMyShortDescription",
)
_MAX_CHATS = 10_000

logger = logging.getLogger(__name__)


class _Line:
    """Who wants to talk in one chat, one after the other."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.sent: deque[float] = deque(maxlen=20)
        self.paused_until = 0.0
        self.wanted = 0


class TelegramRateLimiter(BaseRateLimiter[None]):
    """Lets messages go as fast as Telegram takes them, in their order within a chat.

    Where Telegram says to wait, that chat waits as long as it says, and no other.

    Args:
        overall: Messages a second, in all.
        private_s: Seconds between two messages to one person.
        group: Messages a minute to one group.
        on_handed: Hears of every message the moment it comes here, before it waits.
    """

    def __init__(
        self,
        *,
        overall: int = 30,
        private_s: float = 1.0,
        group: int = 20,
        on_handed: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._overall: deque[float] = deque(maxlen=overall)
        self._private_s = private_s
        self._group = group
        self._on_handed = on_handed
        self._gate = asyncio.Lock()
        self._lines: dict[int | str, _Line] = {}

    async def initialize(self) -> None:
        """Nothing is needed."""

    async def shutdown(self) -> None:
        """Nothing is held."""

    async def process_request(
        self,
        callback: Callable[..., Coroutine[Any, Any, Any]],
        args: Any,
        kwargs: dict[str, Any],
        endpoint: str,
        data: dict[str, Any],
        rate_limit_args: None,  # noqa: ARG002  # the base has it
    ) -> Any:
        """Send a request when its turn has come."""
        chat = data.get("chat_id")
        if endpoint in UNLIMITED_METHODS or chat is None:
            return await self._insist(callback, args, kwargs)
        self._on_handed(int(chat) if str(chat).lstrip("-").isdigit() else 0)
        line = self._line(chat)
        line.wanted += 1
        try:
            async with line.lock:
                while True:
                    await self._wait_for_turn(chat, line)
                    try:
                        return await callback(*args, **kwargs)
                    except ChatMigrated as error:
                        # A group that grew has another id from then on.
                        data["chat_id"] = error.new_chat_id
                    except RetryAfter as error:
                        seconds = _seconds(error)
                        logger.info("Telegram asks to wait %g s before it takes more", seconds)
                        line.paused_until = time.monotonic() + seconds
        finally:
            line.wanted -= 1

    async def _insist(
        self, callback: Callable[..., Coroutine[Any, Any, Any]], args: Any, kwargs: dict[str, Any]
    ) -> Any:
        while True:
            try:
                return await callback(*args, **kwargs)
            except RetryAfter as error:
                await asyncio.sleep(_seconds(error))

    async def _wait_for_turn(self, chat: int | str, line: _Line) -> None:
        now = time.monotonic()
        free_at = line.paused_until
        is_group = str(chat).startswith(("-", "@"))
        if is_group and len(line.sent) >= self._group:
            free_at = max(free_at, line.sent[-self._group] + 60)
        if line.sent:
            free_at = max(free_at, line.sent[-1] + self._private_s)
        if free_at > now:
            await asyncio.sleep(free_at - now)
        async with self._gate:
            if len(self._overall) == self._overall.maxlen:
                await asyncio.sleep(max(0.0, self._overall[0] + 1 - time.monotonic()))
            self._overall.append(time.monotonic())
        line.sent.append(time.monotonic())

    def _line(self, chat: int | str) -> _Line:
        if len(self._lines) > _MAX_CHATS:
            long_ago = time.monotonic() - 60
            self._lines = {
                name: line
                for name, line in self._lines.items()
                if line.wanted or (line.sent and line.sent[-1] > long_ago)
            }
        return self._lines.setdefault(chat, _Line())


def _seconds(error: RetryAfter) -> float:
    told = error.retry_after  # a timedelta from the next major version on
    return told.total_seconds() if isinstance(told, timedelta) else float(told)
