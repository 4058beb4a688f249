"""Order within a chat, albums, deferred updates, and updates that kill the process."""

from __future__ import annotations

import hashlib
import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from bot.timings import Backoff, Timings
from core import locale
from core.errors import TenSightError
from core.settings import Settings
from core.store.store import Store
from tests.support.bot_process import start_process
from tests.support.drawings import ship
from tests.support.predictors import ControlledPredictor
from tests.support.running_bot import (
    ask,
    press,
    running_bot,
    texts,
)
from tests.support.servers import wait_for
from tests.support.telegram_server import BOT_ID, TelegramServer

T = texts()
SOON = Timings(retry=Backoff(0.05, 0.05), reconnect=Backoff(0.05, 0.05))
OPERATOR, SENDER, OTHERS = 77, 1, range(2, 6)


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


def test_album_is_answered_after_the_maximum_wait(
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


def test_deferred_photos_delay_only_later_photos(
    telegram: TelegramServer, tmp_path: Path, content: bytes, offline: ControlledPredictor
) -> None:
    timings = Timings(retry=Backoff(0.5, 0.5))
    with running_bot(telegram, tmp_path, predictor=offline, operators=(1,), timings=timings):
        photos = [telegram.photo(1, content) for _ in range(2)]
        assert telegram.wait_for(1, 1)[0].text == T["unavailable"]
        reply = ask(telegram, 1, lambda: telegram.text(1, "/whoami"))
        assert reply.text == T["whoami"].format(id=1)
        offer = ask(telegram, 1, lambda: telegram.text(1, "/maintenance on"))
        press(telegram, 1, offer, T["yes"])
        wait_for(lambda: telegram.sent(1)[-1].text == T["maintenance_on"])
        before = len(telegram.sent(1))
        offline.error = None
        photos.append(telegram.photo(1, content))
        answers = telegram.wait_for(before + 3, 1)[before:]
    assert [answer.reply_to for answer in answers] == photos


def test_undeliverable_photo_is_given_up(
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


# Updates that kill the process.


def test_photo_that_kills_the_process_is_abandoned(
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
    assert (apology.text, apology.reply_to) == (T["abandoned"], killer)
    assert answered.text.startswith("A ship")
    for chat in OTHERS:
        assert all(call.text.startswith("A ship") for call in telegram.sent(chat))
    assert len(telegram.sent(OPERATOR)) == 1
    with closing(Store.open(Settings(home=home))) as store:
        assert store.inbox.waiting(BOT_ID) == []


def count_two_deaths(telegram: TelegramServer, home: Path) -> None:
    """Store attempts of two processes that died while handling the update held by Telegram."""
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
        assert notice.text == T["abandoned"]
        telegram.wait_for(1, OPERATOR)


def test_apology_for_abandoned_update_is_retried_until_delivered(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    telegram.photo(SENDER, content)
    count_two_deaths(telegram, tmp_path)
    telegram.faults.failing["sendMessage"] = [502, 502]
    with running_bot(telegram, tmp_path, timings=SOON) as bot:
        telegram.wait_for(3, SENDER)  # The server records refused attempts too.
        bot.wait_until_idle()
        assert {call.text for call in telegram.sent(SENDER)} == {T["abandoned"]}


def test_finished_attempts_are_not_counted(
    telegram: TelegramServer, tmp_path: Path, content: bytes, offline: ControlledPredictor
) -> None:
    with running_bot(telegram, tmp_path, predictor=offline, timings=SOON) as bot:
        telegram.photo(SENDER, content)
        wait_for(lambda: offline.attempts > 4)
        wait_for(lambda: bot.store.inbox.unsettled(BOT_ID) == set())
        offline.error = None
        assert telegram.wait_for(2, SENDER)[-1].text.startswith("A ship")


def test_attempts_interrupted_by_a_stop_are_not_counted(
    telegram: TelegramServer, tmp_path: Path, content: bytes, held: ControlledPredictor
) -> None:
    telegram.photo(SENDER, content)
    for run in range(1, 4):
        with running_bot(telegram, tmp_path, predictor=held, timings=Timings(stop_s=0.1)) as bot:
            wait_for(lambda: held.attempts == run)  # noqa: B023  # called before the next pass
            assert bot.store.inbox.unsettled(BOT_ID) == {1}
    held.release()
    with running_bot(telegram, tmp_path, predictor=held):
        assert telegram.wait_for(1, SENDER)[0].text.startswith("A ship")
