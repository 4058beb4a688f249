"""Long polling."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from telegram.error import NetworkError, RetryAfter

from bot.polling import Poller
from bot.state import BotApplication
from bot.timings import Backoff, Timings
from core.errors import BotError
from tests.support.bot_process import start_process
from tests.support.running_bot import ask, running_bot
from tests.support.servers import wait_for
from tests.support.telegram_server import TelegramServer
from tests.support.virtual_time import run_in_virtual_time


class UnreachableBot:
    """A bot whose requests fail, and the times of its requests for updates."""

    def __init__(self) -> None:
        self.polls: list[float] = []

    async def delete_webhook(self, **_: Any) -> bool:
        return True

    async def do_api_request(self, *_: Any, **__: Any) -> None:
        self.polls.append(asyncio.get_running_loop().time())
        raise NetworkError("unreachable")


def test_poller_backs_off_while_telegram_is_unreachable() -> None:
    bot = UnreachableBot()
    state = SimpleNamespace(
        timings=Timings(reconnect=Backoff(1.0, 60.0)), inbox=SimpleNamespace(waiting=0)
    )

    async def begin() -> None:
        raise AssertionError("Telegram has not answered")

    async def poll() -> None:
        application = cast(BotApplication, SimpleNamespace(bot=bot, bot_data=state))
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(250, stop.set)
        await Poller(application, begin).run(stop)

    run_in_virtual_time(poll())
    pauses = [b - a for a, b in zip(bot.polls, bot.polls[1:], strict=False)]
    assert pauses[:8] == pytest.approx([1, 2, 4, 8, 16, 32, 60, 60])


def test_pause_that_telegram_demands_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def begin() -> None:
        raise AssertionError("Telegram has given no updates")

    class PausedBot(UnreachableBot):
        async def do_api_request(self, *_: Any, **__: Any) -> None:
            self.polls.append(asyncio.get_running_loop().time())
            raise RetryAfter(3600)

    bot = PausedBot()
    state = SimpleNamespace(timings=Timings(), inbox=SimpleNamespace(waiting=0))

    async def poll() -> None:
        application = cast(BotApplication, SimpleNamespace(bot=bot, bot_data=state))
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(5000, stop.set)
        await Poller(application, begin).run(stop)

    run_in_virtual_time(poll())
    assert bot.polls[1] - bot.polls[0] == pytest.approx(3600)
    assert caplog.messages == ["Telegram demands a pause of 3600 s"] * 2


def test_bot_starts_once_telegram_is_reachable(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    telegram.faults.failing["getMe"] = [500, 502]
    telegram.photo(1, content)
    with running_bot(telegram, tmp_path, timings=Timings(reconnect=Backoff(0.1, 0.1))):
        telegram.wait_for(1, 1)


def test_newly_started_poller_gives_up_for_an_older_one(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    done = threading.Event()

    def write() -> None:
        while not done.wait(0.3):
            telegram.text(9, "/whoami")

    writing = threading.Thread(target=write)
    with running_bot(telegram, tmp_path / "old", timings=Timings(conflict_grace_s=0.0)):
        writing.start()
        newcomer = start_process(telegram, tmp_path / "new", TENSIGHT_LOG_LEVEL="WARNING")
        try:
            assert newcomer.wait(200) == 1
        finally:
            done.set()
            writing.join()
            newcomer.kill()
            newcomer.wait()
        log = (tmp_path / "new" / "bot.log").read_text()
        assert "Another program receives the updates of this bot" in log.splitlines()[-1]
        telegram.photo(1, content)
        telegram.wait_for(1, 1)


def test_leftover_webhook_is_deleted(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    with running_bot(telegram, tmp_path):
        telegram.webhook = {"url": "https://bot.example/hook"}
        wait_for(lambda: telegram.webhook == {})
        ask(telegram, 1, lambda: telegram.photo(1, content))


def test_server_without_get_updates_is_explained(telegram: TelegramServer, tmp_path: Path) -> None:
    telegram.faults.unknown.add("getUpdates")
    with (
        pytest.raises(BotError, match="accepts the token but does not know the method getUpdates"),
        running_bot(telegram, tmp_path),
    ):
        pass


@pytest.mark.parametrize("method", ["deleteWebhook", "setMyCommands"])
def test_server_needs_no_optional_method(
    telegram: TelegramServer, tmp_path: Path, method: str
) -> None:
    telegram.faults.unknown.add(method)
    with running_bot(telegram, tmp_path) as bot:
        ask(telegram, 1, lambda: telegram.text(1, "/whoami"))
        assert not bot.ended.is_set()
