"""Errors of handlers: what is retried, what is reported and what is expected."""

from __future__ import annotations

import shutil
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from bot.timings import Backoff, Timings
from core import locale
from core.bundle.leaderboard import ModelInfo
from core.errors import BotError, PredictorError, StoreError, UnavailableError
from core.registry.catalog import Catalog
from core.serving.remote import RemotePredictor
from core.settings import Settings
from core.store.feedback import StoredAnswer
from core.store.flags import Flags
from core.store.store import Store
from tests.conftest import ROOT
from tests.support.bot_process import start_process
from tests.support.predictors import ControlledPredictor
from tests.support.running_bot import (
    GROUP,
    MENTION,
    RunningBot,
    ask,
    photo_message,
    press,
    running_bot,
    texts,
)
from tests.support.servers import free_port, wait_for
from tests.support.telegram_server import Call, TelegramServer

T = texts()
SOON = Timings(retry=Backoff(0.1, 0.1))
OPERATOR, SENDER, OTHER = 77, 1, 2


# Telegram.


@pytest.mark.parametrize("method", ["sendMessage", "getFile"])
def test_photo_is_answered_once_telegram_is_available_again(
    telegram: TelegramServer, tmp_path: Path, content: bytes, method: str
) -> None:
    telegram.faults.failing[method] = [502, 500]
    with running_bot(telegram, tmp_path, timings=SOON) as bot:
        telegram.faults.failing["getUpdates"] = [500]
        telegram.photo(1, content)
        attempts = 3 if method == "sendMessage" else 1  # Refused messages are recorded too.
        telegram.wait_for(attempts, 1)
        bot.wait_until_idle()
    assert [call.text.startswith("A ship") for call in telegram.sent(1)] == [True] * attempts


@pytest.mark.parametrize("method", ["getFile", "getUpdates", "getMe"])
def test_pause_demanded_by_telegram_is_respected(
    telegram: TelegramServer, tmp_path: Path, content: bytes, method: str
) -> None:
    telegram.faults.busy[method] = [1]
    with running_bot(telegram, tmp_path):
        telegram.photo(1, content)
        (reply,) = telegram.wait_for(1, 1)
    assert reply.text.startswith("A ship")
    assert telegram.faults.busy[method] == []


def test_request_is_repeated_after_a_response_timeout(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    timings = Timings(read_timeout_s=0.5, retry=Backoff(0.2, 0.2))
    with running_bot(telegram, tmp_path, timings=timings) as bot:
        ask(telegram, 2, lambda: telegram.photo(2, content))
        telegram.faults.slow_s = 2.0
        photo = telegram.photo(1, content)
        telegram.wait_for(3, None, "getFile")  # The first request has been given up.
        telegram.faults.slow_s = 0.0
        (reply, *_) = telegram.wait_for(1, 1)
        assert reply.reply_to == photo
        bot.wait_until_idle()


def test_migrated_group_gets_its_answer(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    telegram.faults.moved[GROUP] = GROUP - 1
    with running_bot(telegram, tmp_path):
        telegram.photo(GROUP, content, **MENTION)
        (reply,) = telegram.wait_for(1, GROUP - 1)
    assert reply.text.startswith("A ship")


def test_chat_waiting_for_telegram_frees_its_queue_place(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    telegram.faults.retry_after[1] = [3600]
    # One photo at a time, for the whole bot.
    with running_bot(telegram, tmp_path, queue_size=2, timings=Timings(stop_s=0.1)):
        message = photo_message(telegram, content, 1)
        telegram.text(1, "/compare", reply_to_message=message)
        wait_for(lambda: telegram.faults.retry_after[1] == [])
        telegram.photo(2, content)
        (reply,) = telegram.wait_for(1, 2)
    assert reply.text.startswith("A ship")
    assert telegram.sent(1) == []


def test_revoked_token_ends_the_bot_and_loses_no_photo(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    telegram.photo(1, content)
    telegram.faults.slow_s = 0.5  # The token is revoked while the photo is handled.

    def revoke() -> None:
        with running_bot(telegram, tmp_path) as bot:
            telegram.wait_for(1, None, "getFile")
            telegram.faults.revoked = True
            assert bot.ended.wait(120)

    with pytest.raises(BotError, match="does not know the token"):
        revoke()
    assert telegram.sent(1) == []
    telegram.faults.revoked, telegram.faults.slow_s = False, 0.0
    with running_bot(telegram, tmp_path):
        assert telegram.wait_for(1, 1)[-1].text.startswith("A ship")


# The predictor.


def test_remote_predictor_answers_once_it_is_available(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    port = free_port()
    predictor = RemotePredictor(f"http://127.0.0.1:{port}", timeout_s=0.5)
    with (
        closing(predictor),
        running_bot(telegram, tmp_path / "bot", predictor=predictor, timings=SOON),
    ):
        telegram.photo(1, content)
        telegram.text(2, "/help")
        for chat in (1, 2):
            (notice,) = telegram.wait_for(1, chat)
            assert notice.text == T["unavailable"]
        service = start_process(
            telegram,
            tmp_path / "service",
            "--port",
            str(port),
            front="serve",
            TENSIGHT_MODELS=str(ROOT / "models"),
        )
        try:
            assert telegram.wait_for(2, 1, seconds=200)[-1].text.startswith("A ship")
            assert "airplane" in telegram.wait_for(2, 2)[-1].text
        finally:
            service.terminate()
            service.wait(120)


def test_process_with_remote_predictor_needs_no_models(
    telegram: TelegramServer, tmp_path: Path, content: bytes, catalog: Catalog
) -> None:
    def stored(home: Path, reply: Call) -> StoredAnswer | None:
        """Return the answer behind the buttons of a reply."""
        _, key, *_ = reply.buttons()[T["why"]].split(":")
        with closing(Store.open(Settings(home=home))) as store:
            return store.feedback.answer(key)

    models, empty, port = tmp_path / "models", tmp_path / "empty", free_port()
    shutil.copytree(ROOT / "models" / "classic", models / "classic")
    empty.mkdir()
    url = f"http://127.0.0.1:{port}"
    where = {"TENSIGHT_MODELS": str(empty), "TENSIGHT_PREDICTOR_URL": url}
    service = start_process(
        telegram,
        tmp_path / "service",
        "--port",
        str(port),
        front="serve",
        TENSIGHT_MODELS=str(models),
    )
    bot = start_process(telegram, tmp_path / "remote", **where)
    try:
        telegram.photo(1, content)
        wait_for(lambda: any(c.text.startswith("A ship") for c in telegram.sent(1)), seconds=200)
        remote = telegram.sent(1)[-1]
    finally:
        bot.terminate()
        assert bot.wait(120) == 0
        service.terminate()
        service.wait(120)
    with running_bot(telegram, tmp_path / "local"):
        local = ask(telegram, 2, lambda: telegram.photo(2, content))
    assert remote.text == local.text
    theirs, ours = stored(tmp_path / "remote", remote), stored(tmp_path / "local", local)
    assert theirs is not None
    assert ours is not None
    assert theirs.scores == ours.scores == catalog.load("classic").predict(content).scores
    assert (theirs.revision, theirs.answer) == (ours.revision, ours.answer)


def test_photo_is_given_up_after_a_day_without_predictor(
    telegram: TelegramServer, tmp_path: Path, content: bytes, offline: ControlledPredictor
) -> None:
    with running_bot(telegram, tmp_path, predictor=offline) as bot:
        telegram.photo(1, content, date=int(time.time()) - 90_000)
        apology = telegram.wait_for(2, 1)[-1]
        assert apology.text == locale.format_error(PredictorError(""))
        bot.wait_until_idle()


class UnlistedPredictor(ControlledPredictor):
    """An unavailable predictor that cannot list its models either."""

    listed = 0

    def models(self) -> list[ModelInfo]:
        self.listed += 1
        raise UnavailableError("The predictor cannot be reached.")


def test_waiting_chats_share_one_request_for_the_models(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    with (
        closing(UnlistedPredictor()) as predictor,
        running_bot(telegram, tmp_path, predictor=predictor),
    ):
        for chat in range(1, 31):
            telegram.photo(chat, content)
        for chat in range(1, 31):
            assert telegram.wait_for(1, chat)[0].text == T["unavailable"]
        assert predictor.listed < 10


# The database.


class LockedFlags(Flags):
    """A table that is locked at the first two reads."""

    failures = 2

    def get(self, name: str) -> bool:
        if self.failures:
            self.failures -= 1
            raise StoreError("the database is locked")
        return super().get(name)


def test_photo_is_answered_once_the_database_is_unlocked(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    def lock(store: Store) -> Store:
        return replace(store, flags=LockedFlags(store.database))

    with running_bot(telegram, tmp_path, parts=lock, timings=SOON):
        telegram.photo(1, content)
        (reply,) = telegram.wait_for(1, 1)
    assert reply.text.startswith("A ship")


# Requests that are refused.


@pytest.mark.parametrize(
    "reason",
    [
        "TOPIC_CLOSED",
        "not enough rights to send text messages to the chat",
        "message to be replied not found",
        "group chat was upgraded to a supergroup chat",
    ],
)
def test_chat_where_the_bot_may_not_write_raises_no_alarm(
    telegram: TelegramServer, tmp_path: Path, content: bytes, reason: str
) -> None:
    telegram.faults.closed[GROUP] = reason
    with running_bot(telegram, tmp_path, operators=(OPERATOR,)) as bot:
        telegram.photo(GROUP, content, message_thread_id=5, is_topic_message=True, **MENTION)
        telegram.press(GROUP, "language::nl", message=3, user=SENDER)
        settle(bot)
        assert telegram.sent(OPERATOR) == []
        reply = ask(telegram, OTHER, lambda: telegram.photo(OTHER, content))
        assert reply.text.startswith("A ship")


def settle(bot: RunningBot) -> None:
    """Wait until everything is handled and no alarm can be on its way."""
    bot.wait_until_idle()
    ask(bot.telegram, OTHER, lambda: bot.telegram.text(OTHER, "/whoami"))


def test_unknown_method_is_explained_to_the_chat_that_needs_it(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    telegram.faults.unknown.add("editMessageMedia")
    with running_bot(telegram, tmp_path, operators=(OPERATOR,)) as bot:
        reply = ask(telegram, SENDER, lambda: telegram.photo(SENDER, content))
        _, notice = press(telegram, SENDER, reply, T["why"])
        assert notice.text == T["not_here"]
        (alarm,) = telegram.wait_for(1, OPERATOR)
        assert "button_press.py:" in alarm.text
        reply = ask(telegram, OTHER, lambda: telegram.photo(OTHER, content))
        assert reply.text.startswith("A ship")
        telegram.faults.unknown.add("sendPhoto")
        message = photo_message(telegram, content, SENDER)
        reply = ask(
            telegram,
            SENDER,
            lambda: telegram.text(SENDER, "/explain", reply_to_message=message),
            "sendMessage",
        )
        assert reply.text == T["not_here"]
        assert not bot.ended.is_set()


def test_unsupported_method_without_operators_keeps_the_bot_running(
    telegram: TelegramServer, tmp_path: Path
) -> None:
    telegram.faults.unknown |= {"sendMessage", "answerCallbackQuery"}
    with running_bot(telegram, tmp_path, operators=(OPERATOR,)) as bot:
        telegram.text(SENDER, "/whoami")
        telegram.press(SENDER, "why:x", message=3)
        bot.wait_until_idle()
        telegram.faults.unknown.clear()
        settle(bot)
        assert not bot.ended.is_set()
