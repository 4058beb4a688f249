"""What Telegram, or another Bot API server, refuses: who hears of it, and who does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bot import alarms
from core.errors import BotError
from tests.bot.running import Running, running
from tests.bot.test_bot import asked, pressed, words
from tests.support.servers import free_port, wait_for
from tests.telegram_server import TelegramServer

OPERATOR, SENDER, OTHER = 77, 1, 2
GROUP = -100
MENTION: dict[str, Any] = {
    "caption": "@tensight_bot",
    "caption_entities": [{"type": "mention", "offset": 0, "length": 13}],
    "user": SENDER,
}


@pytest.fixture
def telegram() -> Iterator[TelegramServer]:
    with TelegramServer().running() as server:
        yield server


@pytest.fixture
def bot(telegram: TelegramServer, tmp_path: Path) -> Iterator[Running]:
    with running(telegram, tmp_path, operators=(OPERATOR,)) as bot:
        yield bot


def settled(bot: Running) -> None:
    """Return once everything is handled, and no alarm can be on its way."""
    wait_for(lambda: bot.store.inbox.waiting(123456) == [])
    asked(bot.telegram, OTHER, lambda: bot.telegram.text(OTHER, "/whoami"))


def explain(telegram: TelegramServer, content: bytes) -> None:
    """The sender asks /explain in reply to a photo: the answer is a picture."""
    file = telegram.add_file(content)
    size = {"file_id": file, "file_unique_id": file, "width": 9, "height": 9}
    about = {"message_id": 4, "date": 1, "chat": {"id": SENDER, "type": "private"}}
    telegram.text(SENDER, "/explain", reply_to_message=about | {"photo": [size]})


# Alarms.


def test_each_refusal_is_an_alarm_of_its_own(bot: Running, photo: Path) -> None:
    telegram, content = bot.telegram, photo.read_bytes()
    telegram.faults.reasons["sendPhoto"] = [f"Bad Request: {n}" for n in ("one", "two 1", "two 2")]
    for heard in (1, 2):
        explain(telegram, content)
        told = telegram.wait_for(heard, OPERATOR)
    assert len({call.text for call in told}) == 2, "each has a reference of its own"
    explain(telegram, content)
    settled(bot)
    assert len(telegram.sent(OPERATOR)) == 2, "the numbers alone differ"
    reply = asked(telegram, OTHER, lambda: telegram.photo(OTHER, content))
    telegram.faults.reasons["editMessageReplyMarkup"] = ["Bad Request: two 3"]
    telegram.press(OTHER, reply.buttons()["Wrong"], message=int(reply.data["message_id"]))
    (*_, third) = telegram.wait_for(3, OPERATOR)
    assert third.text.startswith("⚠ BadRequest at buttons.py:"), "another handler, another place"
    assert all(call.text.startswith("⚠ BadRequest at photos.py:") for call in told)


@pytest.mark.parametrize(
    ("file", "ours"),
    [
        ("bot/photos.py", True),
        ("core/store/inbox.py", True),
        ("tests/bot/test_bot.py", True),
        (".venv-dev/lib/python3.11/site-packages/telegram/_bot.py", False),
        ("env/lib/python3/dist-packages/httpx/x.py", False),
        ("../elsewhere/bot/x.py", False),
    ],
)
def test_place_is_one_of_this_program(file: str, ours: bool) -> None:
    root = Path(alarms.__file__).resolve().parent.parent
    assert alarms.is_ours((root / file).resolve()) is ours


def test_place_is_one_of_this_program_where_it_is_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = Path("/usr/lib/python3/site-packages")
    monkeypatch.setattr("bot.alarms._ROOT", root)
    assert alarms.is_ours(root / "bot" / "photos.py")
    assert not alarms.is_ours(root / "telegram" / "_bot.py")


@pytest.mark.parametrize(
    "reason",
    [
        "TOPIC_CLOSED",
        "not enough rights to send text messages to the chat",
        "have no rights to send a message",
        "CHAT_WRITE_FORBIDDEN",
        "message thread not found",
        "chat not found",
        "need administrator rights in the channel chat",
    ],
)
def test_chat_where_the_bot_may_not_write_is_no_alarm(
    bot: Running, photo: Path, reason: str
) -> None:
    telegram, content = bot.telegram, photo.read_bytes()
    telegram.faults.closed[GROUP] = reason
    telegram.photo(GROUP, content, message_thread_id=5, is_topic_message=True, **MENTION)
    telegram.press(GROUP, "language::nl", message=3, user=SENDER)
    settled(bot)
    assert telegram.sent(OPERATOR) == []
    assert asked(telegram, OTHER, lambda: telegram.photo(OTHER, content)).text.startswith("A ship")


# A server that does not know a method.


def test_unknown_method_is_said_to_the_one_chat(bot: Running, photo: Path) -> None:
    telegram, content = bot.telegram, photo.read_bytes()
    telegram.faults.unknown.add("editMessageMedia")
    reply = asked(telegram, SENDER, lambda: telegram.photo(SENDER, content))
    _, told = pressed(telegram, SENDER, reply, "Why?")
    assert told.text == words()["not_here"]
    (alarm,) = telegram.wait_for(1, OPERATOR)
    assert "does not know a method that is needed at buttons.py:" in alarm.text
    assert asked(telegram, OTHER, lambda: telegram.photo(OTHER, content)).text.startswith("A ship")
    assert not bot.ended.is_set()
    telegram.faults.unknown.add("sendPhoto")
    said = asked(telegram, SENDER, lambda: explain(telegram, content), "sendMessage")
    assert said.text == words()["not_here"]


def test_unknown_method_that_nobody_can_be_told_of_ends_nothing(bot: Running) -> None:
    telegram = bot.telegram
    telegram.faults.unknown |= {"sendMessage", "answerCallbackQuery"}
    telegram.text(SENDER, "/whoami")
    telegram.press(SENDER, "why:x", message=3)
    wait_for(lambda: bot.store.inbox.waiting(123456) == [])
    telegram.faults.unknown.clear()
    settled(bot)
    assert not bot.ended.is_set()


@pytest.mark.parametrize("method", ["getWebhookInfo", "deleteWebhook", "setMyCommands"])
def test_method_that_it_can_do_without_ends_nothing(
    telegram: TelegramServer, tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.webhook._WATCH_S", 0.05)
    telegram.faults.unknown.add(method)
    how: dict[str, Any] = {}
    if method == "getWebhookInfo":
        port = free_port()
        telegram.webhook["local"] = f"http://127.0.0.1:{port}/hook"
        how = {"webhook": "https://bot.example/hook", "port": port}
    with running(telegram, tmp_path, **how) as bot:
        asked(telegram, OTHER, lambda: telegram.text(OTHER, "/whoami"))
        assert not bot.ended.is_set()


@pytest.mark.parametrize("method", ["getUpdates", "setWebhook"])
def test_method_that_it_cannot_do_without_is_named(
    telegram: TelegramServer, tmp_path: Path, method: str
) -> None:
    telegram.faults.unknown.add(method)
    how: dict[str, Any] = {}
    if method == "setWebhook":
        how = {"webhook": "https://bot.example/hook", "port": free_port()}
    said = f"TENSIGHT_TELEGRAM_API_URL knows the token and not the method {method}"
    with pytest.raises(BotError, match=said), running(telegram, tmp_path, **how):
        pass
