"""The inbox: nothing is lost, nothing is answered twice, and each chat is answered in order."""

from __future__ import annotations

import hashlib
import json
import random
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from bot.timings import Backoff, Timings
from core import locale
from core.errors import StoreError, TenSightError
from core.settings import Settings
from core.store.feedback import FeedbackTable
from core.store.inbox import InboxTable
from core.store.lanes import LaneTable
from core.store.store import Store
from core.store.tables import LANES
from tests.support.bot_process import start_process
from tests.support.drawings import ship
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
from tests.support.telegram_server import BOT_ID, TelegramServer

T = texts()
SOON = Timings(retry=Backoff(0.05, 0.05), reconnect=Backoff(0.05, 0.05))
OPERATOR, SENDER, OTHERS = 77, 1, range(2, 6)


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
    telegram: TelegramServer, tmp_path: Path, content: bytes, away: ControlledPredictor
) -> None:
    with running_bot(telegram, tmp_path, predictor=away) as bot:
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


# Albums.


def test_album_is_complete_after_a_quiet_interval(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    timings = Timings(album_quiet_s=0.5, album_max_s=3600.0)
    with running_bot(telegram, tmp_path, timings=timings):
        first = telegram.photo(1, content, media_group_id="a")
        telegram.photo(1, content, media_group_id="a")
        (reply,) = telegram.wait_for(1, 1)
        assert reply.reply_to == first
        assert reply.text.splitlines()[1].startswith("2. A ship")
        late = telegram.photo(1, content, media_group_id="a")
        assert telegram.wait_for(2, 1)[-1].reply_to == late


def test_album_is_answered_at_the_latest_after_its_longest_wait(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    timings = Timings(album_quiet_s=3600.0, album_max_s=0.2)
    with running_bot(telegram, tmp_path, timings=timings):
        telegram.photo(1, content, media_group_id="a")
        (reply,) = telegram.wait_for(1, 1)
    assert reply.text.startswith("1. A ship")


# Deferred updates.


def test_deferred_photo_is_stored_and_answered_once(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    telegram.faults.failing["sendMessage"] = [502, 502, 502]
    with running_bot(telegram, tmp_path, timings=SOON) as bot:
        telegram.photo(1, content)
        telegram.wait_for(4, 1)  # The server records refused attempts too.
        bot.wait_until_idle()
        assert bot.answers_of(1) == 1


def test_deferred_photos_delay_later_photos_alone(
    telegram: TelegramServer, tmp_path: Path, content: bytes, away: ControlledPredictor
) -> None:
    timings = Timings(retry=Backoff(0.5, 0.5))
    with running_bot(telegram, tmp_path, predictor=away, operators=(1,), timings=timings):
        photos = [telegram.photo(1, content) for _ in range(2)]
        assert telegram.wait_for(1, 1)[0].text == T["away"]
        reply = ask(telegram, 1, lambda: telegram.text(1, "/whoami"))
        assert reply.text == T["whoami"].format(id=1)
        offer = ask(telegram, 1, lambda: telegram.text(1, "/maintenance on"))
        press(telegram, 1, offer, T["yes"])
        wait_for(lambda: telegram.sent(1)[-1].text == T["maintenance_on"])
        before = len(telegram.sent(1))
        away.error = None
        photos.append(telegram.photo(1, content))
        answers = telegram.wait_for(before + 3, 1)[before:]
    assert [answer.reply_to for answer in answers] == photos


def test_photo_that_telegram_never_delivers_is_given_up(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    broken = telegram.add_file(content)
    telegram.faults.broken.add(broken)
    size = {"file_id": broken, "file_unique_id": "u", "width": 9, "height": 9}
    with running_bot(telegram, tmp_path, timings=replace(SOON, max_attempts=3)):
        telegram.message(1, photo=[size])
        telegram.photo(1, content)
        wait_for(lambda: len(telegram.sent(None, "getFile")) > 5)
        assert telegram.sent(1) == [], "Telegram may be unavailable until another chat succeeds"
        telegram.photo(2, content)
        apology, after = telegram.wait_for(2, 1)
        assert apology.text == locale.format_error(TenSightError())
        assert after.text.startswith("A ship")


# Users who asked to be forgotten.


def test_forget_drops_deferred_photos_at_once(
    telegram: TelegramServer, tmp_path: Path, content: bytes, away: ControlledPredictor
) -> None:
    with running_bot(telegram, tmp_path, predictor=away, timings=SOON) as bot:
        for _ in range(3):
            telegram.photo(1, content)
        telegram.wait_for(1, 1)
        telegram.text(1, "/forget")
        assert telegram.wait_for(2, 1)[-1].text == T["forgotten"]
        bot.wait_until_idle()
        away.error = None
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


# Updates that kill the process.


def test_photo_that_kills_the_process_is_abandoned_and_others_are_answered(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    deadly = tmp_path / "deadly.jpg"
    ship(320, 240).save(deadly)
    digest = hashlib.sha256(deadly.read_bytes()).hexdigest()
    home = tmp_path / "home"

    def start(n: int) -> int | None:
        bot = start_process(
            telegram,
            home,
            module=("tests.support.dying", digest),
            TENSIGHT_OPERATORS=str(OPERATOR),
        )
        if n < 2:
            return bot.wait(200)
        try:
            for chat in (SENDER, *OTHERS, OPERATOR):
                telegram.wait_for(1, chat, seconds=200)
            after = telegram.photo(SENDER, content)
            assert telegram.wait_for(2, SENDER, seconds=200)[1].reply_to == after
        finally:
            bot.terminate()
        return bot.wait(120)

    killer = telegram.photo(SENDER, deadly.read_bytes())
    for chat in OTHERS:
        telegram.photo(chat, content)
    assert [start(n) for n in range(3)] == [-9, -9, 0]
    apology, answered = telegram.sent(SENDER)
    assert (apology.text, apology.reply_to) == (T["deadly"], killer)
    assert answered.text.startswith("A ship")
    for chat in OTHERS:
        assert all(call.text.startswith("A ship") for call in telegram.sent(chat))
    assert len(telegram.sent(OPERATOR)) == 1
    with closing(Store.open(Settings(home=home))) as store:
        assert store.inbox.waiting(BOT_ID) == []


def count_two_deaths(telegram: TelegramServer, home: Path) -> None:
    """Store what two processes leave that died of the update that Telegram holds."""
    (update,) = telegram.pending
    with closing(Store.open(Settings(home=home))) as store:
        store.lanes.renew(BOT_ID, "dead", lease_s=600)
        store.inbox.receive(BOT_ID, [(update["update_id"], SENDER, json.dumps(update))], "dead")
        for _ in range(2):
            store.inbox.begin(BOT_ID, [update["update_id"]], 2, "dead")


def test_button_that_killed_the_process_twice_is_abandoned(
    telegram: TelegramServer, tmp_path: Path
) -> None:
    telegram.press(SENDER, "why:x", message=9)
    count_two_deaths(telegram, tmp_path)
    with running_bot(telegram, tmp_path, operators=(OPERATOR,)):
        notice = telegram.wait_for(1, None, "answerCallbackQuery")[-1]
        assert notice.text == T["deadly"]
        telegram.wait_for(1, OPERATOR)


def test_apology_for_abandoned_update_is_sent_once_telegram_accepts_it(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    telegram.photo(SENDER, content)
    count_two_deaths(telegram, tmp_path)
    telegram.faults.failing["sendMessage"] = [502, 502]
    with running_bot(telegram, tmp_path, timings=SOON) as bot:
        telegram.wait_for(3, SENDER)  # The server records refused attempts too.
        bot.wait_until_idle()
        assert {call.text for call in telegram.sent(SENDER)} == {T["deadly"]}


def test_attempts_that_end_are_not_counted(
    telegram: TelegramServer, tmp_path: Path, content: bytes, away: ControlledPredictor
) -> None:
    with running_bot(telegram, tmp_path, predictor=away, timings=SOON) as bot:
        telegram.photo(SENDER, content)
        wait_for(lambda: away.attempts > 4)
        wait_for(lambda: bot.store.inbox.unsettled(BOT_ID) == set())
        away.error = None
        assert telegram.wait_for(2, SENDER)[-1].text.startswith("A ship")


def test_attempts_that_a_stop_interrupts_are_not_counted(
    telegram: TelegramServer, tmp_path: Path, content: bytes, held: ControlledPredictor
) -> None:
    telegram.photo(SENDER, content)
    for run in range(1, 4):
        with running_bot(telegram, tmp_path, predictor=held, timings=Timings(stop_s=0.1)) as bot:
            wait_for(lambda: held.attempts == run)  # noqa: B023
            assert bot.store.inbox.unsettled(BOT_ID) == {1}
    held.release()
    with running_bot(telegram, tmp_path, predictor=held):
        assert telegram.wait_for(1, SENDER)[0].text.startswith("A ship")


class CountingLanes(LaneTable):
    """A table that counts how often the lease is renewed."""

    renewals = 0

    def renew(self, *process: Any) -> None:
        self.renewals += 1
        super().renew(*process)


def test_lease_is_renewed_at_intervals_while_the_bot_stops(
    telegram: TelegramServer, tmp_path: Path, content: bytes, held: ControlledPredictor
) -> None:
    lanes: list[CountingLanes] = []

    def count(store: Store) -> Store:
        lanes.append(CountingLanes(store.database))
        return replace(store, lanes=lanes[0])

    telegram.photo(SENDER, content)
    timings = Timings(stop_s=2.0, claim_s=1.0)
    with running_bot(telegram, tmp_path, predictor=held, timings=timings, parts=count):
        wait_for(lambda: held.attempts == 1)
        before = lanes[0].renewals
    assert lanes[0].renewals - before <= 4


def test_chat_that_another_process_has_taken_over_is_left_to_it(
    telegram: TelegramServer, tmp_path: Path, content: bytes, held: ControlledPredictor
) -> None:
    with running_bot(telegram, tmp_path, predictor=held, timings=Timings(claim_s=0.1)) as bot:
        sent = [telegram.photo(1, content) for _ in range(3)]
        wait_for(lambda: held.attempts == 1 and bot.unanswered() == 3)
        bot.store.lanes.renew(BOT_ID, "other", lease_s=600)
        with bot.store.database.write() as connection:
            connection.execute(sa.update(LANES).values(owner="other"))
        held.release()
        telegram.wait_for(1, 1)  # It was being handled.
        wait_for(lambda: bot.unanswered() == 2)
        bot.store.lanes.leave(BOT_ID, "other")
        telegram.wait_for(3, 1)
        bot.wait_until_idle()
    assert [call.reply_to for call in telegram.sent(1)] == sent


# Malformed updates.


@pytest.mark.parametrize("number", [400, pytest.param(2_000, marks=pytest.mark.long)])
def test_malformed_updates_do_not_stop_the_bot(
    telegram: TelegramServer,
    tmp_path: Path,
    content: bytes,
    caplog: pytest.LogCaptureFixture,
    number: int,
) -> None:
    rng = random.Random(7)  # noqa: S311  # not used for a secret
    junk: list[Any] = [None, 0, -1, 2**62, 2**64, "", "x" * 300, [], {}, True, 1.5, "/start"]
    junk.append({"id": "x"})

    def mutate(value: Any) -> Any:
        if rng.random() < 0.12:
            return rng.choice(junk)
        if isinstance(value, dict):
            return {k: mutate(v) for k, v in value.items() if rng.random() > 0.05}
        if isinstance(value, list):
            return [mutate(each) for each in value]
        return value

    kinds = valid_updates(telegram.add_file(content))
    with running_bot(telegram, tmp_path, operators=(3,)) as bot:
        for _ in range(number):
            telegram.update(**{k: mutate(v) for k, v in rng.choice(kinds).items()})
        reply = ask(telegram, 77, lambda: telegram.photo(77, content))
        assert reply.text.startswith("A ship")
        wait_for(lambda: bot.unanswered() == 0, seconds=200)
    assert "An update could not be handled" not in caplog.text, "failures are reported"


def valid_updates(file: str) -> list[dict[str, Any]]:
    """Return one update of each kind that the bot handles."""
    size = {"file_id": file, "file_unique_id": file, "width": 9, "height": 9}
    user = {"id": 3, "is_bot": False, "first_name": "x", "language_code": "nl"}
    known = {"message_id": 5, "date": 1, "chat": {"id": 3, "type": "private"}, "from": user}
    group = known | {"chat": {"id": GROUP, "type": "supergroup"}}
    command = {"type": "bot_command", "offset": 0, "length": 6}
    mention = {"type": "mention", "offset": 0, "length": 13}
    caption = {"caption": "@tensight_bot", "caption_entities": [mention]}
    document = {"file_id": file, "file_unique_id": file, "mime_type": "image/png", "file_size": 9}
    what = {"text": "/what", "entities": [command | {"length": 5}]}
    updates: list[dict[str, Any]] = [
        {"message": known | {"photo": [size]}},
        {"message": known | {"photo": [size], "media_group_id": "a"}},
        {"message": group | {"photo": [size]} | caption},
        {"message": known | {"document": document | {"file_name": "a.png"}}},
        {"message": known | {"text": "/model x", "entities": [command]}},
        {"message": group | what | {"reply_to_message": known | {"photo": [size]}}},
        {"message": group | {"migrate_to_chat_id": GROUP - 1}},
        {"edited_message": known | {"text": "x"}},
        {"poll": {"id": "1"}},
    ]
    actions = ("why", "compare", "right", "wrong", "truth", "models", "model", "back", "language")
    for action in (*actions, "keep", "do", "drop"):
        query = {"id": "1", "from": user, "chat_instance": "1", "data": f"{action}:x:1"}
        updates.append({"callback_query": query | {"message": known}})
    return updates


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 2**64])
def test_id_beyond_64_bits_is_ignored(
    telegram: TelegramServer, tmp_path: Path, number: int
) -> None:
    user = telegram.user(5)
    message = {"message_id": 1, "date": 1, "text": "x"}
    telegram.update(message=message | {"chat": {"id": number, "type": "private"}, "from": user})
    telegram.update(
        message=message | {"chat": {"id": 5, "type": "private"}, "from": {"id": number}}
    )
    with running_bot(telegram, tmp_path):
        ask(telegram, 7, lambda: telegram.text(7, "/whoami"))
