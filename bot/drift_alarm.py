"""Export drift to Prometheus, and notify operators of it at most once a day."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime

from telegram import Bot

from bot.alarms import operator_language
from bot.drift_chart import drift_chart
from bot.drift_text import drift_text
from bot.sending import send_message
from bot.state import BotState
from core.errors import StoreError, UnavailableError
from core.locale import Language
from core.rollout.drift_result import DriftReport
from core.rollout.drift_samples import drift_samples

__all__ = ["find_drift", "watch_drift"]

logger = logging.getLogger(__name__)

_NOTICE = "drift"
_DAY_S = 24 * 3600.0
# Time that one process has to send the alarm before another one may.
_SENDING_S = 300.0


async def watch_drift(bot: Bot, state: BotState) -> None:
    """Check for drift at intervals and notify the operators, for as long as the bot runs."""
    while True:
        await asyncio.sleep(state.timings.drift_check_s)
        try:
            await _check(bot, state)
        except StoreError as error:
            logger.warning("Drift could not be checked: %s", error)
        except Exception:
            # One failure must not end the alarms.
            logger.exception("Drift could not be checked")


async def find_drift(state: BotState) -> list[DriftReport] | None:
    """Compare the photos of the last 24 hours with those of the month before, by revision.

    Returns:
        None if the extra `charts` is missing, or the comparison fails.

    Raises:
        StoreError: The database is not available.
    """
    try:
        models = await state.models.all()
    except UnavailableError:
        models = []  # only the comparison with validation is left out
    samples = await asyncio.to_thread(drift_samples, state.store.drift, models, datetime.now(UTC))
    return await asyncio.to_thread(state.drift.compare, samples)


async def _check(bot: Bot, state: BotState) -> None:
    notices, reports = state.store.notices, await find_drift(state)
    if reports is None:
        return  # The metrics keep their last values: that nothing was compared is no end of drift.
    state.metrics.set_drift(reports)
    alarms = [each for each in reports if each.alarms]
    if not alarms or not state.settings.operators:
        return
    if not await asyncio.to_thread(notices.is_due, _NOTICE):
        return
    # Several processes may have found it; one of them tells the operators.
    if not await asyncio.to_thread(notices.claim, _NOTICE, _SENDING_S):
        return
    alarms.sort(key=lambda each: -max(each.month[name].change for name in each.alarms))
    delivered = False
    try:
        delivered = await _tell_operators(bot, state, alarms)
    finally:
        if delivered:
            await asyncio.to_thread(notices.postpone, _NOTICE, _DAY_S)
        else:
            await asyncio.to_thread(notices.release, _NOTICE)


async def _tell_operators(bot: Bot, state: BotState, reports: Sequence[DriftReport]) -> bool:
    """Send one alarm about all reports, the worst first, to all operators.

    Returns:
        Whether one of them got it.
    """
    pictures: dict[Language, bytes | None] = {}
    delivered = False
    for operator in state.settings.operators:
        language = await operator_language(state.store.chats, operator)
        if language not in pictures:
            chart = drift_chart(reports[0], language)
            pictures[language] = await asyncio.to_thread(state.charts.draw, chart)
        text = drift_text(reports, language)
        delivered |= await send_message(bot, operator, text, pictures[language])
    return delivered
