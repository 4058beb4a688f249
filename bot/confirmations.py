"""Ask operators to confirm commands, and acknowledge the buttons that they press."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress

from telegram import CallbackQuery, Update
from telegram.error import TelegramError

from bot import replies
from bot.state import BotContext
from core import locale

__all__ = ["acknowledge", "ask_to_confirm"]


async def ask_to_confirm(
    update: Update,
    context: BotContext,
    command: str,
    question: str,
    *,
    expected: Mapping[str, object] | None = None,
    above: str | None = None,
) -> None:
    """Ask the operator to confirm a command, which `bot.operators` runs.

    Args:
        update: The operator's update.
        context: Its context.
        command: The command with its arguments, as in the audit log.
        question: What is to be confirmed, a sentence in the operator's language.
        expected: State that the question shows, which must not have changed when the command runs.
        above: Text above the question.
    """
    message, operator, state = update.effective_message, context.person, context.bot_data
    if operator is None or message is None:
        return
    language, valid_s = await context.language(), state.timings.confirm_s
    add = state.store.confirmations.add
    key = await asyncio.to_thread(add, operator, command, expected or {}, valid_s)
    text = locale.bot_texts(language)["confirm"].format(question=question)
    if above is not None:
        text = f"{above}\n\n{text}"
    await message.reply_text(text, reply_markup=replies.confirm_buttons(key, language))


async def acknowledge(query: CallbackQuery, alert: str | None = None) -> None:
    """Acknowledge a press, with a text that is shown above the chat if one is given."""
    with suppress(TelegramError):  # A press can be answered for a short time only.
        await query.answer(alert, show_alert=alert is not None)
