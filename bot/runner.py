"""Run the bot: receive updates until it is stopped."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import UTC, datetime, timedelta

from telegram import Bot
from telegram.error import InvalidToken, NetworkError

from bot.alarms import model_failure_reporter
from bot.digest_sender import watch_digests
from bot.dispatcher import Dispatcher
from bot.drift_alarm import watch_drift
from bot.ended_rollouts import watch_ended_rollouts
from bot.label_messages import watch_label_messages
from bot.operator_audit import close_interrupted_commands
from bot.polling import Poller
from bot.profile import publish_profile
from bot.refusals import UNKNOWN_BOT
from bot.standby import only_process, run_while_active
from bot.state import BotApplication, BotState
from bot.tasks import set_after, unless_stopped, wait_or_stop
from bot.webhook import WebhookAddress, WebhookServer
from core.errors import BotError, StoreError, TenSightError
from core.network import network_hint
from core.serving.local import LocalPredictor

__all__ = ["run", "serve"]

logger = logging.getLogger(__name__)


async def run(
    application: BotApplication,
    stop: asyncio.Event,
    *,
    webhook: WebhookAddress | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> None:
    """Receive and answer updates until the bot is stopped.

    Args:
        application: Application from `build_application`.
        stop: Set from this event loop to stop; running handlers then get 20 s to finish.
        webhook: Where updates are received; None to fetch them by polling.
        report: Called with one line when updates are received.

    Raises:
        BotError: The token is unknown, or another program receives the updates of this bot.
        ListenError: The webhook's address cannot be bound to.
        StoreError: The database cannot be used.
    """
    await _connect(application, stop)
    if stop.is_set():
        return
    bot, state = application.bot, application.bot_data
    try:
        async with only_process(state, bot.id):
            await _receive(application, stop, webhook, report)
    finally:
        await application.shutdown()
        state.taught.close()
    if state.token_revoked.is_set():
        raise BotError(UNKNOWN_BOT)


async def _receive(
    application: BotApplication,
    stop: asyncio.Event,
    webhook: WebhookAddress | None,
    report: Callable[[str], None],
) -> None:
    """Receive and answer updates, as `run` does, once the bot is connected."""
    bot, state = application.bot, application.bot_data
    state.metrics.waiting.set_function(lambda: state.inbox.waiting)
    state.tasks.start(_purge_regularly(state))
    if state.store.database.is_shared:
        state.tasks.start(_clean_up_after_others(bot, state))
    state.tasks.start(publish_profile(application))
    state.tasks.start(watch_drift(bot, state))
    state.tasks.start(watch_ended_rollouts(bot, state))
    state.tasks.start(watch_digests(bot, state))
    state.tasks.start(watch_label_messages(bot, state))
    # A revoked token stops the bot; it is reported by `run`.
    state.tasks.start(set_after(state.token_revoked, stop))

    async def begin() -> None:
        await close_interrupted_commands(bot, state)
        await state.inbox.start(Dispatcher(application))

    def ready() -> None:
        report(f"@{bot.username} answers")

    async def begin_polling() -> None:
        await begin()
        ready()

    async def poll(until: asyncio.Event) -> None:
        await Poller(application, begin_polling).run(until)

    with _model_failure_alarms(state):
        try:
            if webhook is None:
                await run_while_active(state, bot.id, stop, poll, report)
            else:
                server = WebhookServer(application, webhook)
                await begin()
                await server.run(stop, ready)
        finally:
            await state.inbox.stop()
            await state.tasks.cancel()


async def _connect(application: BotApplication, stop: asyncio.Event) -> None:
    """Request the bot's name from Telegram until it answers or the bot is stopped.

    Raises:
        BotError: The token is unknown.
    """
    state = application.bot_data
    pause = state.timings.reconnect.first_s
    while not stop.is_set():
        try:
            await unless_stopped(stop, application.initialize())
            return
        except InvalidToken as error:
            raise BotError(UNKNOWN_BOT) from error
        except NetworkError as error:
            settings = state.settings
            hint = "" if settings.telegram_proxy else network_hint(settings.telegram_api_url)
            logger.warning("Telegram cannot be reached: %s. %s", error, hint)
            await wait_or_stop(stop, pause)
            pause = state.timings.reconnect.next(pause)


def _model_failure_alarms(state: BotState) -> AbstractContextManager[None]:
    """Notify operators of models that fail to load in this process while the context is open."""
    if isinstance(state.predictor, LocalPredictor):
        return state.predictor.reporting_model_failures(model_failure_reporter(state.alarms))
    return nullcontext()


async def _clean_up_after_others(bot: Bot, state: BotState) -> None:
    """Close the commands of processes that died, and delete expired send slots."""
    while True:
        await asyncio.sleep(state.timings.lease_s)
        with suppress(StoreError):  # The inbox logs that the database is unavailable.
            await close_interrupted_commands(bot, state)
            await asyncio.to_thread(state.store.slots.purge)


async def _purge_regularly(state: BotState) -> None:
    """Delete expired data at intervals."""
    while True:
        before = datetime.now(UTC) - timedelta(days=state.settings.retention_days)
        try:
            await asyncio.to_thread(state.store.purge_before, before)
        except TenSightError:
            logger.exception("Expired data could not be deleted")
        await asyncio.sleep(state.timings.purge_every_s)


def serve(
    application: BotApplication,
    *,
    webhook: WebhookAddress | None = None,
    metrics_port: int | None = None,
    metrics_host: str = "127.0.0.1",
    report: Callable[[str], None],
) -> None:
    """Run the bot until the process is stopped, by Ctrl-C or a signal.

    Args:
        application: Application from `build_application`.
        webhook: Where updates are received; None to fetch them by polling.
        metrics_port: Port for Prometheus; None to serve no metrics.
        metrics_host: Address that this port is bound to.
        report: Called with one line when updates are received.

    Raises:
        BotError, ListenError, StoreError: As in `run`.
    """

    async def run_until_signal() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        with application.bot_data.metrics.serve_metrics(metrics_port, metrics_host):
            await run(application, stop, webhook=webhook, report=report)

    asyncio.run(run_until_signal())
