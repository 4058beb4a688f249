"""Report a failed update: log it, notify the operators and apologise to its sender."""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Callable

from telegram.error import TelegramError

from bot.error_place import place_of
from bot.retry import RetryLater, unavailable_service
from bot.sending import reply
from bot.state import BotContext
from core import locale
from core.errors import BundleError, StoreError, TenSightError
from core.locale import Language

__all__ = ["report_abandoned", "report_deferred_forget", "report_failure", "report_unknown_method"]

logger = logging.getLogger(__name__)


async def report_failure(context: BotContext, error: BaseException) -> None:
    """Log an error under a reference, notify the operators and apologise to the sender.

    Raises:
        RetryLater: The sender cannot be reached now; the error may be gone at the next attempt.
    """
    reference = secrets.token_hex(4)
    logger.error("%s: an update failed", reference, exc_info=error)
    _raise_alarm(context, error, "alarm", reference)
    if context.current_update.message is not None:
        known = error if isinstance(error, TenSightError) else TenSightError()
        await _apologise(context, lambda language: locale.format_error(known, language))
    context.bot_data.hour.record_error(error)


async def report_unknown_method(context: BotContext, error: TelegramError) -> None:
    """Report that the Bot API server lacks a method that the update needs.

    Raises:
        RetryLater: The sender cannot be reached now.
    """
    reference = secrets.token_hex(4)
    logger.error(
        "%s: the Bot API server does not support a method that an update needs",
        reference,
        exc_info=error,
    )
    _raise_alarm(context, error, "alarm_method", reference)
    await _apologise(context, lambda language: locale.bot_texts(language)["not_here"])
    context.bot_data.hour.record_error(error)


async def report_abandoned(context: BotContext) -> None:
    """Report an update that is abandoned because the process died twice while handling it.

    Raises:
        RetryLater: The sender cannot be reached now.
    """
    reference = secrets.token_hex(4)
    number = context.current_update.update_id
    logger.error(
        "%s: update %s is abandoned, since the process died twice while handling it",
        reference,
        number,
    )
    context.bot_data.alarms.raise_alarm(
        "abandoned", "alarm_abandoned", number=number, reference=reference
    )
    await _apologise(context, lambda language: locale.bot_texts(language)["abandoned"])
    context.bot_data.hour.record_error(RuntimeError())


def report_deferred_forget(context: BotContext, error: BundleError) -> None:
    """Report that a /forget waits until the model that others are taught on can be read."""
    reference = secrets.token_hex(4)
    logger.error("%s: /forget is repeated later", reference, exc_info=error)
    _raise_alarm(context, error, "alarm_forget", reference)


def _raise_alarm(context: BotContext, error: BaseException, key: str, reference: str) -> None:
    place = place_of(error)
    kind = f"{key} {type(error).__name__} {place}"
    if isinstance(error, TelegramError):
        # A line can raise many errors; those whose messages differ only in numbers are of one kind.
        kind += re.sub(r"\d+", "0", error.message)
    # The message of the error is left out: it may hold personal data.
    context.bot_data.alarms.raise_alarm(
        kind, key, kind=type(error).__name__, where=place, reference=reference
    )


async def _apologise(context: BotContext, text_in: Callable[[Language], str]) -> None:
    """Send a text to the sender of an update, or show it on the button that was pressed.

    Raises:
        RetryLater: It cannot be sent now.
    """
    update = context.current_update
    try:
        text = text_in(await context.language())
        if update.message is not None:
            await reply(update.message, text)
        elif update.callback_query is not None:
            await update.callback_query.answer(text, show_alert=True)
    except (StoreError, TelegramError) as error:
        service = unavailable_service(error)
        if service is not None:
            raise RetryLater(service, error) from error
        logger.warning("The sender of a failed update could not be notified: %s", error)
