"""Fixtures of the bot's tests."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.charts.drawer import ChartDrawer
from tests.support.forked_workers import forked_workers
from tests.support.hub_server import HubServer
from tests.support.operator_chat import OPERATOR, OTHER
from tests.support.predictors import ControlledPredictor, unavailable
from tests.support.rolling_bot import Rolling, rolling_bot
from tests.support.running_bot import RunningBot, ask, running_bot
from tests.support.telegram_server import Call, TelegramServer

_CHATS = itertools.count(1)


@pytest.fixture(scope="session", autouse=True)
def _forked_workers() -> Iterator[None]:
    """Start the bot's workers in a tenth of the time."""
    with forked_workers():
        yield


@pytest.fixture
def telegram() -> Iterator[TelegramServer]:
    """Return a Bot API server for the test alone."""
    with TelegramServer().running() as server:
        yield server


@pytest.fixture(scope="session")
def bot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBot]:
    """Return a bot that tests share; each of them uses a chat of its own."""
    with (
        TelegramServer().running() as server,
        running_bot(server, tmp_path_factory.mktemp("bot")) as bot,
    ):
        yield bot


@pytest.fixture
def chat() -> int:
    """Return the id of a user who has not written before."""
    return next(_CHATS)


@pytest.fixture
def group() -> int:
    """Return the id of a group that nobody has written in before."""
    return -1000 - next(_CHATS)


@pytest.fixture
def content(photo: Path) -> bytes:
    """Return the file of a photo that shows a ship."""
    return photo.read_bytes()


@pytest.fixture
def reply(bot: RunningBot, content: bytes, chat: int) -> Iterator[Call]:
    """Return the reply to a photo in a chat of the test's own."""
    yield ask(bot.telegram, chat, lambda: bot.telegram.photo(chat, content))
    bot.telegram.faults.gone = set()


@pytest.fixture
def operated(telegram: TelegramServer, tmp_path: Path) -> Iterator[RunningBot]:
    """Return a bot with two operators, for whom no pictures are drawn."""
    with running_bot(telegram, tmp_path / "home", operators=(OPERATOR, OTHER)) as bot:
        bot.state.charts = ChartDrawer(is_installed=False)
        yield bot


@pytest.fixture
def rolling(telegram: TelegramServer, tmp_path: Path) -> Iterator[Rolling]:
    """Return a bot with an operator, and an installed candidate of its model."""
    with rolling_bot(telegram, tmp_path) as bot:
        yield bot


@pytest.fixture
def offline() -> Iterator[ControlledPredictor]:
    """Return a predictor that is unavailable until its error is removed."""
    predictor = unavailable()
    yield predictor
    predictor.close()


@pytest.fixture
def held() -> Iterator[ControlledPredictor]:
    """Return a predictor that answers when it is released."""
    predictor = ControlledPredictor(held=True)
    yield predictor
    predictor.release()
    predictor.close()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """Return a Hub for the client in this process, which reads its address when imported."""
    with HubServer().running() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        constants = "huggingface_hub.constants"
        monkeypatch.setattr(f"{constants}.HF_HUB_OFFLINE", False)
        monkeypatch.setattr(f"{constants}.ENDPOINT", hub.url)
        template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(f"{constants}.HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield hub
