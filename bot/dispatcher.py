"""Pass updates to their handlers, and decide what follows from an error."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from telegram import Update
from telegram.error import EndPointNotFound, InvalidToken, NetworkError, TelegramError

from bot.failures import report_abandoned, report_failure, report_unknown_method
from bot.photos import answer_album
from bot.refusals import is_closed, is_gone, knows_token
from bot.retry import RetryLater, Service, unavailable_service
from bot.state import BotApplication, BotContext
from bot.updates import album_of

__all__ = ["Dispatcher"]

# An answer after a longer time is of no use to its recipient.
_MAX_AGE = timedelta(days=1)


class Dispatcher:
    """An `UpdateHandler` that calls the handlers of an application and reports their errors.

    Args:
        application: Application with the handlers.
    """

    def __init__(self, application: BotApplication) -> None:
        self._application = application
        self._state = application.bot_data
        self._outcomes = application.bot_data.metrics.updates

    async def handle(self, updates: Sequence[Update]) -> None:
        """Answer updates, as in `UpdateHandler`."""
        context = BotContext.of(updates[0], self._application)
        try:
            answered = await self._answer(updates, context)
        except RetryLater:
            self._count("later", updates)
            raise
        self._state.alarms.on_database_success()
        self._count("done" if answered else "failed", updates)
        self._state.metrics.seconds.observe(context.waited_s)

    async def give_up(self, updates: Sequence[Update], error: Exception) -> None:
        """Report an error that Telegram repeats, as in `UpdateHandler`."""
        await report_failure(BotContext.of(updates[0], self._application), error)
        self._count("failed", updates)

    async def abandon(self, updates: Sequence[Update]) -> None:
        """Report updates that killed the process, as in `UpdateHandler`."""
        await report_abandoned(BotContext.of(updates[0], self._application))
        self._count("failed", updates)

    async def _answer(self, updates: Sequence[Update], context: BotContext) -> bool:
        """Answer updates; return False if that failed and was reported.

        Raises:
            RetryLater: They are to be handled again.
        """
        try:
            if album_of(updates[0]) is not None:
                await answer_album(updates, context)
            else:
                await self._call_handler(updates[0], context)
        except RetryLater:
            raise
        except Exception as error:  # noqa: BLE001  # any error of a handler is reported
            return await self._recover(error, context)
        return True

    async def _call_handler(self, update: Update, context: BotContext) -> None:
        """Call the first handler that accepts an update; its error is raised to the caller.

        `Application.process_update` would pass the error to an error handler instead.
        """
        for handler in itertools.chain.from_iterable(self._application.handlers.values()):
            check = handler.check_update(update)
            if check is not None and check is not False:
                await handler.handle_update(update, self._application, check, context)
                return

    async def _recover(self, error: Exception, context: BotContext) -> bool:
        """Report an error, or ignore an expected one; return whether it was an expected one.

        Raises:
            RetryLater: A service is unavailable, or the token was revoked.
        """
        if isinstance(error, InvalidToken | EndPointNotFound):
            await self._recover_from_not_found(error, context)
            return False
        if isinstance(error, TelegramError) and (is_closed(error) or is_gone(error)):
            return True  # The chat does not let the bot write, or the message was deleted.
        service = unavailable_service(error)
        if service is Service.DATABASE:
            self._state.alarms.on_database_failure()
        is_late = service is Service.PREDICTOR and _is_old(context.current_update)
        if service is None or is_late:
            await report_failure(context, error)
            return False
        raise RetryLater(service, error) from error

    async def _recover_from_not_found(self, error: TelegramError, context: BotContext) -> None:
        """Tell a revoked token from a method that the Bot API server lacks.

        Raises:
            RetryLater: The token was revoked: the update is answered with the bot's next token.
        """
        try:
            known = await knows_token(self._application.bot)
        except NetworkError as network_error:
            raise RetryLater(Service.TELEGRAM, network_error) from network_error
        if not known:
            self._state.token_revoked.set()
            raise RetryLater(Service.TELEGRAM, error) from error
        await report_unknown_method(context, error)

    def _count(self, outcome: str, updates: Sequence[Update]) -> None:
        self._outcomes.labels(outcome).inc(len(updates))


def _is_old(update: Update) -> bool:
    message = update.message
    return message is not None and message.date < datetime.now(UTC) - _MAX_AGE
