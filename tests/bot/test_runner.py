"""The running process: crashes, stops, metrics and deletion of expired data."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import httpx
import pytest

from bot.timings import Timings
from tests.support.bot_process import start_process
from tests.support.running_bot import ask, running_bot
from tests.support.servers import free_port, wait_for
from tests.support.telegram_server import TOKEN, TelegramServer


def crash_and_count(
    telegram: TelegramServer, home: Path, content: bytes, chats: range, each: int, kills: int
) -> None:
    """Send photos, kill and restart the bot in between, and count the replies.

    Args:
        telegram: The server.
        home: Folder of the bot.
        content: The photo.
        chats: Ids of the chats that send it.
        each: Photos of each chat.
        kills: How often the bot is killed.
    """
    file = telegram.add_file(content)
    size = {"file_id": file, "file_unique_id": file, "width": 640, "height": 480}
    rng = random.Random(0)  # noqa: S311  # not used for a secret
    sent = 0
    # Failures are logged with everything that the library reports, which must hold no token.
    telegram.faults.failing |= {"getFile": [502], "getUpdates": [500], "getMe": [500]}
    bot = start_process(telegram, home)
    telegram.wait_for(1, None, "getMe", seconds=200)
    for killed in range(kills + 1):
        for _ in range(each * len(chats) // (kills + 1)):
            telegram.message(chats[sent % len(chats)], photo=[size])
            sent += 1
        if killed < kills:
            enough = len(telegram.sent()) + rng.randrange(3, 12)
            telegram.wait_for(enough, seconds=200)
            bot.send_signal(signal.SIGKILL)
            bot.wait()
            bot = start_process(telegram, home)
    try:
        wait_for(
            lambda: len({(call.chat, call.reply_to) for call in telegram.sent()}) == sent,
            seconds=200,
        )
    finally:
        bot.terminate()
        assert bot.wait(120) == 0
    counts = Counter(call.chat for call in telegram.sent())
    photos = Counter(chats[i % len(chats)] for i in range(sent))
    assert all(counts[chat] >= photos[chat] for chat in chats)
    # A second reply is sent only where a kill fell between the reply and its mark.
    assert sum(counts.values()) - sent <= 8 * kills
    assert TOKEN not in (home / "bot.log").read_text()


def test_killed_bot_answers_the_photos_it_had_received(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    crash_and_count(telegram, tmp_path / "home", content, range(1, 9), each=4, kills=1)


@pytest.mark.long
def test_killed_bot_answers_a_thousand_photos(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    crash_and_count(telegram, tmp_path / "home", content, range(1, 201), each=5, kills=2)


@pytest.mark.long
def test_thousand_photos_are_answered_once_and_in_order(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    file = telegram.add_file(content)
    size = {"file_id": file, "file_unique_id": file, "width": 640, "height": 480}
    bot = start_process(telegram, tmp_path / "home", TENSIGHT_LOG_LEVEL="WARNING")
    telegram.wait_for(1, None, "getMe", seconds=200)
    photos: dict[int, list[int]] = {chat: [] for chat in range(1, 201)}
    began = time.monotonic()
    for i in range(1_000):  # 20 photos a second, within the rate limit of the chats
        time.sleep(max(0.0, began + i / 20 - time.monotonic()))
        chat = 1 + i % 200
        photos[chat].append(telegram.message(chat, photo=[size]))
    telegram.wait_for(1_000, seconds=200)
    bot.terminate()
    assert bot.wait(120) == 0
    assert {chat: [call.reply_to for call in telegram.sent(chat)] for chat in photos} == photos


def test_stopped_bot_finishes_the_photos_it_is_answering(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    bot = start_process(telegram, tmp_path / "home")
    telegram.wait_for(1, None, "getMe", seconds=200)
    telegram.faults.slow_s = 1.5
    telegram.photo(1, content)
    telegram.wait_for(1, None, "getFile")
    bot.terminate()
    assert bot.wait(120) == 0
    assert len(telegram.sent(1)) == 1


def test_answers_are_deleted_after_the_retention_period(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    with running_bot(telegram, tmp_path, timings=Timings(purge_every_s=0.1)) as bot:
        for chat in (1, 2):
            ask(telegram, chat, partial(telegram.photo, chat, content))
        bot.wait_until_idle()
        assert [bot.answers_of(chat) for chat in (1, 2)] == [1, 1]
        with bot.store.database.engine.begin() as connection:
            for chat, days in ((1, 6.9), (2, 7.1)):
                at = datetime.now(UTC) - timedelta(days=days)
                connection.exec_driver_sql(
                    "UPDATE answers SET at = ? WHERE person = ?",
                    (at.strftime("%Y-%m-%d %H:%M:%S.%f"), bot.state.person(chat)),
                )
        wait_for(lambda: bot.answers_of(2) == 0)
        assert bot.answers_of(1) == 1


def test_metrics_are_served_to_prometheus(telegram: TelegramServer, tmp_path: Path) -> None:
    port = free_port()
    bot = start_process(
        telegram, tmp_path, "--metrics-port", str(port), TENSIGHT_LOG_LEVEL="WARNING"
    )
    try:
        telegram.text(1, "/start")
        telegram.wait_for(1, 1, seconds=200)
        address = f"http://127.0.0.1:{port}/metrics"
        done = 'tensight_bot_updates_total{outcome="done"} 1.0'
        wait_for(lambda: done in httpx.get(address).text)
        wait_for(lambda: "tensight_bot_inbox 0.0" in httpx.get(address).text)
    finally:
        bot.terminate()
        assert bot.wait(120) == 0
