"""Delete photos from operators' chats that are no longer to be labelled."""

from __future__ import annotations

import asyncio
import logging

from telegram import Bot
from telegram.error import BadRequest, Forbidden, TelegramError

from bot.alarms import operator_language
from bot.sending import send_message
from bot.state import BotState
from core import locale
from core.errors import StoreError
from core.locale import Language
from core.store.label_messages import LabelMessage

__all__ = ["delete_shown_photo", "label_summary", "watch_label_messages"]

logger = logging.getLogger(__name__)


async def watch_label_messages(bot: Bot, state: BotState) -> None:
    """Delete outdated photos at intervals while the bot runs, also those of earlier processes."""
    while True:
        try:
            await _delete_outdated(bot, state)
        except StoreError as error:
            logger.warning("Photos to label could not be looked for: %s", error)
        except Exception:
            # One failure must not end the deletions.
            logger.exception("Photos to label could not be deleted")
        await asyncio.sleep(state.timings.label_check_s)


async def delete_shown_photo(bot: Bot, state: BotState, message: LabelMessage) -> bool:
    """Delete a message that shows a photo to label; if Telegram fails, it is tried again later.

    Args:
        bot: The bot that sent the message.
        state: Its state.
        message: The message.

    Returns:
        Whether it was deleted now.
    """
    messages = state.store.label_messages
    await asyncio.to_thread(messages.show, bot.id, message, None)
    deleted = True
    try:
        await bot.delete_message(*message)
    except (BadRequest, Forbidden):
        # The operator or another process has deleted it, or it is too old to be deleted.
        deleted = False
    except TelegramError as error:
        logger.warning("A photo to label will be deleted later: %s", error)
        return False
    await asyncio.to_thread(messages.remove, bot.id, message)
    return deleted


async def label_summary(state: BotState, language: Language) -> str:
    """Return how many photos are left to label, and how to continue."""
    texts = locale.bot_texts(language)
    n = len(await asyncio.to_thread(state.store.labels.waiting))
    return texts["label_ended"].format(n=n) if n else texts["label_none"]


async def _delete_outdated(bot: Bot, state: BotState) -> None:
    messages, settled_s = state.store.label_messages, state.timings.label_settled_s
    for message in await asyncio.to_thread(messages.outdated, bot.id, settled_s):
        if await delete_shown_photo(bot, state, message):
            language = await operator_language(state.store.chats, message.chat)
            await send_message(bot, message.chat, await label_summary(state, language))
