"""Rate limiter for requests to Telegram."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

from telegram.error import ChatMigrated, RetryAfter
from telegram.ext import BaseRateLimiter

from bot.shared_pace import SharedPace
from core.store.send_slots import Pace

__all__ = ["TelegramRateLimiter", "pause_s"]

# Methods that send no message to a chat.
UNLIMITED_METHODS = (
    *(
        "answerCallbackQuery",
        "getChat",
        "getChatMember",
        "getFile",
        "getMe",
        "getWebhookInfo",
        "sendChatAction",
    ),
    *("deleteWebhook", "setWebhook", "getMyCommands", "getMyName", "getMyDescription"),
    *("getMyShortDescription", "setMyCommands", "setMyName", "setMyDescription"),
    "setMyShortDescription",
)
_MAX_CHATS = 10_000
_MINUTE_S = 60.0

logger = logging.getLogger(__name__)


class _ChatLine:
    """Messages of one chat, which are sent one after another."""

    def __init__(self, max_remembered: int) -> None:
        self.lock = asyncio.Lock()
        self.sent: deque[float] = deque(maxlen=max_remembered)
        self.paused_until = 0.0
        self.wanted = 0


class TelegramRateLimiter(BaseRateLimiter[None]):
    """Sends messages as fast as Telegram's limits allow, in order within a chat.

    If Telegram demands a pause, the chat concerned pauses for that time, and no other.

    Args:
        overall: Messages per second to all chats.
        private_s: Seconds between two messages to a chat.
        group: Messages per minute to a group.
        shared: Keeps to these limits together with other processes; None for this process alone.
        on_handed: Called with the id of the chat when a message is submitted, before it waits.
    """

    def __init__(
        self,
        *,
        overall: int = 30,
        private_s: float = 1.0,
        group: int = 20,
        shared: SharedPace | None = None,
        on_handed: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._overall: deque[float] = deque(maxlen=overall)
        self._private_s = private_s
        self._group = group
        self._pace = Pace(overall, private_s, group)
        self._shared = shared
        self._on_handed = on_handed
        self._gate = asyncio.Lock()
        self._lines: dict[int | str, _ChatLine] = {}

    async def initialize(self) -> None:
        """Do nothing, since no resources are needed."""

    async def shutdown(self) -> None:
        """Do nothing, since no resources are held."""

    async def process_request(
        self,
        callback: Callable[..., Coroutine[Any, Any, Any]],
        args: Any,
        kwargs: dict[str, Any],
        endpoint: str,
        data: dict[str, Any],
        rate_limit_args: None,  # noqa: ARG002  # part of the base class's interface
    ) -> Any:
        """Send a request when its turn has come; repeat it after a pause that Telegram demands."""
        chat = data.get("chat_id")
        if endpoint in UNLIMITED_METHODS or chat is None:
            return await _repeat(callback, args, kwargs)
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
                        # A group that became a supergroup has another id from then on.
                        data["chat_id"] = error.new_chat_id
                    except RetryAfter as error:
                        seconds = pause_s(error)
                        logger.info("Telegram demands a pause of %g s", seconds)
                        line.paused_until = _now() + seconds
                        if self._shared is not None:
                            await self._shared.pause(chat, seconds)
        finally:
            line.wanted -= 1

    async def _wait_for_turn(self, chat: int | str, line: _ChatLine) -> None:
        free_at = line.paused_until
        is_group = str(chat).startswith(("-", "@"))
        if is_group and len(line.sent) >= self._group:
            free_at = max(free_at, line.sent[-self._group] + _MINUTE_S)
        if line.sent:
            free_at = max(free_at, line.sent[-1] + self._private_s)
        await _sleep_until(free_at)
        if self._shared is not None:
            await self._shared.wait(chat, self._pace, is_group=is_group)
        async with self._gate:
            if len(self._overall) == self._overall.maxlen:
                await _sleep_until(self._overall[0] + 1)
            self._overall.append(_now())
        line.sent.append(_now())

    def _line(self, chat: int | str) -> _ChatLine:
        if len(self._lines) > _MAX_CHATS:
            since = _now() - _MINUTE_S
            self._lines = {
                chat: line
                for chat, line in self._lines.items()
                if line.wanted or (line.sent and line.sent[-1] > since)
            }
        return self._lines.setdefault(chat, _ChatLine(self._group))


async def _repeat(
    callback: Callable[..., Coroutine[Any, Any, Any]], args: Any, kwargs: dict[str, Any]
) -> Any:
    """Send a request until Telegram demands no further pause."""
    while True:
        try:
            return await callback(*args, **kwargs)
        except RetryAfter as error:
            await asyncio.sleep(pause_s(error))


def pause_s(error: RetryAfter) -> float:
    """Return the pause that Telegram demands, in seconds."""
    pause = error.retry_after  # a timedelta from the library's next major version on
    return pause.total_seconds() if isinstance(pause, timedelta) else float(pause)


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _sleep_until(moment: float) -> None:
    if (seconds := moment - _now()) > 0:
        await asyncio.sleep(seconds)
