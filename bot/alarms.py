"""Notify operators of failures."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from telegram import Bot
from telegram.error import TelegramError

from bot.chat_wording import reword_for_chat
from bot.tasks import BackgroundTasks
from bot.timings import Timings
from core import locale
from core.errors import StoreError
from core.locale import Language
from core.store.chats import ChatTable

__all__ = ["Alarms", "model_failure_reporter", "operator_language"]

logger = logging.getLogger(__name__)


class Alarms:
    """Notifications to all operators, at most one an hour for each kind of failure.

    Args:
        bot: Bot that sends them.
        operators: Ids of the operators.
        language_of: Returns the language of an operator.
        tasks: Background tasks that send them; no handler waits for an alarm.
        timings: Intervals.
    """

    def __init__(
        self,
        bot: Bot,
        operators: Sequence[int],
        language_of: Callable[[int], Awaitable[Language]],
        tasks: BackgroundTasks,
        timings: Timings,
    ) -> None:
        self._bot = bot
        self._operators = operators
        self._language_of = language_of
        self._tasks = tasks
        self._timings = timings
        self._sent: dict[str, float] = {}
        self._database_failed_at: float | None = None

    def raise_alarm(self, kind: str, key: str, /, **values: object) -> None:
        """Notify the operators in the background, at most once an hour for each kind of failure.

        Args:
            kind: Kind of failure.
            key: Key of the text in `locale.bot_texts`.
            values: Values of the text's placeholders.
        """
        self._tasks.start(self._send(kind, key, values))

    async def _send(self, kind: str, key: str, values: dict[str, object]) -> None:
        now = asyncio.get_running_loop().time()
        since = now - self._timings.alarm_repeat_s
        self._sent = {k: at for k, at in self._sent.items() if at > since}
        if kind in self._sent:
            return
        # Recorded before it is sent: the next failure may come in the meantime.
        self._sent[kind] = now
        delivered = False
        for operator in self._operators:
            text = locale.bot_texts(await self._language_of(operator))[key].format(**values)
            try:
                await self._bot.send_message(operator, text)
                delivered = True
            except TelegramError as error:
                logger.warning("An alarm could not be sent to an operator: %s", error)
        if not delivered:
            self._sent.pop(kind, None)

    def on_database_failure(self) -> None:
        """Notify the operators if the database has failed for a while."""
        now = asyncio.get_running_loop().time()
        if self._database_failed_at is None:
            self._database_failed_at = now
        seconds = now - self._database_failed_at
        if seconds >= self._timings.database_alarm_s:
            reference = secrets.token_hex(4)
            logger.error("%s: the database has been unavailable for %.0f s", reference, seconds)
            self.raise_alarm(
                "database", "alarm_database", seconds=f"{seconds:.0f}", reference=reference
            )

    def on_database_success(self) -> None:
        """Record that the database works."""
        self._database_failed_at = None


async def operator_language(chats: ChatTable, operator: int) -> Language:
    """Return the language that an operator selected in the private chat, otherwise English."""
    try:
        selected = (await asyncio.to_thread(chats.get, operator)).language
    except StoreError:
        return "en"
    return next((each for each in locale.LANGUAGES if each == selected), "en")


def model_failure_reporter(alarms: Alarms) -> Callable[[str], None]:
    """Return a listener that notifies operators of models that fail to load, from any thread.

    Call it from the event loop.
    """
    loop = asyncio.get_running_loop()

    def report(problem: str) -> None:
        reference = secrets.token_hex(4)
        logger.warning("%s: operators are notified: %s", reference, problem)

        def notify() -> None:
            alarms.raise_alarm(
                problem, "alarm_text", text=reword_for_chat(problem), reference=reference
            )

        with suppress(RuntimeError):  # The loop has been closed.
            loop.call_soon_threadsafe(notify)

    return report
