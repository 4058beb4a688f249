"""Notify operators of shadows and canaries that ended without a command.

Any process that serves photos may end one: the page, or a service without a bot. The audit log
says what happened, so a bot that restarts in the meantime reports it afterwards.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta

from telegram import Bot

from bot.alarms import operator_language
from bot.evidence_text import reason_text
from bot.sending import send_message
from bot.state import BotState
from core import locale
from core.errors import StoreError
from core.locale import Language
from core.store.audit import AuditEntry
from core.store.notices import operator_notice
from core.store.rollouts import AUTOMATIC

__all__ = ["watch_ended_rollouts"]

logger = logging.getLogger(__name__)

# Age up to which the end of a rollout is reported.
_MAX_AGE = timedelta(days=1)
# Time that one process has to send a notice before another one may.
_SENDING_S = 300.0


async def watch_ended_rollouts(bot: Bot, state: BotState) -> None:
    """Look for ended rollouts at intervals and notify the operators, while the bot runs."""
    while True:
        try:
            await _check(bot, state)
        except StoreError as error:
            logger.warning("Ended rollouts could not be looked for: %s", error)
        except Exception:
            # One failure must not end the notices.
            logger.exception("Ended rollouts could not be looked for")
        await asyncio.sleep(state.timings.rollout_check_s)


async def _check(bot: Bot, state: BotState) -> None:
    if not state.settings.operators:
        return
    since = datetime.now(UTC) - _MAX_AGE
    for number, entry in (await asyncio.to_thread(state.store.audit.by, AUTOMATIC, since)).items():
        for operator in state.settings.operators:
            try:
                await _notify(bot, state, number, entry, operator)
            except StoreError:
                raise
            except Exception:
                # The other operators, and the other rollouts, must not wait for this one.
                logger.exception("An operator could not be told of an ended rollout")


async def _notify(bot: Bot, state: BotState, number: int, entry: AuditEntry, operator: int) -> None:
    """Notify an operator of an ended rollout, once; an undelivered notice is sent again."""
    notices = state.store.notices
    name = operator_notice(f"ended {number}", bot.id, state.person(operator) or "")
    if not await asyncio.to_thread(notices.is_due, name):
        return
    # Several processes may have found it; one of them tells the operator.
    if not await asyncio.to_thread(notices.claim, name, _SENDING_S):
        return
    language = await operator_language(state.store.chats, operator)
    if await send_message(bot, operator, _notice(entry, language)):
        await asyncio.to_thread(notices.postpone, name, 2 * _MAX_AGE.total_seconds())


def _notice(entry: AuditEntry, language: Language) -> str:
    reason = reason_text(entry.cause, entry.outcome, language)
    kind, model, candidate = entry.act.split()
    return locale.bot_texts(language)[f"{kind}_ended_itself"].format(
        model=model, candidate=candidate, reason=reason
    )
