"""Build the Telegram application: its handlers and how their errors are treated."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import httpx
from telegram import Update
from telegram.error import (
    BadRequest,
    EndPointNotFound,
    Forbidden,
    InvalidToken,
    NetworkError,
    TelegramError,
)
from telegram.ext import (
    Application,
    CallbackQueryHandler,
    CommandHandler,
    ContextTypes,
    MessageHandler,
    filters,
)
from telegram.request import HTTPXRequest

from bot import operators
from bot.alarms import Alarms, report_database_failure, report_failure, report_unknown_method
from bot.buttons import on_button
from bot.commands import (
    choose_language,
    choose_model,
    forget,
    on_migration,
    show_help,
    show_privacy,
    show_stats,
    whoami,
)
from bot.guards import Handler, if_meant, reply_with
from bot.inbox import RetryLater, album_of
from bot.photos import HasPhoto, album, on_compare, on_explain, on_photo, on_what
from bot.rate_limiter import TelegramRateLimiter
from bot.refusals import UNKNOWN_BOT, is_closed, knows_token
from bot.state import BotApplication, BotContext, BotState, is_away, key_of
from core.errors import BotError, PredictorError, StoreError
from core.network import broken_variable, is_loopback
from core.serving.predictor import Predictor
from core.settings import Settings
from core.store.store import Store

__all__ = ["add_handlers", "answer_updates", "build_application"]

_READ_S = 60.0
# An answer that comes later is of no use any more.
_GIVE_UP = timedelta(days=1)


def build_application(
    settings: Settings,
    predictor: Predictor,
    store: Store,
    *,
    limits: TelegramRateLimiter | None = None,
) -> BotApplication:
    """The bot's handlers, on a bot of the token of the settings; not yet running.

    Args:
        settings: `telegram_…`, `operators` and others.
        predictor: Who answers.
        store: What is kept.
        limits: How fast it may talk; None: as fast as Telegram allows.

    Raises:
        BotError: There is no token, or it is none.
    """
    if settings.telegram_token is None:
        raise BotError(
            "TENSIGHT_TELEGRAM_TOKEN is not set. @BotFather on Telegram makes a bot and tells its "
            "token."
        )
    token = settings.telegram_token.get_secret_value()
    if settings.database_url is not None and settings.secret is None:
        raise BotError(
            "TENSIGHT_SECRET is not set. With a database elsewhere, the hashes that stand for "
            "persons must not change with the machine: set it once, and never change it."
        )
    try:
        application: BotApplication = (
            Application.builder()
            .token(token)
            .base_url(settings.telegram_api_url)
            .base_file_url(settings.telegram_file_url)
            .request(_request(settings))
            .get_updates_request(_request(settings))
            .rate_limiter(limits or TelegramRateLimiter())
            .context_types(ContextTypes())
            .updater(None)
            .build()
        )
    except InvalidToken as error:
        raise BotError(UNKNOWN_BOT) from error
    state = BotState(settings, predictor, store, key_of(settings))
    application.bot_data |= {
        "state": state,
        "alarms": Alarms(settings.operators),
        "failed": {},
        "tasks": set(),
    }
    # The first that fits handles an update: those of operators stand before "no such command".
    operators.add_handlers(application)
    add_handlers(application)
    application.add_error_handler(_failed)
    return application


def _request(settings: Settings) -> HTTPXRequest:
    """What carries requests to Telegram.

    Raises:
        BotError: The proxy of the settings, or what the environment says, cannot be used.
    """
    proxy = settings.telegram_proxy
    # What the environment says of proxies is not meant for this very computer.
    ours = proxy is not None or is_loopback(settings.telegram_api_url)
    try:
        return HTTPXRequest(
            connection_pool_size=64,
            pool_timeout=60.0,
            # After a time-out nobody knows whether a message was sent; it is sent again.
            read_timeout=_READ_S,
            proxy=proxy.get_secret_value() if proxy is not None else None,
            httpx_kwargs={"trust_env": not ours},
        )
    except (ValueError, RuntimeError, ImportError, OSError, httpx.InvalidURL) as error:
        if proxy is None:
            raise BotError(f"Telegram cannot be reached. {broken_variable() or error}") from error
        raise BotError(
            "TENSIGHT_TELEGRAM_PROXY is no proxy that can be used; it looks like "
            "http://user:password@host:port."
        ) from error


async def _failed(update: object, context: BotContext) -> None:
    """Remember an error for whoever handed the update over."""
    if isinstance(update, Update) and context.error is not None:
        context.bot_data["failed"][update.update_id] = context.error


async def answer_updates(application: BotApplication, updates: Sequence[Update]) -> bool:
    """Answer updates, as `Inbox` asks for; False where it cannot be done, and operators heard."""
    try:
        if album_of(updates[0]) is not None:
            context: BotContext = application.context_types.context.from_update(
                updates[0], application
            )
            await album(updates, context)
        else:
            (update,) = updates
            await application.process_update(update)
            error = application.bot_data["failed"].pop(update.update_id, None)
            if error is not None:
                raise error
    except RetryLater as later:
        message, away = updates[0].message, later.__cause__
        sent_at = datetime.now(UTC) if message is None else message.date
        if not isinstance(away, PredictorError) or sent_at > datetime.now(UTC) - _GIVE_UP:
            raise
        await report_failure(application, updates[0], away)
        return False
    except StoreError as error:
        report_database_failure(application)
        raise RetryLater(str(error)) from error
    except PredictorError as error:
        if not is_away(error):
            await report_failure(application, updates[0], error)
            return False
        raise RetryLater(str(error)) from error
    except (InvalidToken, EndPointNotFound) as error:
        await _refused_as_unknown(application, updates[0], error)
        return False
    except (Forbidden, NetworkError) as error:
        # Who asked has blocked the bot, or thrown it out, or does not let it write.
        if not is_closed(error):
            if not isinstance(error, BadRequest):
                raise RetryLater(f"Telegram is away: {error}") from error
            await report_failure(application, updates[0], error)
            return False
    except Exception as error:  # noqa: BLE001  # the edge of the process: operators hear of it
        await report_failure(application, updates[0], error)
        return False
    return True


async def _refused_as_unknown(
    application: BotApplication, update: Update, error: TelegramError
) -> None:
    """Tell a token that was taken back from a method that a Bot API server does not know.

    Raises:
        RetryLater: The token was taken back: with a new one of the same bot it is answered.
    """
    try:
        known = await knows_token(application.bot)
    except NetworkError as away:
        raise RetryLater(f"Telegram is away: {away}") from away
    if not known:
        application.bot_data["revoked"].set()
        raise RetryLater(str(error)) from error
    await report_unknown_method(application, update, error)


def add_handlers(application: BotApplication) -> None:
    """Everything that anybody may send; what only operators may stands in `bot.operators`."""
    commands: dict[str, Handler] = {
        "start": reply_with("start"),
        "help": show_help,
        "model": choose_model,
        "compare": on_compare,
        "explain": on_explain,
        "what": on_what,
        "stats": show_stats,
        "language": choose_language,
        "privacy": show_privacy,
        "forget": forget,
        "whoami": whoami,
    }
    application.add_handler(MessageHandler(filters.StatusUpdate.MIGRATE, on_migration))
    new = filters.UpdateType.MESSAGE
    for name, handler in commands.items():
        application.add_handler(CommandHandler(name, if_meant(handler), filters=new))
    application.add_handler(MessageHandler(new & HasPhoto(), on_photo))
    application.add_handler(CallbackQueryHandler(on_button))
    alone = new & filters.ChatType.PRIVATE
    application.add_handler(MessageHandler(alone & filters.COMMAND, reply_with("unknown")))
    application.add_handler(MessageHandler(alone & ~filters.StatusUpdate.ALL, reply_with("other")))
