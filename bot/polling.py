"""Fetch updates from Telegram by long polling."""

from __future__ import annotations

import asyncio
import logging
import warnings
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from telegram.error import Conflict, EndPointNotFound, InvalidToken, RetryAfter, TelegramError
from telegram.warnings import PTBUserWarning

from bot.inbox import MAX_WAITING
from bot.rate_limiter import pause_s
from bot.refusals import UNKNOWN_BOT, UNKNOWN_METHOD, knows_token
from bot.state import BotApplication
from bot.tasks import unless_stopped, wait_or_stop
from core.errors import BotError, StoreError, TenSightError

__all__ = ["UPDATE_KINDS", "Poller"]

UPDATE_KINDS = ("message", "callback_query")
"""Kinds of updates that the bot requests."""

# Seconds that Telegram holds a request while there are no updates.
_POLL_S = 30
# Conflicts with another poller after which this one gives up. After a restart, the poll of the
# previous process may last for a moment; of two programs, the one that started last gives up.
_MAX_CONFLICTS, _MAX_CONFLICTS_WHEN_OLD = 5, 60

logger = logging.getLogger(__name__)
# `Poller` has a reason not to call the library's method.
warnings.filterwarnings("ignore", r"Please use 'Bot\.getUpdates'", PTBUserWarning)


class Poller:
    """Long polling of updates into the inbox.

    Args:
        application: The bot.
        begin: Called once, after Telegram first answers: only then is it certain that no other
            program receives the updates, which would answer the stored ones too.
    """

    def __init__(self, application: BotApplication, begin: Callable[[], Awaitable[None]]) -> None:
        self._bot = application.bot
        self._state = application.bot_data
        self._backoff = application.bot_data.timings.reconnect
        self._begin = begin
        self._began_at: float | None = None
        self._keeps_webhook = True
        self._offset: int | None = None
        self._conflicts = 0
        self._pause = self._backoff.first_s

    async def run(self, stop: asyncio.Event) -> None:
        """Fetch updates until the bot stops.

        Raises:
            BotError: The token is unknown, the server does not know getUpdates, or another program
                receives the updates of this bot.
        """
        while not stop.is_set():
            waiting = self._state.inbox.waiting
            if waiting > MAX_WAITING:
                logger.error("%s updates wait for an answer; no more are fetched", waiting)
                await self._back_off(stop)
            else:
                await self._poll_once(stop)

    async def _poll_once(self, stop: asyncio.Event) -> None:
        """Fetch updates once, and store them before the next request confirms them."""
        if self._keeps_webhook:
            # Telegram refuses getUpdates while a webhook is set.
            with suppress(TelegramError):
                await unless_stopped(stop, self._bot.delete_webhook(drop_pending_updates=False))
        try:
            updates = await unless_stopped(stop, self._request())
            if updates is None:
                return
            self._keeps_webhook = False
            if self._began_at is None:
                await self._begin()
                self._began_at = _now()
            await self._state.inbox.receive(updates)
        except Conflict as error:
            await self._on_conflict(error, stop)
        except (InvalidToken, EndPointNotFound) as error:
            # The library raises InvalidToken also where a token was revoked.
            await self._on_not_found(error, stop)
        except RetryAfter as error:
            seconds = pause_s(error)
            logger.warning("Telegram demands a pause of %g s", seconds)
            await wait_or_stop(stop, seconds)
        except (TelegramError, TenSightError) as error:
            logger.warning("Updates cannot be fetched: %s", error)
            if isinstance(error, StoreError):
                self._state.alarms.on_database_failure()
            await self._back_off(stop)
        else:
            self._on_success(updates)

    async def _request(self) -> list[dict[str, Any]]:
        """Request updates as JSON.

        `Bot.get_updates` would parse all of them at once: one that it cannot parse would hold up
        the others. The name is written as it is documented, since only Telegram's own server
        ignores capitals.
        """
        offset = {} if self._offset is None else {"offset": self._offset}
        updates: list[dict[str, Any]] = await self._bot.do_api_request(
            "getUpdates",
            api_kwargs={
                "timeout": 0 if self._keeps_webhook else _POLL_S,
                "allowed_updates": UPDATE_KINDS,
                **offset,
            },
            read_timeout=_POLL_S + 10,
        )
        return updates

    def _on_success(self, updates: list[dict[str, Any]]) -> None:
        self._pause = self._backoff.first_s
        if self._is_old():
            # A newcomer counts all conflicts: between two, it receives some updates.
            self._conflicts = 0
        if updates:
            self._state.alarms.on_database_success()
            # The next request acknowledges them by this offset.
            self._offset = max(update["update_id"] for update in updates) + 1

    async def _on_conflict(self, error: Conflict, stop: asyncio.Event) -> None:
        if "webhook" in error.message:
            self._keeps_webhook = True
            await self._back_off(stop)
            return
        self._conflicts += 1
        if self._conflicts >= (_MAX_CONFLICTS_WHEN_OLD if self._is_old() else _MAX_CONFLICTS):
            raise BotError(
                "Another program receives the updates of this bot: two programs that poll with one "
                "token both miss updates. Stop one of them."
            ) from error
        await wait_or_stop(stop, self._backoff.first_s)

    async def _on_not_found(self, error: TelegramError, stop: asyncio.Event) -> None:
        try:
            known = await knows_token(self._bot)
        except TelegramError:
            await self._back_off(stop)
            return
        if known:
            advice = "Use another server, or receive updates by --webhook."
            raise BotError(UNKNOWN_METHOD.format(method="getUpdates", advice=advice)) from error
        raise BotError(UNKNOWN_BOT) from error

    async def _back_off(self, stop: asyncio.Event) -> None:
        await wait_or_stop(stop, self._pause)
        self._pause = self._backoff.next(self._pause)

    def _is_old(self) -> bool:
        grace_s = self._state.timings.conflict_grace_s
        return self._began_at is not None and _now() - self._began_at > grace_s


def _now() -> float:
    return asyncio.get_running_loop().time()
