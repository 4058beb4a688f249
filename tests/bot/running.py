"""A bot that runs in this process, and asks the Bot API server of the tests."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bot.app import build_application
from bot.rate_limiter import TelegramRateLimiter
from bot.runner import run
from bot.state import BotState
from core.registry.catalog import Catalog
from core.serving.local import LocalPredictor
from core.serving.predictor import Predictor
from core.settings import Settings
from core.store.inbox import InboxTable
from core.store.store import Store
from tests.conftest import ROOT
from tests.support.servers import wait_for
from tests.telegram_server import TelegramServer


@dataclass
class Running:
    """A bot, what it works with, and whether it has come to its end by itself."""

    telegram: TelegramServer
    settings: Settings
    store: Store
    state: BotState
    ended: threading.Event


def settings_for(telegram: TelegramServer, home: Path, **more: Any) -> Settings:
    known: dict[str, Any] = {"models": ROOT / "models", "model": "classic", "home": home}
    return Settings(**(known | telegram.settings() | more))


def with_inbox(kind: type[InboxTable]) -> Callable[[Store], Store]:
    """Give a store another kind of inbox."""
    return lambda store: replace(store, inbox=kind(store.database))


@contextmanager
def running(
    telegram: TelegramServer,
    home: Path,
    *,
    predictor: Predictor | None = None,
    limits: TelegramRateLimiter | None = None,
    webhook: str | None = None,
    port: int = 0,
    parts: Callable[[Store], Store] = lambda store: store,
    **more: Any,
) -> Iterator[Running]:
    """A bot as long as it is needed; it talks as fast as it can, unless told otherwise."""
    settings = settings_for(telegram, home, **more)
    asked = predictor or LocalPredictor(Catalog(settings), queue_size=64, deadline_s=30)
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    said: list[str] = []
    failed: list[BaseException] = []
    ended = threading.Event()
    with closing(parts(Store.open(settings))) as store:
        application = build_application(
            settings,
            asked,
            store,
            limits=limits or TelegramRateLimiter(overall=1000, private_s=0, group=1000),
        )

        def work() -> None:
            try:
                loop.run_until_complete(
                    run(application, stop, webhook=webhook, port=port, say=said.append)
                )
            except BaseException as error:  # noqa: BLE001  # raised where the test waits
                failed.append(error)
            finally:
                ended.set()
                loop.run_until_complete(loop.shutdown_default_executor())
                loop.close()

        thread = threading.Thread(target=work)
        thread.start()
        try:
            wait_for(lambda: bool(said or failed))
            yield Running(telegram, settings, store, application.bot_data["state"], ended)
        finally:
            if not loop.is_closed():
                loop.call_soon_threadsafe(stop.set)
            thread.join(60)
            if predictor is None:
                asked.close()
    if failed:
        raise failed[0]
