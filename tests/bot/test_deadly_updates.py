"""An update that the bot's process dies of is given up after the second time."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from core.errors import PredictorError
from core.registry.catalog import Catalog
from core.serving.local import LocalPredictor
from core.settings import Settings
from core.store.store import Store
from tests.bot.running import running
from tests.bot.test_bot import words
from tests.bot.test_nothing_is_lost import process
from tests.conftest import ROOT
from tests.support.drawings import ship
from tests.support.servers import wait_for
from tests.telegram_server import TelegramServer

OPERATOR, SENDER, OTHERS = 77, 1, range(2, 6)


@pytest.fixture
def telegram() -> Iterator[TelegramServer]:
    with TelegramServer().running() as server:
        yield server


@pytest.fixture
def content(photo: Path) -> bytes:
    return photo.read_bytes()


def test_photo_that_kills_the_process_is_abandoned_and_others_are_answered(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    deadly = tmp_path / "deadly.jpg"
    ship(320, 240).save(deadly)
    digest = hashlib.sha256(deadly.read_bytes()).hexdigest()
    home = tmp_path / "home"

    def start(n: int) -> int | None:
        bot = process(
            telegram,
            home,
            module=("tests.support.dying", digest),
            TENSIGHT_OPERATORS=str(OPERATOR),
        )
        if n < 2:
            return bot.wait(60)
        try:
            telegram.wait_for(1, SENDER, seconds=60)
            for chat in OTHERS:
                telegram.wait_for(1, chat, seconds=60)
            telegram.wait_for(1, OPERATOR, seconds=60)
            after = telegram.photo(SENDER, content)
            assert telegram.wait_for(2, SENDER, seconds=60)[1].reply_to == after
        finally:
            bot.terminate()
        return bot.wait(30)

    killer = telegram.photo(SENDER, deadly.read_bytes())
    for chat in OTHERS:
        telegram.photo(chat, content)
    assert [start(n) for n in range(3)] == [-9, -9, 0]
    told, answered = telegram.sent(SENDER)
    assert (told.text, told.reply_to) == (words()["deadly"], killer)
    assert answered.text.startswith("A ship")
    for chat in OTHERS:
        assert all(call.text.startswith("A ship") for call in telegram.sent(chat))
    (alarm,) = telegram.sent(OPERATOR)
    assert "died twice" in alarm.text
    with closing(Store.open(Settings(home=home))) as store:
        assert store.inbox.waiting(123456) == []


def died_of(telegram: TelegramServer, home: Path) -> None:
    """Leave what processes leave that died twice of the update that Telegram holds."""
    (update,) = telegram._updates
    with closing(Store.open(Settings(home=home))) as store:
        store.inbox.receive(123456, [(update["update_id"], SENDER, json.dumps(update))])
        for _ in range(2):
            store.inbox.begin(123456, [update["update_id"]], 2)


def test_button_that_kills_is_abandoned_too(telegram: TelegramServer, tmp_path: Path) -> None:
    telegram.press(SENDER, "why:x", message=9)
    died_of(telegram, tmp_path)
    with running(telegram, tmp_path, operators=(OPERATOR,)):
        told = telegram.wait_for(1, None, "answerCallbackQuery")[-1]
        assert told.text == words()["deadly"]
        assert "died twice" in telegram.wait_for(1, OPERATOR)[0].text


def test_apology_that_telegram_does_not_take_is_sent_later(
    telegram: TelegramServer, tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.inbox._PAUSES_S", (0.1, 0.1))
    telegram.photo(SENDER, content)
    died_of(telegram, tmp_path)
    telegram.faults.failing["sendMessage"] = [502, 502]
    with running(telegram, tmp_path) as bot:
        telegram.wait_for(3, SENDER)  # each try is recorded
        wait_for(lambda: bot.store.inbox.waiting(123456) == [])
        assert {call.text for call in telegram.sent(SENDER)} == {words()["deadly"]}


class Patient(LocalPredictor):
    """A predictor that is away, or that answers only when it is let."""

    def __init__(self, *, away: bool) -> None:
        settings = Settings(models=ROOT / "models", model="classic")
        super().__init__(Catalog(settings), queue_size=4, deadline_s=30)
        self.away = away
        self.asked = 0
        self.let = False
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    def free(self) -> None:
        """Let those who wait be answered, too."""
        self.let = True
        for loop, event in self._waiting:
            loop.call_soon_threadsafe(event.set)

    async def predict(self, *photos: Any, **how: Any) -> Any:
        self.asked += 1
        if self.away:
            raise PredictorError("not there")
        if not self.let:
            event = asyncio.Event()
            self._waiting.append((asyncio.get_running_loop(), event))
            await event.wait()
        return await super().predict(*photos, **how)


def test_attempts_that_end_are_not_counted(
    telegram: TelegramServer, tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.inbox._PAUSES_S", (0.05, 0.05))
    with (
        closing(Patient(away=True)) as predictor,
        running(telegram, tmp_path, predictor=predictor) as bot,
    ):
        telegram.photo(SENDER, content)
        wait_for(lambda: predictor.asked > 4)
        wait_for(lambda: bot.store.inbox.unsettled(123456) == set())
        predictor.let = True
        predictor.away = False
        assert telegram.wait_for(2, SENDER)[-1].text.startswith("A ship")


def test_attempts_that_a_stop_breaks_off_are_not_counted(
    telegram: TelegramServer, tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.runner._STOP_S", 0.1)
    telegram.photo(SENDER, content)
    with closing(Patient(away=False)) as predictor:
        for _ in range(3):
            predictor.asked = 0
            with running(telegram, tmp_path, predictor=predictor) as bot:
                wait_for(lambda: predictor.asked == 1)
                assert bot.store.inbox.unsettled(123456) == {1}
        predictor.let = True
        with running(telegram, tmp_path, predictor=predictor):
            assert telegram.wait_for(1, SENDER)[0].text.startswith("A ship")
