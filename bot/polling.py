"""Fetch updates from Telegram by long polling."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from telegram.error import Conflict, EndPointNotFound, InvalidToken, TelegramError

from bot import tasks
from bot.alarms import clear_database_failure, report_database_failure
from bot.inbox import Inbox
from bot.operators import end_acts
from bot.refusals import UNKNOWN_BOT, UNKNOWN_METHOD, knows_token
from bot.state import BotApplication
from bot.tasks import unless_stopped, wait_or_stop
from core.errors import BotError, StoreError, TenSightError

__all__ = ["MAX_WAITING", "UPDATE_KINDS", "poll"]

UPDATE_KINDS = ("message", "callback_query")
# Seconds that Telegram holds a request for updates while there are none.
_POLL_S = 30
# An old poll of this bot may hang on for a moment after a restart. Of two programs, the newcomer
# gives up first.
_CONFLICTS, _CONFLICTS_OF_OLD, _OLD_S = 5, 60, 60.0
# Updates in memory; what is more stays with Telegram.
MAX_WAITING = 20_000

logger = logging.getLogger(__name__)


async def poll(
    application: BotApplication, inbox: Inbox, stop: asyncio.Event, ready: Callable[[], None]
) -> None:
    """Fetch updates into the inbox until told to stop.

    Args:
        application: The bot.
        inbox: Where updates are written down before Telegram forgets them.
        stop: Ends it.
        ready: Called once, after the first answer of Telegram.

    Raises:
        BotError: The token is wrong, or another program takes the updates of this bot.
    """
    bot, offset, pause, conflicts = application.bot, None, tasks.PAUSES_S[0], 0
    clock = asyncio.get_running_loop().time
    since: float | None = None

    def is_old() -> bool:
        return since is not None and clock() - since > _OLD_S

    while not stop.is_set():
        if inbox.waiting > MAX_WAITING:
            logger.error("%s updates wait for an answer; no more are taken", inbox.waiting)
            pause = await wait_or_stop(stop, pause)
            continue
        if since is None:
            # A webhook of before would keep updates away.
            with suppress(TelegramError):
                await unless_stopped(stop, bot.delete_webhook(drop_pending_updates=False))
        # As they come: of `get_updates`, one update that the library cannot read would keep the
        # others away. Telegram does not mind how a method is spelled; spelled as the library's own,
        # it would warn.
        asking = bot.do_api_request(
            "GetUpdates",
            api_kwargs={
                "timeout": 0 if since is None else _POLL_S,
                "allowed_updates": UPDATE_KINDS,
                **({} if offset is None else {"offset": offset}),
            },
            read_timeout=_POLL_S + 10,
        )
        try:
            updates = await unless_stopped(stop, asking)
            if updates is None:
                return
            if since is None:
                # Only now: another program that takes the updates would answer these, too.
                await end_acts(application)
                await inbox.replay()
                since = clock()
                ready()
            await inbox.receive(updates)
            if updates:
                clear_database_failure(application)
        except Conflict as error:
            if "webhook" in error.message:
                since = None
                pause = await wait_or_stop(stop, pause)
                continue
            conflicts += 1
            if conflicts >= (_CONFLICTS_OF_OLD if is_old() else _CONFLICTS):
                raise BotError(
                    "Another program takes the updates of this bot: of two that poll with one "
                    "token, each would miss some. Stop one of them."
                ) from error
            await wait_or_stop(stop, tasks.PAUSES_S[0])
        except (InvalidToken, EndPointNotFound) as error:
            # The second is what the library makes of a token that was taken back.
            try:
                known = await knows_token(bot)
            except TelegramError:
                pause = await wait_or_stop(stop, pause)
                continue
            if known:
                advice = "Use another server, or let it send updates with --webhook."
                unknown = UNKNOWN_METHOD.format(method="getUpdates", advice=advice)
                raise BotError(unknown) from error
            raise BotError(UNKNOWN_BOT) from error
        except (TelegramError, TenSightError) as error:
            logger.warning("Updates cannot be taken: %s", error)
            if isinstance(error, StoreError):
                report_database_failure(application)
            pause = await wait_or_stop(stop, pause)
        else:
            pause = tasks.PAUSES_S[0]
            if is_old():
                # A newcomer counts all of them: between two, it gets some updates.
                conflicts = 0
            # Only now, since this tells Telegram to forget them.
            if updates:
                offset = max(update["update_id"] for update in updates) + 1
