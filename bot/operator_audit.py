"""Run operators' commands and record them in the audit log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from telegram import Bot
from telegram.error import TelegramError

from bot.alarms import operator_language
from bot.chat_wording import reword_for_chat
from bot.outcome import Outcome
from bot.state import BotContext, BotState
from bot.tasks import run_in_daemon_thread
from core import locale
from core.errors import TenSightError
from core.store.audit import AuditEntry

__all__ = ["close_interrupted_commands", "run_command"]

logger = logging.getLogger(__name__)


async def run_command(context: BotContext, command: str, run: Callable[[], Outcome]) -> str:
    """Run a command in a thread; record who started it, and its outcome.

    Args:
        context: Context of the operator's update.
        command: The command with its arguments.
        run: Runs it.

    Returns:
        The outcome in the operator's language.
    """
    state, language = context.bot_data, await context.language()
    audit, operator = state.store.audit, context.person or ""
    number = await asyncio.to_thread(
        audit.begin, context.bot.id, state.inbox.owner, operator, command
    )
    try:
        outcome = await run_in_daemon_thread(run)
    except asyncio.CancelledError:
        await _record(state, number, command, Outcome("act_broken_off", {"act": command}))
        raise
    except TenSightError as error:
        outcome = Outcome("act_refused", {"error": reword_for_chat(error)})
    except Exception as error:
        logger.exception("The command %s failed", command)
        outcome = Outcome("act_failed", {"kind": type(error).__name__})
    await _record(state, number, command, outcome)
    return outcome.text(language)


async def _record(state: BotState, number: int, command: str, outcome: Outcome) -> None:
    """Record an outcome; the audit log is in English for all operators."""
    text = outcome.text("en")
    try:
        await asyncio.to_thread(state.store.audit.finish, number, text)
    except TenSightError:
        logger.exception("The outcome of %s is missing from the audit log: %s", command, text)


async def close_interrupted_commands(bot: Bot, state: BotState) -> None:
    """Close the audit entries of commands that a killed process ran, and notify their operators.

    Args:
        bot: The bot.
        state: Its state.

    Raises:
        StoreError: The database cannot be used.
    """

    def outcome(command: str) -> str:
        return Outcome("act_lost", {"act": command}).text("en")

    alone = not state.store.database.is_shared
    close = partial(state.store.audit.finish_all, bot.id, state.inbox.owner, outcome, alone=alone)
    for entry in await asyncio.to_thread(close):
        # In the background: photos do not wait for this notification.
        state.tasks.start(_notify_of_interruption(bot, state, entry))


async def _notify_of_interruption(bot: Bot, state: BotState, entry: AuditEntry) -> None:
    for operator in state.settings.operators:
        if entry.operator == state.person(operator):
            texts = locale.bot_texts(await operator_language(state.store.chats, operator))
            with suppress(TelegramError):
                await bot.send_message(operator, texts["act_lost"].format(act=entry.act))
