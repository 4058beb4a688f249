"""Delivery of updates: none is lost or answered twice, and users can be forgotten."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

from bot.timings import Backoff, Timings
from core.errors import StoreError
from core.store.feedback import FeedbackTable
from core.store.inbox import InboxTable
from core.store.store import Store
from tests.support.predictors import ControlledPredictor
from tests.support.running_bot import (
    GROUP,
    ask,
    photo_message,
    press,
    running_bot,
    texts,
    webhook_for,
    with_inbox,
)
from tests.support.servers import wait_for
from tests.support.telegram_server import TelegramServer

T = texts()
SOON = Timings(retry=Backoff(0.05, 0.05), reconnect=Backoff(0.05, 0.05))
SENDER = 1


# Order and delivery.


def test_photos_of_a_chat_are_answered_in_order(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    with running_bot(telegram, tmp_path):
        sent = [telegram.photo(1, content) for _ in range(6)]
        assert [call.reply_to for call in telegram.wait_for(6, 1)] == sent


def test_updates_out_of_order_and_repeated_are_answered_once_in_order(
    telegram: TelegramServer, tmp_path: Path, content: bytes, held: ControlledPredictor
) -> None:
    file = telegram.add_file(content)
    size = {"file_id": file, "file_unique_id": file, "width": 9, "height": 9}

    def send(number: int) -> None:
        about = {"message_id": number, "date": 1, "from": telegram.user(1)}
        chat = {"id": 1, "type": "private"}
        telegram.update(number=number, message=about | {"chat": chat, "photo": [size]})

    # By a webhook: a poll confirms all updates before the one that it asks for.
    with running_bot(telegram, tmp_path, predictor=held, webhook=webhook_for(telegram)) as bot:
        send(900)
        wait_for(lambda: held.attempts == 1)
        for number in (902, 901, 900, 902):
            send(number)
        held.release()
        telegram.wait_for(3, 1)
        bot.wait_until_idle()
        assert [call.reply_to for call in telegram.sent(1)] == [900, 901, 902]


def test_updates_from_before_the_start_are_answered_once(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    telegram.photo(1, content)
    with running_bot(telegram, tmp_path):
        telegram.wait_for(1, 1)
    with running_bot(telegram, tmp_path):
        telegram.photo(2, content)
        telegram.wait_for(1, 2)
    assert [len(telegram.sent(chat)) for chat in (1, 2)] == [1, 1]


def test_updates_left_by_a_stop_are_answered_after_the_next_start(
    telegram: TelegramServer, tmp_path: Path, content: bytes, offline: ControlledPredictor
) -> None:
    with running_bot(telegram, tmp_path, predictor=offline) as bot:
        sent = [telegram.photo(1, content) for _ in range(3)]
        telegram.wait_for(1, 1)  # The notice that the predictor is unavailable.
        wait_for(lambda: bot.unanswered() == 3)
    with running_bot(telegram, tmp_path):
        replies = telegram.wait_for(4, 1)[1:]
    assert [reply.reply_to for reply in replies] == sent


class FailingInbox(InboxTable):
    """A table that cannot store the first two batches of updates."""

    failures = 2

    def receive(self, *updates: Any) -> set[int]:
        if self.failures:
            self.failures -= 1
            raise StoreError("the disk is full")
        return super().receive(*updates)


def test_update_that_cannot_be_stored_is_fetched_again(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    sent = telegram.photo(1, content)
    with running_bot(telegram, tmp_path, parts=with_inbox(FailingInbox), timings=SOON):
        (reply,) = telegram.wait_for(1, 1)
    assert reply.reply_to == sent


def test_webhook_refuses_updates_that_cannot_be_stored(
    telegram: TelegramServer, tmp_path: Path
) -> None:
    user, chat = telegram.user(9), {"id": 9, "type": "private"}
    message = {"message_id": 1, "date": 1, "from": user, "chat": chat, "text": "/whoami"}
    message["entities"] = [{"type": "bot_command", "offset": 0, "length": 7}]
    update = {"update_id": 5001, "message": message}
    with running_bot(
        telegram, tmp_path, parts=with_inbox(FailingInbox), webhook=webhook_for(telegram)
    ):
        assert [telegram.send_to_webhook(update) for _ in range(3)] == [503, 503, 200]
        telegram.wait_for(1, 9)


class DisconnectingInbox(InboxTable):
    """A table that loses its connection once, after it has stored updates."""

    disconnected = False

    def receive(self, bot: int, updates: Any, owner: str | None = None) -> set[int]:
        new = super().receive(bot, updates, owner)
        if updates and not self.disconnected:
            self.disconnected = True
            raise StoreError("the connection is lost")
        return new


def test_update_stored_before_a_disconnection_is_answered_once(
    telegram: TelegramServer, tmp_path: Path
) -> None:
    with running_bot(telegram, tmp_path, parts=with_inbox(DisconnectingInbox), timings=SOON) as bot:
        telegram.text(1, "/whoami")
        telegram.wait_for(1, 1)
        bot.wait_until_idle()
        ask(telegram, 2, lambda: telegram.text(2, "/whoami"))
        assert len(telegram.sent(1)) == 1


def test_content_of_answered_updates_is_deleted(telegram: TelegramServer, tmp_path: Path) -> None:
    with running_bot(telegram, tmp_path) as bot:
        ask(telegram, 1, lambda: telegram.text(1, "/start secret words"))
        bot.wait_until_idle()
        with bot.store.database.engine.connect() as connection:
            rows = connection.exec_driver_sql("SELECT payload FROM inbox").all()
    assert rows == [(None,)]


# Users who asked to be forgotten.


def test_forget_drops_deferred_photos_at_once(
    telegram: TelegramServer, tmp_path: Path, content: bytes, offline: ControlledPredictor
) -> None:
    with running_bot(telegram, tmp_path, predictor=offline, timings=SOON) as bot:
        for _ in range(3):
            telegram.photo(1, content)
        telegram.wait_for(1, 1)
        telegram.text(1, "/forget")
        assert telegram.wait_for(2, 1)[-1].text == T["forgotten"]
        bot.wait_until_idle()
        offline.error = None
        telegram.photo(2, content)
        telegram.wait_for(1, 2)
        assert len(telegram.sent(1)) == 2, "dropped photos are not answered"
        assert bot.answers_of(1) == 0
        telegram.photo(1, content)
        assert telegram.wait_for(3, 1)[-1].text.startswith("A ship")


def test_forget_during_a_prediction_leaves_no_answer(
    telegram: TelegramServer, tmp_path: Path, content: bytes, held: ControlledPredictor
) -> None:
    with running_bot(telegram, tmp_path, predictor=held) as bot:
        held.release()
        reply = ask(telegram, 1, lambda: telegram.photo(1, content))
        models, _ = press(telegram, 1, reply, T["model"])
        held.hold()
        other = next(name for name in models.buttons() if name.startswith("Airbench"))
        telegram.press(1, models.buttons()[other], message=int(reply.data["message_id"]))
        wait_for(lambda: held.attempts == 2)
        notice = ask(telegram, 1, lambda: telegram.text(1, "/forget"))
        assert notice.text == T["forgotten"]
        assert bot.answers_of(1) == 0
        held.release()
        telegram.wait_for(2, None, "answerCallbackQuery")
        bot.wait_until_idle()
        assert bot.answers_of(1) == 0


class HeldFeedback(FeedbackTable):
    """A table that waits before it stores an answer."""

    begun, released = threading.Event(), threading.Event()

    def add_answer(self, *answer: Any) -> None:
        self.begun.set()
        self.released.wait(120)
        super().add_answer(*answer)


def test_forget_while_an_answer_is_stored_deletes_it(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    def hold(store: Store) -> Store:
        return replace(store, feedback=HeldFeedback(store.database))

    with running_bot(telegram, tmp_path, parts=hold) as bot:
        telegram.photo(1, content)
        assert HeldFeedback.begun.wait(120)
        telegram.text(1, "/forget")
        ask(telegram, 2, lambda: telegram.text(2, "/whoami"))
        HeldFeedback.released.set()
        telegram.wait_for(2, 1)
        bot.wait_until_idle()
        assert T["forgotten"] in {call.text for call in telegram.sent(1)}
        assert bot.answers_of(1) == 0


def test_forget_holds_across_a_restart(
    telegram: TelegramServer, tmp_path: Path, content: bytes, held: ControlledPredictor
) -> None:
    message = photo_message(telegram, content, GROUP, SENDER)
    with running_bot(telegram, tmp_path, predictor=held, timings=Timings(stop_s=0.1)):
        telegram.text(GROUP, "/what", reply_to_message=message, user=2)
        wait_for(lambda: held.attempts == 1)
        ask(telegram, SENDER, lambda: telegram.text(SENDER, "/forget"))
    held.release()
    with running_bot(telegram, tmp_path, predictor=held) as bot:
        (reply,) = telegram.wait_for(1, GROUP)
        assert reply.text.startswith("A ship")
        bot.wait_until_idle()
        assert bot.answers_of(SENDER) == 0
