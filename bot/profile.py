"""The bot's public profile: its name, descriptions and commands."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from telegram import BotCommand, BotCommandScope, BotCommandScopeChat
from telegram.constants import BotDescriptionLimit
from telegram.error import TelegramError
from telegram.ext import ExtBot

from bot import operators, replies
from bot.state import BotApplication, BotState
from core import locale
from core.errors import TenSightError
from core.locale import Language

__all__ = ["publish_profile"]

_COMMANDS = (
    *(
        "start",
        "help",
        "model",
        "teach",
        "compare",
        "explain",
        "what",
        "stats",
        "language",
        "privacy",
    ),
    *("forget", "whoami"),
)

logger = logging.getLogger(__name__)


async def publish_profile(application: BotApplication) -> None:
    """Set name, descriptions and commands in all languages; the bot works without them, too."""
    bot, state = application.bot, application.bot_data
    labels = await _default_labels(state)
    for language in locale.LANGUAGES:
        await _publish_texts(bot, language, labels)
        await _publish_commands(bot, language, _COMMANDS)
    for operator, language in itertools.product(state.settings.operators, locale.LANGUAGES):
        commands = (*_COMMANDS, *operators.COMMANDS)
        await _publish_commands(bot, language, commands, BotCommandScopeChat(operator))


async def _default_labels(state: BotState) -> Sequence[str]:
    """Return the labels of the default model, once the predictor is available."""
    while True:
        try:
            model = await state.models.get(await state.models.name_or_default(None))
        except TenSightError as error:
            logger.warning("The bot's profile will be published later: %s", error)
            await asyncio.sleep(state.timings.reconnect.longest_s)
        else:
            return model.config.labels


async def _publish_texts(bot: ExtBot[None], language: Language, labels: Sequence[str]) -> None:
    """Set name and descriptions where they differ: Telegram limits such changes per day."""
    texts, tag = locale.bot_texts(language), _tag(language)
    description = replies.greeting("description", labels, language)
    description = description[: BotDescriptionLimit.MAX_DESCRIPTION_LENGTH]
    with _log_refusal():
        if (await bot.get_my_name(language_code=tag)).name != texts["name"]:
            await bot.set_my_name(texts["name"], language_code=tag)
    with _log_refusal():
        short = await bot.get_my_short_description(language_code=tag)
        if short.short_description != texts["about"]:
            await bot.set_my_short_description(texts["about"], language_code=tag)
    with _log_refusal():
        if (await bot.get_my_description(language_code=tag)).description != description:
            await bot.set_my_description(description, language_code=tag)


async def _publish_commands(
    bot: ExtBot[None],
    language: Language,
    names: Sequence[str],
    scope: BotCommandScope | None = None,
) -> None:
    """Set the list of commands where it differs.

    Args:
        bot: The bot.
        language: Language of the descriptions.
        names: Names of the commands.
        scope: Chats that show them; None for all.
    """
    texts, tag = locale.bot_texts(language), _tag(language)
    commands = [BotCommand(name, texts[f"command_{name}"]) for name in names]
    with _log_refusal():
        if tuple(commands) != await bot.get_my_commands(scope=scope, language_code=tag):
            await bot.set_my_commands(commands, scope=scope, language_code=tag)


def _tag(language: Language) -> str | None:
    """Return the language code for Telegram; None for texts in all other languages."""
    return None if language == "en" else language


@contextmanager
def _log_refusal() -> Iterator[None]:
    try:
        yield
    except TelegramError as error:
        logger.warning("A part of the bot's profile could not be published: %s", error)
