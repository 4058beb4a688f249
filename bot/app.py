"""Build the Telegram application: its collaborators and handlers."""

from __future__ import annotations

from functools import partial
from typing import cast

import httpx
from telegram.error import InvalidToken
from telegram.ext import (
    Application,
    CallbackQueryHandler,
    CommandHandler,
    ContextTypes,
    ExtBot,
    MessageHandler,
    filters,
)
from telegram.request import HTTPXRequest

from bot import operators
from bot.alarms import Alarms, operator_language
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
from bot.guards import Handler, only_if_addressed, reply_with
from bot.inbox import Inbox
from bot.lane_keeper import LaneKeeper
from bot.metrics import BotMetrics
from bot.model_list import ModelList
from bot.photo_downloads import PhotoDownloads
from bot.photo_rate import PhotoRateLimiter
from bot.photos import HasPhoto, on_compare, on_explain, on_photo, on_what
from bot.rate_limiter import TelegramRateLimiter
from bot.refusals import UNKNOWN_BOT
from bot.shared_pace import SharedPace
from bot.state import BotApplication, BotContext, BotState
from bot.tasks import BackgroundTasks
from bot.taught_models import TaughtModels
from bot.teach import start, teach
from bot.timings import Timings
from core.errors import BotError
from core.network import broken_variable, is_loopback
from core.registry.releases import Releases
from core.serving.local import LocalPredictor
from core.serving.predictor import Predictor
from core.serving.telemetry import RolloutCollector
from core.settings import Settings
from core.store.hash_key import load_hash_key
from core.store.store import Store

__all__ = ["add_handlers", "build_application"]


def build_application(
    settings: Settings,
    predictor: Predictor,
    store: Store,
    *,
    rate_limiter: TelegramRateLimiter | None = None,
    timings: Timings | None = None,
) -> BotApplication:
    """Build the bot with its handlers; `runner.run` runs it.

    Args:
        settings: Settings; the token is required.
        predictor: Predictor that classifies the photos.
        store: Database.
        rate_limiter: Limits on messages to Telegram; None for those that Telegram documents.
        timings: Intervals and timeouts; None for the defaults.

    Raises:
        BotError: The token is missing or invalid, or another setting cannot be used.
    """
    if settings.telegram_token is None:
        raise BotError(
            "TENSIGHT_TELEGRAM_TOKEN is not set. @BotFather on Telegram creates a bot and gives "
            "you its token."
        )
    if settings.database_url is not None and settings.secret is None:
        raise BotError(
            "TENSIGHT_SECRET is not set. With an external database, the key of the user hashes "
            "must not depend on the machine: set it once and never change it."
        )
    timings = timings or Timings()
    token, hash_key = settings.telegram_token.get_secret_value(), load_hash_key(settings)
    if rate_limiter is None:
        shared = store.database.is_shared
        pace = SharedPace(store.slots, token.partition(":")[0], hash_key) if shared else None
        rate_limiter = TelegramRateLimiter(shared=pace)
    try:
        bot: ExtBot[None] = ExtBot(
            token,
            base_url=settings.telegram_api_url,
            base_file_url=settings.telegram_file_url,
            request=_request(settings, timings),
            get_updates_request=_request(settings, timings),
            rate_limiter=rate_limiter,
        )
    except InvalidToken as error:
        raise BotError(UNKNOWN_BOT) from error
    state = _build_state(settings, predictor, store, bot, hash_key, timings)
    # The library creates `bot_data` by calling its type without arguments.
    types = ContextTypes(context=BotContext, bot_data=cast("type[BotState]", lambda: state))
    application: BotApplication = (
        Application.builder().bot(bot).context_types(types).updater(None).build()
    )
    # The first handler that accepts an update handles it: operators' commands come before the
    # reply to unknown ones.
    operators.add_handlers(application)
    add_handlers(application)
    return application


def _build_state(
    settings: Settings,
    predictor: Predictor,
    store: Store,
    bot: ExtBot[None],
    hash_key: bytes,
    timings: Timings,
) -> BotState:
    tasks, language_of = BackgroundTasks(), partial(operator_language, store.chats)
    alone = not store.database.is_shared
    keeper = LaneKeeper(store.inbox, store.lanes, bot, timings, alone=alone)
    metrics = BotMetrics()
    if isinstance(predictor, LocalPredictor):
        collector = RolloutCollector(predictor.rollouts, predictor.rollout_ends)
        metrics.registry.register(collector)
    return BotState(
        settings=settings,
        predictor=predictor,
        store=store,
        releases=Releases(settings, store),
        hash_key=hash_key,
        timings=timings,
        models=ModelList(predictor),
        taught=TaughtModels(settings, predictor, hash_key),
        # Half the predictor's places, so that the bot's own photos do not fill its queue.
        photos=PhotoDownloads(bot, max(1, settings.queue_size // 2)),
        photo_rate=PhotoRateLimiter(settings.chat_photos_per_minute),
        inbox=Inbox(store.inbox, keeper, bot, timings, alone=alone),
        alarms=Alarms(bot, settings.operators, language_of, tasks, timings),
        tasks=tasks,
        metrics=metrics,
    )


def _request(settings: Settings, timings: Timings) -> HTTPXRequest:
    """Build the HTTP client for Telegram.

    Raises:
        BotError: The proxy of the settings or of the environment cannot be used.
    """
    proxy = settings.telegram_proxy
    # The environment's proxies are not meant for requests to this machine.
    ignores_environment = proxy is not None or is_loopback(settings.telegram_api_url)
    try:
        return HTTPXRequest(
            connection_pool_size=64,
            pool_timeout=60.0,
            # After a timeout it is unknown whether a message was sent; it is sent again.
            read_timeout=timings.read_timeout_s,
            proxy=proxy.get_secret_value() if proxy is not None else None,
            httpx_kwargs={"trust_env": not ignores_environment},
        )
    except (ValueError, RuntimeError, ImportError, OSError, httpx.InvalidURL) as error:
        if proxy is None:
            raise BotError(f"Telegram cannot be reached. {broken_variable() or error}") from error
        raise BotError(
            "TENSIGHT_TELEGRAM_PROXY is not a usable proxy URL. Write it as "
            "http://user:password@host:port."
        ) from error


def add_handlers(application: BotApplication) -> None:
    """Add the handlers of what everyone may send; operators' commands are in `bot.operators`."""
    commands: dict[str, Handler] = {
        "start": start,
        "help": show_help,
        "model": choose_model,
        "teach": teach,
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
    messages = filters.UpdateType.MESSAGE
    for name, handler in commands.items():
        application.add_handler(CommandHandler(name, only_if_addressed(handler), filters=messages))
    application.add_handler(MessageHandler(messages & HasPhoto(), on_photo))
    application.add_handler(CallbackQueryHandler(on_button))
    private = messages & filters.ChatType.PRIVATE
    unknown, other = reply_with("unknown"), reply_with("other")
    application.add_handler(MessageHandler(private & filters.COMMAND, unknown))
    application.add_handler(MessageHandler(private & ~filters.StatusUpdate.ALL, other))
