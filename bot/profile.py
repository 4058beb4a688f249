"""The bot's public profile: its commands and descriptions."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from telegram import BotCommand, BotCommandScopeChat
from telegram.constants import BotDescriptionLimit
from telegram.error import TelegramError

from bot import operators, replies, tasks
from bot.state import BotApplication
from core import locale
from core.errors import TenSightError

__all__ = ["introduce"]

_COMMANDS = (
    *("start", "help", "model", "compare", "explain", "what", "stats", "language", "privacy"),
    *("forget", "whoami"),
)

logger = logging.getLogger(__name__)


async def introduce(application: BotApplication) -> None:
    """Tell Telegram name, texts and commands, in all languages; the bot works without, too."""
    bot, state = application.bot, application.bot_data["state"]
    while True:
        try:
            result = await state.result(await asyncio.to_thread(state.predictor.default_model))
            break
        except TenSightError as error:
            logger.warning("Telegram is told about the bot later: %s", error)
            await asyncio.sleep(tasks.PAUSES_S[1])
    for language in locale.LANGUAGES:
        words = locale.bot_texts(language)
        tag = None if language == "en" else language
        commands = [BotCommand(name, words[f"command_{name}"]) for name in _COMMANDS]
        about = replies.greeting("description", result.config.labels, language)
        about = about[: BotDescriptionLimit.MAX_DESCRIPTION_LENGTH]
        with _without():
            if tuple(commands) != await bot.get_my_commands(language_code=tag):
                await bot.set_my_commands(commands, language_code=tag)
        # Telegram takes few changes of these in a day.
        with _without():
            if (await bot.get_my_name(language_code=tag)).name != words["name"]:
                await bot.set_my_name(words["name"], language_code=tag)
        with _without():
            known = await bot.get_my_short_description(language_code=tag)
            if known.short_description != words["about"]:
                await bot.set_my_short_description(words["about"], language_code=tag)
        with _without():
            if (await bot.get_my_description(language_code=tag)).description != about:
                await bot.set_my_description(about, language_code=tag)
    for each, language in itertools.product(state.settings.operators, locale.LANGUAGES):
        words, tag = locale.bot_texts(language), None if language == "en" else language
        names = (*_COMMANDS, *operators.COMMANDS)
        commands = [BotCommand(name, words[f"command_{name}"]) for name in names]
        scope = BotCommandScopeChat(each)
        with _without():
            known = await bot.get_my_commands(scope=scope, language_code=tag)
            if tuple(commands) != known:
                await bot.set_my_commands(commands, scope=scope, language_code=tag)


@contextmanager
def _without() -> Iterator[None]:
    """Go on without what Telegram does not take."""
    try:
        yield
    except TelegramError as error:
        logger.warning("Telegram was not told all about the bot: %s", error)
