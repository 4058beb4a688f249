"""Notify chats about changes to the taught models that they own or use."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import suppress

from telegram import Bot
from telegram.error import TelegramError

from bot.state import BotState
from core import locale
from core.store.chats import Chat

__all__ = ["chats_among", "tell_chats"]


async def chats_among(state: BotState, users: Collection[str]) -> dict[int, Chat]:
    """Return the settings of the chats that are among the owners or users of taught models.

    Args:
        state: State of the bot.
        users: Hashes of a record.
    """
    chats = await asyncio.to_thread(state.store.chats.all)
    return {chat: each for chat, each in chats.items() if state.taught.is_among(chat, users)}


async def tell_chats(bot: Bot, chats: dict[int, Chat], key: str, /, **values: object) -> None:
    """Send a text to chats, in the language that each has selected.

    Args:
        bot: The bot.
        chats: Settings of the chats, by id.
        key: Key of the text.
        values: Values of its placeholders.
    """
    for chat, settings in chats.items():
        language = locale.language_of_tag(settings.language) or "en"
        with suppress(TelegramError):  # The bot may have been removed from the chat.
            await bot.send_message(chat, locale.bot_texts(language)[key].format(**values))
