"""Who asks to be forgotten leaves no row behind, whoever asked about their photos."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bot.state import BotState
from tests.bot.running import running
from tests.bot.test_bot import GROUP, asked, words
from tests.bot.test_deadly_updates import Patient
from tests.support.servers import wait_for
from tests.telegram_server import TelegramServer

SENDER, MEMBER = 1, 2


@pytest.fixture
def telegram() -> Iterator[TelegramServer]:
    with TelegramServer().running() as server:
        yield server


def ask_about_photo_of_sender(telegram: TelegramServer, content: bytes) -> None:
    """A member of a group sends /what in reply to the sender's photo."""
    file = telegram.add_file(content)
    size = {"file_id": file, "file_unique_id": file, "width": 640, "height": 480}
    to: dict[str, Any] = {"message_id": 4, "date": 1, "from": telegram.user(SENDER)}
    to |= {"chat": {"id": GROUP, "type": "supergroup"}, "photo": [size]}
    telegram.text(GROUP, "/what", reply_to_message=to, user=MEMBER)


def rows_of_sender(state: BotState) -> int:
    return state.store.chats.user_stats(state.person(SENDER) or "").answers


def test_member_who_asks_meanwhile_leaves_no_row_of_the_sender(
    telegram: TelegramServer, tmp_path: Path, photo: Path
) -> None:
    with (
        closing(Patient(away=False)) as predictor,
        running(telegram, tmp_path, predictor=predictor) as bot,
    ):
        ask_about_photo_of_sender(telegram, photo.read_bytes())
        wait_for(lambda: predictor.asked == 1)
        said = asked(telegram, SENDER, lambda: telegram.text(SENDER, "/forget"))
        assert said.text == words()["forgotten"]
        predictor.free()
        (reply,) = telegram.wait_for(1, GROUP)
        assert reply.text.startswith("A ship"), "the member is answered"
        wait_for(lambda: bot.store.inbox.waiting(123456) == [])
        assert rows_of_sender(bot.state) == 0
        ask_about_photo_of_sender(telegram, photo.read_bytes())
        telegram.wait_for(2, GROUP)
        assert rows_of_sender(bot.state) == 1, "what is asked later is of then"


def test_member_who_asked_before_a_restart_leaves_no_row_of_the_sender(
    telegram: TelegramServer, tmp_path: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.runner._STOP_S", 0.1)
    with closing(Patient(away=False)) as predictor:
        with running(telegram, tmp_path, predictor=predictor):
            ask_about_photo_of_sender(telegram, photo.read_bytes())
            wait_for(lambda: predictor.asked == 1)
            asked(telegram, SENDER, lambda: telegram.text(SENDER, "/forget"))
        predictor.let = True
        with running(telegram, tmp_path, predictor=predictor) as bot:
            (reply,) = telegram.wait_for(1, GROUP)
            assert reply.text.startswith("A ship")
            wait_for(lambda: bot.store.inbox.waiting(123456) == [])
            assert rows_of_sender(bot.state) == 0
