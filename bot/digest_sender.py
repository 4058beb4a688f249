"""Send digests: at the times that operators chose, and on request."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from datetime import UTC, datetime

from telegram import Bot, Update

from bot.alarms import operator_language
from bot.digest import Digest, collect_digest, store_activity
from bot.digest_chart import digest_chart
from bot.digest_text import digest_caption, digest_text
from bot.sending import reply, reply_photo, send_message
from bot.state import BotContext, BotState
from core.errors import StoreError
from core.locale import Language
from core.store.digests import digest_notice

__all__ = ["choose_digest", "show_digest_picture", "watch_digests"]

logger = logging.getLogger(__name__)

_DAYS = {"daily": 1, "weekly": 7}
# Time that one process has to send a digest before another one may.
_SENDING_S = 300.0


async def choose_digest(update: Update, context: BotContext) -> None:
    """Answer /digest: send a digest now, or turn regular digests on or off."""
    message, texts = update.effective_message, await context.texts()
    digests, operator = context.bot_data.store.digests, context.person or ""
    match context.args or []:
        case []:
            days = await asyncio.to_thread(digests.days, operator)
            await _show(update, context, days or 1)
            await reply(message, texts[_choice(days)] + "\n" + texts["digest_usage"])
        case ["daily" | "weekly" | "off" as choice]:
            days = _DAYS.get(choice)
            async with context.keeping() as may_keep:
                if may_keep:
                    await asyncio.to_thread(digests.set, operator, days)
            await reply(message, texts[_choice(days)])
        case _:
            await reply(message, texts["digest_usage"])


async def show_digest_picture(update: Update, context: BotContext) -> None:
    """Reply with the picture of the last day's digest, if pictures can be drawn."""
    state, language = context.bot_data, await context.language()
    if not state.charts.is_installed:
        return
    digest = await collect_digest(state, context.person or "", 1, datetime.now(UTC))
    picture = await _draw(state, digest, language)
    if picture is not None:
        await reply_photo(update.effective_message, picture, digest_caption(digest, language))


async def watch_digests(bot: Bot, state: BotState) -> None:
    """Store the counts of this process and send due digests, for as long as the bot runs."""
    try:
        while True:
            await asyncio.sleep(state.timings.digest_check_s)
            try:
                await store_activity(state)
                await _send_due(bot, state)
            except StoreError as error:
                logger.warning("Digests: %s", error)
            except Exception:
                # One failure must not end all digests.
                logger.exception("Digests could not be sent")
    finally:
        with suppress(StoreError):
            await store_activity(state)


async def _send_due(bot: Bot, state: BotState) -> None:
    digests, notices = state.store.digests, state.store.notices
    for operator in state.settings.operators:
        person = state.person(operator) or ""
        name = digest_notice(person)
        if await asyncio.to_thread(digests.due, person) is None:
            continue
        if not await asyncio.to_thread(notices.is_due, name):
            continue
        # Several processes may have found it; one of them sends it.
        if not await asyncio.to_thread(notices.claim, name, _SENDING_S):
            continue
        # Another process may have sent it shortly before the claim.
        due = await asyncio.to_thread(digests.due, person)
        if due is None:
            continue
        sent = None
        try:
            sent = await _send(bot, state, operator, due.days)
        finally:
            if sent is not None:
                labels = sent.reported_labels
                await asyncio.to_thread(digests.advance, person, due, labels=labels)
            else:
                await asyncio.to_thread(notices.postpone, name, state.timings.digest_retry_s)


async def _send(bot: Bot, state: BotState, operator: int, days: int) -> Digest | None:
    """Send a digest to an operator and return it; None if it was not delivered."""
    language = await operator_language(state.store.chats, operator)
    person = state.person(operator) or ""
    digest = await collect_digest(state, person, days, datetime.now(UTC))
    picture = await _draw(state, digest, language)
    text = digest_text if picture is None else digest_caption
    delivered = await send_message(bot, operator, text(digest, language), picture)
    return digest if delivered else None


async def _show(update: Update, context: BotContext, days: int) -> None:
    state, language = context.bot_data, await context.language()
    digest = await collect_digest(state, context.person or "", days, datetime.now(UTC))
    picture = await _draw(state, digest, language)
    if picture is None:
        await reply(update.effective_message, digest_text(digest, language))
    else:
        await reply_photo(update.effective_message, picture, digest_caption(digest, language))


async def _draw(state: BotState, digest: Digest, language: Language) -> bytes | None:
    return await asyncio.to_thread(state.charts.draw, digest_chart(digest, language))


def _choice(days: int | None) -> str:
    """Return the key of the text that says how often an operator gets a digest."""
    return {None: "digest_off", 1: "digest_daily"}.get(days, "digest_weekly")
