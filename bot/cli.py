"""The command `tensight bot`."""

from __future__ import annotations

import asyncio
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
            help="Public https address that Telegram sends updates to. Unset: they are fetched.",
        ),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(help="Address to listen for webhooks on.", show_default="TENSIGHT_HOST"),
    ] = None,
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port to listen for webhooks on.")
    ] = 8443,
    metrics_port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Port of 127.0.0.1 that Prometheus may ask."),
    ] = None,
) -> None:
    """Answer photos on Telegram."""
    settings = read_settings()
    from bot.runner import serve
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
        serve(
            settings,
            predictor,
            store,
            webhook=webhook,
            host=host or settings.host,
            port=port,
            metrics_port=metrics_port,
            say=say,
        )


@contextmanager
def companion(
    settings: Settings,
    predictor: Predictor,
    metrics_port: int | None,
    say: Callable[[str], None],
) -> Iterator[None]:
    """Run the bot in a thread of its own, where it has a token; the page goes on without it."""
    if settings.telegram_token is None:
        yield
        return
    from bot.metrics import BotMetrics
    from bot.runner import prepare, run
    from core.store.store import Store

    loop, stop = asyncio.new_event_loop(), asyncio.Event()

    def answer() -> None:
        try:
            with closing(Store.open(settings)) as store:
                application = prepare(settings, predictor, store)
                figures = BotMetrics()
                with figures.serve_metrics(metrics_port):
                    loop.run_until_complete(run(application, stop, figures=figures, say=say))
        except TenSightError as error:
            say(f"The bot does not run: {error}")
        except Exception as error:
            logging.getLogger(__name__).exception("The bot does not run")
            say(f"The bot does not run: {type(error).__name__}; the log says more.")
        finally:
            loop.close()

    thread = threading.Thread(target=answer, name="bot")
    thread.start()
    try:
        yield
    finally:
        with suppress(RuntimeError):  # its loop has ended
            loop.call_soon_threadsafe(stop.set)
        thread.join()
