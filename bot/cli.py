"""The command `tensight bot`."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import TYPE_CHECKING, Annotated

import typer

from core.cli.console import read_settings, say
from core.errors import TenSightError

if TYPE_CHECKING:
    from core.serving.predictor import Predictor
    from core.settings import Settings

__all__ = ["bot", "companion"]


def bot(
    webhook: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Public https address of the webhook. Default: fetch updates by long polling.",
        ),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(
            help="Address that the webhook server binds to.", show_default="TENSIGHT_HOST"
        ),
    ] = None,
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port that the webhook server binds to.")
    ] = 8443,
    metrics_port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Port for Prometheus metrics."),
    ] = None,
    metrics_host: Annotated[
        str, typer.Option(help="Address that the port for Prometheus metrics binds to.")
    ] = "127.0.0.1",
) -> None:
    """Run the Telegram bot, which classifies the photos sent to it."""
    settings = read_settings()
    from bot.app import build_application
    from bot.runner import serve
    from bot.webhook import WebhookAddress
    from core.registry.releases import Releases
    from core.registry.sync import HubSync
    from core.serving.connect import connect
    from core.serving.local import LocalPredictor
    from core.store.store import Store

    with ExitStack() as stack:
        predictor = stack.enter_context(closing(connect(settings)))
        store = stack.enter_context(closing(Store.open(settings)))
        if isinstance(predictor, LocalPredictor):
            predictor.warm()
            stack.enter_context(closing(HubSync(settings, Releases(settings, store))))
        address = None
        if webhook is not None:
            address = WebhookAddress(webhook, host or settings.host, port)
        application = build_application(settings, predictor, store)
        serve(
            application,
            webhook=address,
            metrics_port=metrics_port,
            metrics_host=metrics_host,
            report=say,
        )


@contextmanager
def companion(
    settings: Settings,
    predictor: Predictor,
    metrics_port: int | None,
    report: Callable[[str], None],
) -> Iterator[None]:
    """Run the bot in a thread beside another front, if a token is set.

    The other front goes on if the bot fails.

    Args:
        settings: Settings.
        predictor: Predictor that the fronts share.
        metrics_port: Port of 127.0.0.1 for Prometheus; None to serve no metrics.
        report: Called with one line when updates are received, or when the bot fails.
    """
    if settings.telegram_token is None:
        yield
        return
    import asyncio

    from bot.app import build_application
    from bot.runner import run
    from core.store.store import Store

    loop, stop = asyncio.new_event_loop(), asyncio.Event()

    def work() -> None:
        try:
            with closing(Store.open(settings)) as store:
                application = build_application(settings, predictor, store)
                with application.bot_data.metrics.serve_metrics(metrics_port):
                    loop.run_until_complete(run(application, stop, report=report))
        except TenSightError as error:
            report(f"The bot is not running: {error}")
        except Exception as error:
            logging.getLogger(__name__).exception("The bot is not running")
            report(f"The bot is not running: {type(error).__name__}. See the log for details.")
        finally:
            loop.close()

    thread = threading.Thread(target=work, name="bot")
    thread.start()
    try:
        yield
    finally:
        with suppress(RuntimeError):  # The loop has been closed.
            loop.call_soon_threadsafe(stop.set)
        thread.join()
