"""Run the bot: take updates until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from telegram import Update
from telegram.error import InvalidToken, NetworkError

from bot import log_redaction, tasks
from bot.alarms import CatalogWarnings, clear_database_failure, report_abandoned, report_failure
from bot.app import answer_updates, build_application
from bot.inbox import Inbox, RetryLater
from bot.metrics import BotMetrics
from bot.operators import end_acts
from bot.polling import poll
from bot.profile import introduce
from bot.refusals import UNKNOWN_BOT
from bot.state import BotApplication, BotState
from bot.tasks import set_after, unless_stopped, wait_or_stop
from bot.webhook import listen
from core.errors import BotError, TenSightError
from core.network import network_hint
from core.serving.predictor import Predictor
from core.settings import Settings
from core.store.store import Store

__all__ = ["prepare", "run", "serve"]

_STOP_S = 20.0
_CLEAN_S = 3600.0

logger = logging.getLogger(__name__)


async def run(
    application: BotApplication,
    stop: asyncio.Event,
    *,
    webhook: str | None = None,
    host: str = "127.0.0.1",
    port: int = 8443,
    figures: BotMetrics | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> None:
    """Take and answer updates until told to stop.

    Args:
        application: As `build_application` gives it.
        stop: Set from this event loop; what runs then has 20 s to come to its end.
        webhook: Public https address that Telegram is to send updates to; None: they are fetched.
        host: Address that webhooks are listened for on.
        port: Port of it.
        figures: Hears of every update.
        say: Gets one line, once updates are taken.

    Raises:
        BotError: The token is wrong, or somebody else takes the updates of this bot.
        ListenError: The address cannot be listened on.
        StoreError: The database cannot be used.
    """
    figures = figures or BotMetrics()
    await _initialized(application, stop)
    if stop.is_set():
        return
    state: BotState = application.bot_data["state"]

    async def handle(updates: Sequence[Update]) -> None:
        try:
            done = await answer_updates(application, updates)
        except RetryLater:
            figures.updates.labels("later").inc(len(updates))
            raise
        clear_database_failure(application)
        figures.updates.labels("done" if done else "failed").inc(len(updates))
        figures.seconds.observe(inbox.age(updates[0]))

    async def give_up(updates: Sequence[Update], why: BaseException) -> None:
        await report_failure(application, updates[0], why)
        figures.updates.labels("failed").inc(len(updates))

    async def abandon(updates: Sequence[Update]) -> None:
        await report_abandoned(application, updates[0])
        figures.updates.labels("failed").inc(len(updates))

    inbox = Inbox(state.store, application.bot, handle, give_up, abandon)
    application.bot_data["inbox"] = inbox
    revoked = application.bot_data["revoked"] = asyncio.Event()
    figures.waiting.set_function(lambda: inbox.waiting)
    alarm = CatalogWarnings(application)
    logging.getLogger("core.registry.catalog").addHandler(alarm)
    cleaning = asyncio.create_task(_clean(state))
    introducing = asyncio.create_task(introduce(application))
    # As if told to stop; said below.
    ending = asyncio.create_task(set_after(revoked, stop))
    try:
        name = f"@{application.bot.username}"
        if webhook is None:
            await poll(application, inbox, stop, lambda: say(f"{name} answers"))
        else:
            await end_acts(application)
            await inbox.replay()
            await listen(
                application, inbox, stop, webhook, host, port, lambda: say(f"{name} answers")
            )
    finally:
        logging.getLogger("core.registry.catalog").removeHandler(alarm)
        await inbox.stop(_STOP_S)
        running = {cleaning, introducing, ending, *application.bot_data["tasks"]}
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await application.shutdown()
    if revoked.is_set():
        raise BotError(UNKNOWN_BOT)


async def _initialized(application: BotApplication, stop: asyncio.Event) -> None:
    """Ask Telegram who the bot is, until it tells."""
    pause = tasks.PAUSES_S[0]
    while not stop.is_set():
        try:
            await unless_stopped(stop, application.initialize())
            return
        except InvalidToken as error:
            raise BotError(UNKNOWN_BOT) from error
        except NetworkError as error:
            settings = application.bot_data["state"].settings
            hint = "" if settings.telegram_proxy else network_hint(settings.telegram_api_url)
            logger.warning("Telegram cannot be reached: %s. %s", error, hint)
            pause = await wait_or_stop(stop, pause)


async def _clean(state: BotState) -> None:
    """Forget what is older than it is kept."""
    while True:
        before = datetime.now(UTC) - timedelta(days=state.settings.retention_days)
        try:
            await asyncio.to_thread(state.store.purge_before, before)
        except TenSightError:
            logger.exception("What is too old cannot be deleted")
        await asyncio.sleep(_CLEAN_S)


def serve(
    settings: Settings,
    predictor: Predictor,
    store: Store,
    *,
    webhook: str | None = None,
    host: str = "127.0.0.1",
    port: int = 8443,
    metrics_port: int | None = None,
    say: Callable[[str], None],
) -> None:
    """Run the bot until the process is told to stop, by Ctrl-C or a signal.

    Args:
        settings: As for `build_application`.
        predictor: As there.
        store: As there.
        webhook: As for `run`.
        host: As there.
        port: As there.
        metrics_port: Port of 127.0.0.1 to tell Prometheus on; None: it is not told.
        say: As for `run`.

    Raises:
        BotError, ListenError, StoreError: As in `run`.
    """

    async def until_told() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        for name in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(name, stop.set)
        figures = BotMetrics()
        application = prepare(settings, predictor, store)
        with figures.serve_metrics(metrics_port):
            await run(
                application, stop, webhook=webhook, host=host, port=port, figures=figures, say=say
            )

    asyncio.run(until_told())


def prepare(settings: Settings, predictor: Predictor, store: Store) -> BotApplication:
    """`build_application`, with the token kept out of the log.

    Raises:
        BotError: As in `build_application`.
    """
    # Before anything of the library runs: at DEBUG it tells the addresses that it is given.
    log_redaction.hide(*settings.secrets())
    return build_application(settings, predictor, store)
