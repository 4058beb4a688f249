"""Report failures to the operators."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic

from telegram import Update
from telegram.error import BadRequest, NetworkError, TelegramError

from bot.guards import reply
from bot.inbox import RetryLater
from bot.rate_limiter import TelegramRateLimiter
from bot.state import BotApplication, BotState
from bot.tasks import start
from core import locale
from core.errors import StoreError, TenSightError
from core.locale import Language

__all__ = [
    "Alarms",
    "CatalogWarnings",
    "clear_database_failure",
    "is_ours",
    "operator_language",
    "report_abandoned",
    "report_database_failure",
    "report_failure",
    "report_unknown_method",
]

_ROOT = Path(__file__).resolve().parent.parent
_PACKAGES = ("bot", "core", "demo")
_LIBRARIES = {"site-packages", "dist-packages"}
# All requests to Telegram go through these: an error's place is where they were called.
_PASSED_THROUGH = {TelegramRateLimiter.process_request.__code__, reply.__code__}
# Of a database that fails: what passes sooner is no alarm.
_LONG_S = 60.0
_AN_HOUR_S = 3600.0

logger = logging.getLogger(__name__)


class Alarms:
    """Tells operators of what went wrong: once an hour of each kind."""

    def __init__(self, operators: Sequence[int]) -> None:
        self._operators = operators
        self._told: dict[str, float] = {}

    async def tell(
        self, application: BotApplication, kind: str, key: str, /, **values: object
    ) -> None:
        """Tell each operator in their language, unless they heard of its kind within the hour.

        Args:
            application: Whose operators they are.
            kind: What is told once an hour.
            key: Of the text, in `locale.bot_texts`.
            values: What is put into it.
        """
        now = monotonic()
        self._told = {k: at for k, at in self._told.items() if at > now - _AN_HOUR_S}
        if kind in self._told:
            return
        # Before it is sent: the next of its kind may come meanwhile.
        self._told[kind] = now
        reached, state = False, application.bot_data["state"]
        for operator in self._operators:
            text = locale.bot_texts(await operator_language(state, operator))[key].format(**values)
            try:
                await application.bot.send_message(operator, text)
                reached = True
            except TelegramError as error:
                logger.warning("An operator cannot be told: %s", error)
        if not reached:
            self._told.pop(kind, None)


async def operator_language(state: BotState, operator: int) -> Language:
    """What an operator chose in their private chat, else English."""
    try:
        chosen = (await asyncio.to_thread(state.store.chats.get, operator)).language
    except StoreError:
        return "en"
    return next((each for each in locale.LANGUAGES if each == chosen), "en")


async def report_failure(application: BotApplication, update: Update, error: BaseException) -> None:
    """Log an error under a reference, tell the operators, and say sorry.

    Raises:
        RetryLater: It cannot be said now; once it can, the error may be gone.
    """
    reference = secrets.token_hex(4)
    logger.error("%s: an update failed", reference, exc_info=error)
    _alarm(application, error, "alarm", reference)
    state: BotState = application.bot_data["state"]
    if update.message is not None:
        told = error if isinstance(error, TenSightError) else TenSightError()
        await _say_sorry(application, update, lambda language: locale.format_error(told, language))
    state.hour.failed(error)


async def report_unknown_method(
    application: BotApplication, update: Update, error: TelegramError
) -> None:
    """Tell operators and sender that the Bot API server does not know what this takes.

    Raises:
        RetryLater: It cannot be said now.
    """
    reference = secrets.token_hex(4)
    logger.error("%s: the Bot API server does not know a method", reference, exc_info=error)
    _alarm(application, error, "alarm_method", reference)
    await _say_sorry(application, update, lambda known: locale.bot_texts(known)["not_here"])
    application.bot_data["state"].hour.failed(error)


def _alarm(application: BotApplication, error: BaseException, key: str, reference: str) -> None:
    """Tell the operators of an error and its place; others of its kind within the hour are not."""
    where = _place(error)
    kind = f"{type(error).__name__} {where}"
    if isinstance(error, TelegramError):
        # The same line meets many refusals; of one, only the numbers differ.
        kind += re.sub(r"\d+", "0", error.message)
    alarms: Alarms = application.bot_data["alarms"]
    # Not its text: that may hold what somebody wrote.
    values = {"kind": type(error).__name__, "where": where, "reference": reference}
    # Apart: the operators' turn to be written to is not what this chat waits for.
    start(application.bot_data, alarms.tell(application, kind, key, **values))


def _place(error: BaseException) -> str:
    """Where an error came up: the innermost line of this program."""
    where = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        file = Path(frame.f_code.co_filename).resolve()
        if not where or (is_ours(file) and frame.f_code not in _PASSED_THROUGH):
            where = f"{file.name}:{line}"
    return where


def is_ours(file: Path) -> bool:
    """Whether a file belongs to this program, and not to a library in an environment below it."""
    if not file.is_relative_to(_ROOT):
        return False
    return file.relative_to(_ROOT).parts[0] in _PACKAGES or _LIBRARIES.isdisjoint(file.parts)


async def report_abandoned(application: BotApplication, update: Update) -> None:
    """Tell the operators of an update that the process died of twice, and say sorry.

    Raises:
        RetryLater: It cannot be said now.
    """
    reference = secrets.token_hex(4)
    number = update.update_id
    logger.error("%s: update %s is abandoned: the bot died twice of it", reference, number)
    alarms: Alarms = application.bot_data["alarms"]
    values = {"number": number, "reference": reference}
    start(application.bot_data, alarms.tell(application, "deadly", "alarm_deadly", **values))
    await _say_sorry(application, update, lambda language: locale.bot_texts(language)["deadly"])
    application.bot_data["state"].hour.failed(RuntimeError())


async def _say_sorry(
    application: BotApplication, update: Update, words: Callable[[Language], str]
) -> None:
    """Tell whoever sent an update that it failed.

    Raises:
        RetryLater: It cannot be said now.
    """
    state: BotState = application.bot_data["state"]
    try:
        text = words(await state.language(update))
        if update.message is not None:
            await update.message.reply_text(text, do_quote=True, allow_sending_without_reply=True)
        elif update.callback_query is not None:
            await update.callback_query.answer(text, show_alert=True)
    except StoreError as later:
        raise RetryLater(str(later)) from later
    except TelegramError as refused:
        if isinstance(refused, NetworkError) and not isinstance(refused, BadRequest):
            raise RetryLater(f"Telegram is away: {refused}") from refused
        logger.warning("Nobody can be told that an update failed: %s", refused)


def report_database_failure(application: BotApplication) -> None:
    """Tell the operators of a database that has not worked for a while."""
    now = asyncio.get_running_loop().time()
    seconds = now - application.bot_data.setdefault("database_fails_since", now)
    if seconds >= _LONG_S:
        reference = secrets.token_hex(4)
        logger.error("%s: the database has not been usable for %.0f s", reference, seconds)
        alarms: Alarms = application.bot_data["alarms"]
        values = {"seconds": f"{seconds:.0f}", "reference": reference}
        telling = alarms.tell(application, "database", "alarm_database", **values)
        start(application.bot_data, telling)


def clear_database_failure(application: BotApplication) -> None:
    """Note that the database works."""
    application.bot_data.pop("database_fails_since", None)


class CatalogWarnings(logging.Handler):
    """Tells the operators what the catalog warns of, as that a live model cannot be loaded."""

    def __init__(self, application: BotApplication) -> None:
        super().__init__(logging.WARNING)
        self._application = application
        self._loop = asyncio.get_running_loop()

    def emit(self, record: logging.LogRecord) -> None:
        """Tell the operators, from whatever thread this is called."""
        text, reference = record.getMessage(), secrets.token_hex(4)
        logger.warning("%s: operators are told: %s", reference, text)
        alarms: Alarms = self._application.bot_data["alarms"]
        values = {"text": text, "reference": reference}
        with suppress(RuntimeError):  # the loop has ended
            asyncio.run_coroutine_threadsafe(
                alarms.tell(self._application, text, "alarm_text", **values), self._loop
            )
