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
from core.store.notices import operator_notice

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
    reports = await find_drift(state)
    if reports is None:
        return  # The metrics keep their last values: drift may persist unseen.
    state.metrics.set_drift(reports)
    alarms = [each for each in reports if each.alarms]
    if not alarms:
        return
    alarms.sort(key=lambda each: -max(each.month[name].change for name in each.alarms))
    pictures = _Pictures(state, alarms[0])
    for operator in state.settings.operators:
        try:
            await _notify(bot, state, operator, alarms, pictures)
        except StoreError:
            raise
        except Exception:
            # The other operators must not wait for this one.
            logger.exception("An operator could not be told of drift")


class _Pictures:
    """Pictures of a report, which are drawn once for each language."""

    def __init__(self, state: BotState, report: DriftReport) -> None:
        self._state = state
        self._report = report
        self._drawn: dict[Language, bytes | None] = {}

    async def draw(self, language: Language) -> bytes | None:
        """Return the picture in a language; None if it cannot be drawn."""
        if language not in self._drawn:
            chart = drift_chart(self._report, language)
            self._drawn[language] = await asyncio.to_thread(self._state.charts.draw, chart)
        return self._drawn[language]


async def _notify(
    bot: Bot, state: BotState, operator: int, reports: Sequence[DriftReport], pictures: _Pictures
) -> None:
    """Send an operator one alarm about all reports, the worst first, at most once a day."""
    notices = state.store.notices
    name = operator_notice(_NOTICE, bot.id, state.person(operator) or "")
    if not await asyncio.to_thread(notices.is_due, name):
        return
    # Several processes may have found it; one of them tells the operator.
    if not await asyncio.to_thread(notices.claim, name, _SENDING_S):
        return
    delivered = False
    try:
        language = await operator_language(state.store.chats, operator)
        picture = await pictures.draw(language)
        delivered = await send_message(bot, operator, drift_text(reports, language), picture)
    finally:
        if delivered:
            await asyncio.to_thread(notices.postpone, name, _DAY_S)
        else:
            await asyncio.to_thread(notices.release, name)
