"""Nothing that people send is lost, and nothing is answered twice."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from bot import log_redaction
from bot.rate_limiter import TelegramRateLimiter
from core import locale
from core.bundle.leaderboard import ModelInfo
from core.errors import BotError, PredictorError, StoreError, TenSightError
from core.registry.catalog import Catalog
from core.serving.local import LocalPredictor
from core.serving.remote import RemotePredictor
from core.settings import Settings
from core.store.feedback import FeedbackTable, StoredAnswer
from core.store.inbox import InboxTable
from core.store.store import Store
from tests.bot.running import running, with_inbox
from tests.bot.test_bot import GROUP, asked, pressed, words
from tests.conftest import ROOT
from tests.support.command_line import start_service
from tests.support.http_service import serving
from tests.support.servers import free_port, wait_for
from tests.telegram_server import TOKEN, Call, TelegramServer


@pytest.fixture
def telegram() -> Iterator[TelegramServer]:
    with TelegramServer().running() as server:
        yield server


@pytest.fixture
def content(photo: Path) -> bytes:
    return photo.read_bytes()


def replies(telegram: TelegramServer, chats: range) -> Counter[int]:
    """How many replies each chat got."""
    return Counter(call.chat for call in telegram.sent() if call.chat in chats)


# The process.


def process(
    telegram: TelegramServer,
    home: Path,
    *arguments: str,
    front: str = "bot",
    module: Sequence[str] = ("core.cli",),
    **settings: str,
) -> subprocess.Popen[bytes]:
    """Start `tensight bot`, or another front that has a bot beside it, by the module named."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TENSIGHT_")}
    ours = {f"TENSIGHT_{name.upper()}": value for name, value in telegram.settings().items()}
    ours |= {"TENSIGHT_HOME": str(home), "TENSIGHT_MODEL": "classic", "TENSIGHT_LOG_LEVEL": "DEBUG"}
    home.mkdir(exist_ok=True)
    with (home / "bot.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", *module, front, *arguments],
            env=environment | {"PYTHONPATH": str(ROOT)} | ours | settings,
            cwd=home,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def crash_and_count(
    telegram: TelegramServer, home: Path, content: bytes, chats: range, each: int, kills: int
) -> None:
    """Send photos, kill the bot in the middle, start it again, and count."""
    file = telegram.add_file(content)
    size = {"file_id": file, "file_unique_id": file, "width": 640, "height": 480}
    rng = random.Random(0)  # noqa: S311  # no secret
    sent = 0
    # So that the log has lines of what failed, with all that the library tells.
    telegram.faults.failing |= {"getFile": [502], "getUpdates": [500], "getMe": [500]}
    bot = process(telegram, home)
    telegram.wait_for(1, None, "getMe", seconds=60)
    for killed in range(kills + 1):
        for _ in range(each * len(chats) // (kills + 1)):
            telegram.message(chats[sent % len(chats)], photo=[size])
            sent += 1
        if killed < kills:
            enough = len(telegram.sent()) + rng.randrange(3, 12)
            telegram.wait_for(enough, seconds=60)
            bot.send_signal(signal.SIGKILL)
            bot.wait()
            bot = process(telegram, home)
    try:
        telegram.wait_for(sent, seconds=120)
        time.sleep(2)
    finally:
        bot.terminate()
        assert bot.wait(30) == 0
    counts = replies(telegram, chats)
    photos = Counter(chats[i % len(chats)] for i in range(sent))
    assert all(counts[chat] >= photos[chat] for chat in chats), "none is missing"
    # A second reply only where a kill fell between sending and marking.
    assert sum(counts.values()) - sent <= 8 * kills
    answered = Counter((call.chat, call.reply_to) for call in telegram.sent())
    assert len(answered) == sent, "each photo has its own"
    assert TOKEN not in (home / "bot.log").read_text()


def test_a_killed_bot_answers_what_it_had_taken(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    crash_and_count(telegram, tmp_path / "home", content, range(1, 9), each=4, kills=1)


@pytest.mark.long
def test_a_thousand_photos_at_twenty_a_second(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    file = telegram.add_file(content)
    size = {"file_id": file, "file_unique_id": file, "width": 640, "height": 480}
    bot = process(telegram, tmp_path / "home", TENSIGHT_LOG_LEVEL="WARNING")
    telegram.wait_for(1, None, "getMe", seconds=60)
    began = time.monotonic()
    photos: dict[int, list[int]] = {chat: [] for chat in range(1, 201)}
    for i in range(1_000):
        time.sleep(max(0.0, began + i / 20 - time.monotonic()))
        chat = 1 + i % 200
        photos[chat].append(telegram.message(chat, photo=[size]))
    telegram.wait_for(1_000, seconds=120)
    bot.terminate()
    assert bot.wait(30) == 0
    answered = {chat: [call.reply_to for call in telegram.sent(chat)] for chat in photos}
    assert answered == photos, "each to its own, once, in their order"
    # What the server saw, a little later than it was sent.
    moments = sorted(call.at for call in telegram.sent())
    assert all(b - a > 0.9 for a, b in zip(moments, moments[30:], strict=False))
    for chat in range(1, 201):
        mine = [call.at for call in telegram.sent(chat)]
        assert all(b - a > 0.9 for a, b in itertools.pairwise(mine))


@pytest.mark.long
def test_a_thousand_photos_and_a_kill(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    crash_and_count(telegram, tmp_path / "home", content, range(1, 201), each=5, kills=2)


def test_told_to_stop_it_finishes_what_runs(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    bot = process(telegram, tmp_path / "home")
    telegram.wait_for(1, None, "getMe", seconds=60)
    telegram.faults.slow_s = 1.5
    telegram.photo(1, content)
    telegram.wait_for(1, None, "getFile")
    bot.terminate()
    assert bot.wait(30) == 0
    assert replies(telegram, range(1, 2)) == {1: 1}


@pytest.mark.parametrize(
    ("faults", "token", "said"),
    [
        ("", "123456:" + "b" * 35, "Telegram does not know the token"),
        ("", "nonsense", "Telegram does not know the token"),
        ("conflict", TOKEN, "Another program takes the updates of this bot"),
    ],
)
def test_one_clear_line(
    telegram: TelegramServer, tmp_path: Path, faults: str, token: str, said: str
) -> None:
    telegram.faults.conflict = faults == "conflict"
    bot = process(telegram, tmp_path, TENSIGHT_TELEGRAM_TOKEN=token, TENSIGHT_LOG_LEVEL="WARNING")
    assert bot.wait(60) == 1
    log = (tmp_path / "bot.log").read_text()
    assert said in log.splitlines()[-1]
    assert "Traceback" not in log
    assert token not in log


def test_of_two_the_newcomer_gives_up(
    telegram: TelegramServer, tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.polling._OLD_S", 0.0)
    done = threading.Event()

    def talk() -> None:
        while not done.wait(0.3):
            telegram.text(9, "/whoami")

    talking = threading.Thread(target=talk)
    with running(telegram, tmp_path / "old"):
        talking.start()
        second = process(telegram, tmp_path / "new", TENSIGHT_LOG_LEVEL="WARNING")
        try:
            assert second.wait(90) == 1
        finally:
            done.set()
            talking.join()
            second.kill()
            second.wait()
        log = (tmp_path / "new" / "bot.log").read_text()
        assert "Another program takes the updates of this bot" in log.splitlines()[-1]
        telegram.photo(1, content)
        telegram.wait_for(1, 1)


def test_what_it_has_no_time_for_is_left_for_the_next_start(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    settings = Settings(models=ROOT / "models", model="classic")
    predictor = Away(Catalog(settings), queue_size=4, deadline_s=30)
    with running(telegram, tmp_path, predictor=predictor) as bot:
        sent = [telegram.photo(1, content) for _ in range(3)]
        telegram.wait_for(1, 1)  # it says that the predictor is away
        wait_for(lambda: len(bot.store.inbox.waiting(123456)) == 3)
    predictor.close()
    with running(telegram, tmp_path):
        replies = telegram.wait_for(4, 1)[1:]
    assert [reply.reply_to for reply in replies] == sent


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"telegram_proxy": "nonsense"}, "TENSIGHT_TELEGRAM_PROXY is no proxy"),
        ({"database_url": "sqlite:///{home}/own.db"}, "TENSIGHT_SECRET is not set"),
    ],
)
def test_settings_that_cannot_be(
    telegram: TelegramServer, tmp_path: Path, settings: dict[str, str], said: str
) -> None:
    given: dict[str, Any] = {k: v.format(home=tmp_path) for k, v in settings.items()}
    with pytest.raises(BotError, match=said), running(telegram, tmp_path, **given):
        pass


def test_without_a_token_it_says_where_to_get_one(telegram: TelegramServer, tmp_path: Path) -> None:
    bot = process(telegram, tmp_path, TENSIGHT_TELEGRAM_TOKEN="", TENSIGHT_LOG_LEVEL="WARNING")
    assert bot.wait(60) == 1
    assert "TENSIGHT_TELEGRAM_TOKEN is not set. @BotFather" in (tmp_path / "bot.log").read_text()


class Forgetful(InboxTable):
    """A database that cannot write updates down, at first."""

    failures = 2

    def receive(self, *updates: Any) -> set[int]:
        if self.failures:
            self.failures -= 1
            raise StoreError("the disk is full")
        return super().receive(*updates)


def test_what_is_not_written_down_is_asked_for_again(
    telegram: TelegramServer, tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.tasks.PAUSES_S", (0.1, 0.1))
    sent = telegram.photo(1, content)
    with running(telegram, tmp_path, parts=with_inbox(Forgetful)):
        (reply,) = telegram.wait_for(1, 1)
    assert reply.reply_to == sent


class Doubtful(InboxTable):
    """A database whose connection breaks once, just after it has written updates down."""

    broke = False

    def receive(self, bot: int, updates: Any) -> set[int]:
        new = super().receive(bot, updates)
        if updates and not self.broke:
            self.broke = True
            raise StoreError("the connection is lost")
        return new


def test_what_was_written_down_in_doubt_is_answered(
    telegram: TelegramServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.tasks.PAUSES_S", (0.1, 0.1))
    with running(telegram, tmp_path, parts=with_inbox(Doubtful)) as bot:
        telegram.text(1, "/whoami")
        telegram.wait_for(1, 1)
        wait_for(lambda: bot.store.inbox.waiting(123456) == [])
        asked(telegram, 2, lambda: telegram.text(2, "/whoami"))
        assert len(telegram.sent(1)) == 1


def test_a_retry_is_one_answer(
    telegram: TelegramServer, tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.inbox._PAUSES_S", (0.1, 0.1))
    telegram.faults.failing["sendMessage"] = [502, 502, 502]
    with running(telegram, tmp_path) as bot:
        telegram.photo(1, content)
        telegram.wait_for(4, 1)  # each try is recorded
        wait_for(lambda: bot.store.inbox.waiting(123456) == [])
        assert bot.store.chats.user_stats(bot.state.person(1) or "") == (1, 0, 0)


def test_a_token_that_is_taken_back_loses_nothing(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    telegram.photo(1, content)
    telegram.faults.slow_s = 0.5  # so that it is taken back while the photo is answered

    def take_back() -> None:
        with running(telegram, tmp_path) as bot:
            telegram.wait_for(1, None, "getFile")
            telegram.faults.revoked = True
            assert bot.ended.wait(30)

    with pytest.raises(BotError, match="does not know the token"):
        take_back()
    assert telegram.sent(1) == []
    telegram.faults.revoked, telegram.faults.slow_s = False, 0.0
    with running(telegram, tmp_path):
        assert telegram.wait_for(1, 1)[-1].text.startswith("A ship")


def test_what_telegram_never_gives_holds_nobody_up_for_ever(
    telegram: TelegramServer, tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.inbox._PAUSES_S", (0.1, 0.1))
    monkeypatch.setattr("bot.inbox._MAX_ATTEMPTS", 3)
    broken = telegram.add_file(content)
    telegram.faults.broken.add(broken)
    size = {"file_id": broken, "file_unique_id": "u", "width": 9, "height": 9}
    with running(telegram, tmp_path):
        telegram.message(1, photo=[size])
        telegram.photo(1, content)
        wait_for(lambda: len(telegram.sent(None, "getFile")) > 5)
        assert telegram.sent(1) == [], "as long as nobody else is answered, Telegram may be away"
        telegram.photo(2, content)
        told, after = telegram.wait_for(2, 1)
        assert told.text == locale.format_error(TenSightError(), "en")
        assert after.text.startswith("A ship")


def test_who_is_to_be_forgotten_does_not_wait(
    telegram: TelegramServer, tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.inbox._PAUSES_S", (0.2, 0.2))
    settings = Settings(models=ROOT / "models", model="classic")
    predictor = Away(Catalog(settings), queue_size=4, deadline_s=30)
    with running(telegram, tmp_path, predictor=predictor) as bot:
        for _ in range(3):
            telegram.photo(1, content)
        telegram.wait_for(1, 1)
        telegram.text(1, "/forget")
        assert telegram.wait_for(2, 1)[-1].text == words()["forgotten"]
        wait_for(lambda: bot.store.inbox.waiting(123456) == [])
        predictor.away = False
        telegram.photo(2, content)
        telegram.wait_for(1, 2)
        assert len(telegram.sent(1)) == 2, "what waited is not answered"
        assert bot.store.chats.user_stats(bot.state.person(1) or "") == (0, 0, 0)
        telegram.photo(1, content)
        assert telegram.wait_for(3, 1)[-1].text.startswith("A ship"), "what comes later is"
    predictor.close()


class Slow(LocalPredictor):
    """A predictor that answers when it is let."""

    def __init__(self, catalog: Catalog) -> None:
        super().__init__(catalog, queue_size=4, deadline_s=30)
        self.let = threading.Event()
        self.begun = threading.Event()

    async def predict(self, *photos: Any, **how: Any) -> Any:
        self.begun.set()
        await asyncio.to_thread(self.let.wait, 30)
        return await super().predict(*photos, **how)

    async def predict_with_preview(self, *photos: Any, **how: Any) -> Any:
        self.begun.set()
        await asyncio.to_thread(self.let.wait, 30)
        return await super().predict_with_preview(*photos, **how)


@pytest.fixture
def slow() -> Iterator[Slow]:
    predictor = Slow(Catalog(Settings(models=ROOT / "models", model="classic")))
    yield predictor
    predictor.let.set()
    predictor.close()


def test_who_is_forgotten_while_a_model_works(
    telegram: TelegramServer, tmp_path: Path, content: bytes, slow: Slow
) -> None:
    with running(telegram, tmp_path, predictor=slow) as bot:
        person = bot.state.person(1) or ""
        slow.let.set()
        reply = asked(telegram, 1, lambda: telegram.photo(1, content))
        models, _ = pressed(telegram, 1, reply, "Model")
        slow.let.clear()
        slow.begun.clear()
        other = next(name for name in models.buttons() if name.startswith("Airbench"))
        telegram.press(1, models.buttons()[other], message=int(reply.data["message_id"]))
        assert slow.begun.wait(30)
        said = asked(telegram, 1, lambda: telegram.text(1, "/forget"))
        assert said.text == words()["forgotten"]
        assert bot.store.chats.user_stats(person) == (0, 0, 0)
        slow.let.set()
        wait_for(lambda: len(telegram.sent(None, "answerCallbackQuery")) == 2)
        wait_for(lambda: bot.store.inbox.waiting(123456) == [])
        assert bot.store.chats.user_stats(person) == (0, 0, 0)


def hesitant(store: Store) -> Store:
    return replace(store, feedback=Hesitant(store.database))


class Hesitant(FeedbackTable):
    """A database that takes its time to keep an answer."""

    begun, let = threading.Event(), threading.Event()

    def add_answer(self, *answer: Any) -> None:
        self.begun.set()
        self.let.wait(30)
        super().add_answer(*answer)


def test_who_is_forgotten_while_an_answer_is_written_down(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    with running(telegram, tmp_path, parts=hesitant) as bot:
        telegram.photo(1, content)
        assert Hesitant.begun.wait(30)
        telegram.text(1, "/forget")
        telegram.text(2, "/whoami")
        telegram.wait_for(1, 2)
        Hesitant.let.set()
        telegram.wait_for(2, 1)
        wait_for(lambda: bot.store.inbox.waiting(123456) == [])
        assert words()["forgotten"] in {call.text for call in telegram.sent(1)}
        assert bot.store.chats.user_stats(bot.state.person(1) or "") == (0, 0, 0)


# Updates.


def test_duplicates_and_disorder(
    telegram: TelegramServer, tmp_path: Path, content: bytes, slow: Slow
) -> None:
    file = telegram.add_file(content)
    size = {"file_id": file, "file_unique_id": file, "width": 9, "height": 9}

    def send(number: int) -> None:
        about = {"message_id": number, "date": 1, "from": telegram.user(1)}
        chat = {"id": 1, "type": "private"}
        telegram.update(number=number, message=about | {"chat": chat, "photo": [size]})

    # As webhooks, since a poll tells all that came before what it asks for to be forgotten.
    port = free_port()
    telegram.webhook["local"] = f"http://127.0.0.1:{port}/hook"
    hook: dict[str, Any] = {"webhook": "https://bot.example/hook", "port": port}
    with running(telegram, tmp_path, predictor=slow, **hook):
        send(900)
        assert slow.begun.wait(30)
        for number in (902, 901, 900, 902):
            send(number)
        slow.let.set()
        telegram.wait_for(3, 1)
        telegram.text(2, "/start")
        telegram.wait_for(1, 2)
        assert [call.reply_to for call in telegram.sent(1)] == [900, 901, 902], "none twice"


def test_order_within_a_chat(telegram: TelegramServer, tmp_path: Path, content: bytes) -> None:
    with running(telegram, tmp_path):
        sent = [telegram.photo(1, content) for _ in range(6)]
        assert [call.reply_to for call in telegram.wait_for(6, 1)] == sent


def test_what_waited_while_it_was_off_is_answered(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    telegram.photo(1, content)
    with running(telegram, tmp_path):
        telegram.wait_for(1, 1)
    with running(telegram, tmp_path):
        telegram.photo(2, content)
        telegram.wait_for(1, 2)
    assert replies(telegram, range(1, 3)) == {1: 1, 2: 1}


def test_file_ids_are_kept_for_seven_days(
    telegram: TelegramServer, tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.runner._CLEAN_S", 0.1)
    with running(telegram, tmp_path) as bot:
        for chat in (1, 2):
            asked(telegram, chat, lambda chat=chat: telegram.photo(chat, content))
        wait_for(lambda: bot.store.inbox.waiting(123456) == [])
        answers = [bot.store.chats.user_stats(bot.state.person(chat) or "")[0] for chat in (1, 2)]
        assert answers == [1, 1]
        with bot.store.database.engine.begin() as connection:
            for chat, days in ((1, 6.9), (2, 7.1)):
                at = datetime.now(UTC) - timedelta(days=days)
                connection.exec_driver_sql(
                    "UPDATE answers SET at = ? WHERE person = ?",
                    (at.strftime("%Y-%m-%d %H:%M:%S.%f"), bot.state.person(chat)),
                )
        wait_for(lambda: bot.store.chats.user_stats(bot.state.person(2) or "")[0] == 0)
        assert bot.store.chats.user_stats(bot.state.person(1) or "")[0] == 1


def test_payloads_do_not_stay(telegram: TelegramServer, tmp_path: Path) -> None:
    with running(telegram, tmp_path) as bot:
        asked(telegram, 1, lambda: telegram.text(1, "/start secret words"))
        wait_for(lambda: bot.store.inbox.waiting(123456) == [])
        with bot.store.database.engine.connect() as connection:
            rows = connection.exec_driver_sql("SELECT payload FROM inbox").all()
    assert rows == [(None,)]


@pytest.mark.parametrize("number", [400, pytest.param(2_000, marks=pytest.mark.long)])
def test_fuzzed_updates_never_stop_it(
    telegram: TelegramServer,
    tmp_path: Path,
    content: bytes,
    caplog: pytest.LogCaptureFixture,
    number: int,
) -> None:
    rng = random.Random(7)  # noqa: S311  # no secret
    junk: list[Any] = [None, 0, -1, 2**62, 2**64, "", "x" * 300, [], {}, True, 1.5, "/start"]
    junk.append({"id": "x"})
    file = telegram.add_file(content)

    def mutated(value: Any) -> Any:
        if rng.random() < 0.12:
            return rng.choice(junk)
        if isinstance(value, dict):
            return {k: mutated(v) for k, v in value.items() if rng.random() > 0.05}
        if isinstance(value, list):
            return [mutated(each) for each in value]
        return value

    size = {"file_id": file, "file_unique_id": file, "width": 9, "height": 9}
    known = {"message_id": 5, "date": 1, "chat": {"id": 3, "type": "private"}}
    known |= {"from": {"id": 3, "is_bot": False, "first_name": "x", "language_code": "nl"}}
    group = known | {"chat": {"id": GROUP, "type": "supergroup"}}
    command = {"type": "bot_command", "offset": 0, "length": 6}
    mention = {"type": "mention", "offset": 0, "length": 13}
    caption = {"caption": "@tensight_bot", "caption_entities": [mention]}
    document = {"file_id": file, "file_unique_id": file, "mime_type": "image/png", "file_size": 9}
    about_a_photo = {"text": "/what", "entities": [command | {"length": 5}]}
    kinds: list[dict[str, Any]] = [
        {"message": known | {"photo": [size]}},
        {"message": known | {"photo": [size], "media_group_id": "a"}},
        {"message": group | {"photo": [size]} | caption},
        {"message": known | {"document": document | {"file_name": "a.png"}}},
        {"message": known | {"text": "/model x", "entities": [command]}},
        {"message": group | about_a_photo | {"reply_to_message": known | {"photo": [size]}}},
        {"message": group | {"migrate_to_chat_id": GROUP - 1}},
        {"edited_message": known | {"text": "x"}},
        {"poll": {"id": "1"}},
    ]
    acts = ("why", "compare", "right", "wrong", "truth", "models", "model", "back", "language")
    for act in (*acts, "keep", "do", "drop"):
        press = {"id": "1", "from": known["from"], "chat_instance": "1", "data": f"{act}:x:1"}
        kinds.append({"callback_query": press | {"message": known}})
    with running(telegram, tmp_path, operators=(3,)) as bot:
        for _ in range(number):
            update = {k: mutated(v) for k, v in rng.choice(kinds).items()}
            telegram.update(**update)
        reply = asked(telegram, 77, lambda: telegram.photo(77, content))
        assert reply.text.startswith("A ship")
        wait_for(lambda: bot.store.inbox.waiting(123456) == [], seconds=60)
    assert "An update could not be handled" not in caplog.text, "operators hear of what fails"


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 2**64])
def test_numbers_that_no_database_holds(
    telegram: TelegramServer, tmp_path: Path, number: int
) -> None:
    user = telegram.user(5)
    about = {"message_id": 1, "date": 1, "text": "x"}
    telegram.update(message=about | {"chat": {"id": number, "type": "private"}, "from": user})
    telegram.update(message=about | {"chat": {"id": 5, "type": "private"}, "from": {"id": number}})
    with running(telegram, tmp_path):
        asked(telegram, 7, lambda: telegram.text(7, "/whoami"))


def test_an_album_does_not_wait_for_ever(
    telegram: TelegramServer, tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.inbox._QUIET_S", 60.0)
    monkeypatch.setattr("bot.inbox._ALBUM_S", 0.5)
    with running(telegram, tmp_path):
        telegram.photo(1, content, media_group_id="a")
        (reply,) = telegram.wait_for(1, 1)
    assert reply.text.startswith("1. A ship")


def test_an_album_is_whole_once_nothing_more_comes_for_a_second(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    with running(telegram, tmp_path):
        first = telegram.photo(1, content, media_group_id="a")
        time.sleep(0.6)
        telegram.photo(1, content, media_group_id="a")
        sent_at = time.monotonic()
        (reply,) = telegram.wait_for(1, 1)
        assert reply.reply_to == first
        assert reply.text.splitlines()[1].startswith("2. A ship")
        assert reply.at - sent_at < 3.5, "well before the five seconds that an album may take"
        late = telegram.photo(1, content, media_group_id="a")
        assert telegram.wait_for(2, 1)[-1].reply_to == late


# Telegram.


def test_who_is_told_to_wait_waits_alone(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    telegram.faults.retry_after[1] = [2]
    with running(telegram, tmp_path):
        started = time.monotonic()
        telegram.photo(1, content)
        telegram.photo(2, content)
        (other,) = telegram.wait_for(1, 2)
        (told,) = telegram.wait_for(1, 1)
    assert told.at - started >= 2
    assert other.at < told.at


def test_limits_are_kept() -> None:
    sent: list[tuple[float, int]] = []

    async def send(chat: int) -> bool:
        sent.append((time.monotonic(), chat))
        return True

    async def all_at_once() -> None:
        limits = TelegramRateLimiter(overall=10, private_s=0.2)
        asks = [
            limits.process_request(send, (chat,), {}, "sendMessage", {"chat_id": chat}, None)
            for chat in [1, 1, 1, *range(2, 19)]
        ]
        await asyncio.gather(*asks)

    asyncio.run(all_at_once())
    moments = [at for at, _ in sent]
    assert all(b - a >= 0.99 for a, b in zip(moments, moments[10:], strict=False))
    mine = [at for at, chat in sent if chat == 1]
    assert all(b - a >= 0.19 for a, b in itertools.pairwise(mine))


def test_a_group_gets_twenty_messages_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now, sent = [0.0], list[float]()

    async def sleep(seconds: float) -> None:
        now[0] += seconds

    async def send() -> None:
        sent.append(now[0])

    async def talk() -> None:
        limits = TelegramRateLimiter()
        for _ in range(50):
            await limits.process_request(send, (), {}, "sendMessage", {"chat_id": GROUP}, None)

    with monkeypatch.context() as patched:
        patched.setattr("bot.rate_limiter.time.monotonic", lambda: now[0])
        patched.setattr("bot.rate_limiter.asyncio.sleep", sleep)
        asyncio.run(talk())
    assert all(b - a >= 60 for a, b in zip(sent, sent[20:], strict=False))
    assert all(b - a >= 1 for a, b in itertools.pairwise(sent))
    assert sent[-1] < 150, "nor fewer"


def test_a_group_that_grew_gets_its_answer(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    telegram.faults.moved[GROUP] = GROUP - 1
    mention = {"type": "mention", "offset": 0, "length": 13}
    with running(telegram, tmp_path):
        telegram.photo(GROUP, content, caption="@tensight_bot", caption_entities=[mention], user=1)
        (reply,) = telegram.wait_for(1, GROUP - 1)
    assert reply.text.startswith("A ship")


@pytest.mark.parametrize("method", ["getFile", "getUpdates", "getMe"])
def test_told_to_wait_it_waits(
    telegram: TelegramServer, tmp_path: Path, content: bytes, method: str
) -> None:
    telegram.faults.busy[method] = [1]
    with running(telegram, tmp_path):
        telegram.photo(1, content)
        (reply,) = telegram.wait_for(1, 1)
    assert reply.text.startswith("A ship")
    assert telegram.faults.busy[method] == []


def test_an_answer_that_takes_too_long_is_asked_for_again(
    telegram: TelegramServer, tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.app._READ_S", 0.5)
    monkeypatch.setattr("bot.inbox._PAUSES_S", (0.2, 0.2))
    with running(telegram, tmp_path) as bot:
        asked(telegram, 2, lambda: telegram.photo(2, content))
        telegram.faults.slow_s = 2.0
        photo = telegram.photo(1, content)
        wait_for(lambda: len(telegram.sent(None, "getFile")) >= 3)  # it has given up the first
        telegram.faults.slow_s = 0.0
        (reply, *_) = telegram.wait_for(1, 1)
        assert reply.reply_to == photo
        wait_for(lambda: bot.store.inbox.waiting(123456) == [])


def test_telegram_is_left_alone_for_longer_and_longer(
    telegram: TelegramServer, tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.tasks.PAUSES_S", (0.2, 1.0))
    with running(telegram, tmp_path):
        telegram.faults.failing["getUpdates"] = [500, 502, 500, 502, 500]
        wait_for(lambda: telegram.faults.failing["getUpdates"] == [])
        n = len(telegram.polls)
        wait_for(lambda: len(telegram.polls) > n)
        refused = telegram.polls[n - 5 : n + 1]
    waited = [b - a for a, b in itertools.pairwise(refused)]
    assert all(each >= least for each, least in zip(waited, (0.2, 0.4, 0.8, 1.0, 1.0), strict=True))


def test_telegram_away_at_the_start(
    telegram: TelegramServer, tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.tasks.PAUSES_S", (0.1, 0.1))
    telegram.faults.failing["getMe"] = [500, 502]
    telegram.photo(1, content)
    with running(telegram, tmp_path):
        telegram.wait_for(1, 1)


def test_who_waits_for_telegram_holds_nobody_up(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    file = telegram.add_file(content)
    size = {"file_id": file, "file_unique_id": file, "width": 9, "height": 9}
    before = {"message_id": 3, "date": 1, "chat": {"id": 1, "type": "private"}, "photo": [size]}
    telegram.faults.retry_after[1] = [4]
    with running(telegram, tmp_path, queue_size=2):  # one photo at a time
        telegram.text(1, "/compare", reply_to_message=before)
        wait_for(lambda: telegram.faults.retry_after[1] == [])
        telegram.photo(2, content)
        (other,) = telegram.wait_for(1, 2)
        (told,) = telegram.wait_for(1, 1)
    assert other.at < told.at


@pytest.mark.parametrize("method", ["sendMessage", "getFile"])
def test_telegram_away_for_a_moment(
    telegram: TelegramServer,
    tmp_path: Path,
    content: bytes,
    method: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bot.inbox._PAUSES_S", (0.2, 0.2))
    with running(telegram, tmp_path):
        telegram.faults.failing[method] = [502, 500]
        telegram.faults.failing["getUpdates"] = [500]
        telegram.photo(1, content)
        tries = 3 if method == "sendMessage" else 1  # each is recorded
        telegram.wait_for(tries, 1)
        time.sleep(0.5)
    assert [c.text.startswith("A ship") for c in telegram.sent(1)] == [True] * tries


class Away(LocalPredictor):
    """A predictor that cannot be reached, until it is."""

    away = True

    async def predict(self, *photos: Any, **how: Any) -> Any:
        if self.away:
            raise PredictorError("not there")
        return await super().predict(*photos, **how)

    async def predict_with_preview(self, *photos: Any, **how: Any) -> Any:
        if self.away:
            raise PredictorError("not there")
        return await super().predict_with_preview(*photos, **how)


def test_predictor_away(
    telegram: TelegramServer, tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.inbox._PAUSES_S", (0.2, 0.2))
    settings = Settings(models=ROOT / "models", model="classic")
    predictor = Away(Catalog(settings), queue_size=4, deadline_s=30)
    with running(telegram, tmp_path, predictor=predictor):
        telegram.photo(1, content)
        (told,) = telegram.wait_for(1, 1)
        assert told.text == words()["away"]
        time.sleep(0.6)
        assert len(telegram.sent(1)) == 1, "told once"
        predictor.away = False
        assert telegram.wait_for(2, 1)[-1].text.startswith("A ship")
    predictor.close()


def test_photos_that_wait_hold_nothing_else_up(
    telegram: TelegramServer, tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.inbox._PAUSES_S", (1.0, 1.0))
    settings = Settings(models=ROOT / "models", model="classic")
    predictor = Away(Catalog(settings), queue_size=4, deadline_s=30)
    with running(telegram, tmp_path, predictor=predictor, operators=(1,)):
        photos = [telegram.photo(1, content) for _ in range(2)]
        assert telegram.wait_for(1, 1)[0].text == words()["away"]
        said = asked(telegram, 1, lambda: telegram.text(1, "/whoami"))
        assert said.text == "Your id is 1."
        offer = asked(telegram, 1, lambda: telegram.text(1, "/maintenance on"))
        pressed(telegram, 1, offer, "Yes")
        wait_for(lambda: telegram.sent(1)[-1].text == "maintenance is on")
        before = len(telegram.sent(1))
        predictor.away = False
        photos.append(telegram.photo(1, content))
        answers = telegram.wait_for(before + 3, 1)[before:]
    assert [answer.reply_to for answer in answers] == photos, "in their order"
    predictor.close()


def test_a_service_that_is_away(
    telegram: TelegramServer, tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.inbox._PAUSES_S", (0.2, 0.2))
    port = free_port()
    predictor = RemotePredictor(f"http://127.0.0.1:{port}", patience_s=0.5)
    with running(telegram, tmp_path, predictor=predictor):
        telegram.photo(1, content)
        telegram.text(2, "/help")
        for chat in (1, 2):
            (told,) = telegram.wait_for(1, chat)
            assert told.text == words()["away"]
        settings = Settings(models=ROOT / "models", model="classic", home=tmp_path)
        with serving(settings, Catalog(settings), port=port):
            assert telegram.wait_for(2, 1)[-1].text.startswith("A ship")
            assert "airplane" in telegram.wait_for(2, 2)[-1].text
    predictor.close()


def test_a_process_asks_the_service_that_the_settings_name(
    telegram: TelegramServer, tmp_path: Path, content: bytes, catalog: Catalog
) -> None:
    def answered(home: Path, reply: Call) -> StoredAnswer | None:
        """What lies behind the buttons of a reply."""
        _, key, *_ = reply.buttons()["Why?"].split(":")
        with closing(Store.open(Settings(home=home))) as store:
            return store.feedback.answer(key)

    models, nothing, port = tmp_path / "models", tmp_path / "nothing", free_port()
    shutil.copytree(ROOT / "models" / "classic", models / "classic")
    nothing.mkdir()
    url = f"http://127.0.0.1:{port}"
    where = {"TENSIGHT_MODELS": str(nothing), "TENSIGHT_PREDICTOR_URL": url}
    with start_service("--port", str(port), TENSIGHT_MODELS=str(models)) as service:
        assert service.stderr is not None
        assert any(url in line for line in service.stderr)
        # No model lies where it could load one itself.
        bot = process(telegram, tmp_path / "apart", **where)
        try:
            telegram.photo(1, content)
            (apart,) = telegram.wait_for(1, 1, seconds=60)
        finally:
            bot.terminate()
            assert bot.wait(30) == 0
            service.terminate()
    with running(telegram, tmp_path / "alone"):
        alone = asked(telegram, 2, lambda: telegram.photo(2, content))
    assert apart.text == alone.text
    theirs, ours = answered(tmp_path / "apart", apart), answered(tmp_path / "alone", alone)
    assert theirs is not None
    assert ours is not None
    assert theirs.scores == ours.scores == catalog.load("classic").predict(content).scores
    assert (theirs.revision, theirs.answer) == (ours.revision, ours.answer)


class Unknown(Away):
    """One that cannot tell its models either."""

    asked = 0

    def models(self) -> list[ModelInfo]:
        self.asked += 1
        raise PredictorError("not there")


def test_all_who_wait_ask_the_predictor_once(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    settings = Settings(models=ROOT / "models", model="classic")
    predictor = Unknown(Catalog(settings), queue_size=4, deadline_s=30)
    with running(telegram, tmp_path, predictor=predictor):
        for chat in range(1, 31):
            telegram.photo(chat, content)
        for chat in range(1, 31):
            assert telegram.wait_for(1, chat)[0].text == words()["away"]
        assert predictor.asked < 10
    predictor.close()


def test_after_a_day_it_gives_up(telegram: TelegramServer, tmp_path: Path, content: bytes) -> None:
    settings = Settings(models=ROOT / "models", model="classic")
    predictor = Away(Catalog(settings), queue_size=4, deadline_s=30)
    with running(telegram, tmp_path, predictor=predictor) as bot:
        telegram.photo(1, content, date=int(time.time()) - 90_000)
        told = telegram.wait_for(2, 1)[-1]
        assert told.text == locale.format_error(PredictorError(""), "en")
        wait_for(lambda: bot.store.inbox.waiting(123456) == [])
    predictor.close()


# Webhooks.


@pytest.mark.parametrize(
    ("webhook", "settings", "said"),
    [
        ("http://bot.example", {}, "an address of https alone, not to http://bot.example"),
        ("https://bot.example", {"telegram_webhook_secret": "a b"}, "must be 1 to 256 characters"),
    ],
)
def test_webhooks_that_cannot_be(
    telegram: TelegramServer, tmp_path: Path, webhook: str, settings: dict[str, str], said: str
) -> None:
    given: dict[str, Any] = {name: value.format(home=tmp_path) for name, value in settings.items()}
    with (
        pytest.raises(BotError, match=said),
        running(telegram, tmp_path, webhook=webhook, port=free_port(), **given),
    ):
        pass


def test_a_killed_bot_answers_what_webhooks_brought(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    chats, port = range(1, 5), free_port()
    telegram.webhook["local"] = f"http://127.0.0.1:{port}/hook"
    how = ("--webhook", "https://bot.example/hook", "--port", str(port))
    bot = process(telegram, tmp_path, *how)
    try:
        wait_for(lambda: "url" in telegram.webhook, seconds=60)
        telegram.faults.slow_s = 0.5
        photos = {chat: [telegram.photo(chat, content) for _ in range(4)] for chat in chats}
        telegram.wait_for(2)
        bot.kill()
        bot.wait()
        telegram.faults.slow_s = 0.0
        before = len(telegram.sent())
        assert before < 16, "it is killed in the middle"
        bot = process(telegram, tmp_path, *how)
        wait_for(
            lambda: len({call.reply_to for call in telegram.sent()}) == 16,
            seconds=60,
        )
    finally:
        bot.terminate()
        assert bot.wait(30) == 0
    for chat, sent in photos.items():
        assert {call.reply_to for call in telegram.sent(chat)} == set(sent)
    # A second reply only where the kill fell between sending and marking.
    assert len(telegram.sent()) <= 16 + len(chats)


def test_webhooks_outlive_a_stop(telegram: TelegramServer, tmp_path: Path, content: bytes) -> None:
    settings = Settings(models=ROOT / "models", model="classic")
    predictor = Away(Catalog(settings), queue_size=4, deadline_s=30)
    for away in (True, False):
        predictor.away, port = away, free_port()
        telegram.webhook["local"] = f"http://127.0.0.1:{port}/hook"
        hook: dict[str, Any] = {"webhook": "https://bot.example/hook", "port": port}
        with running(telegram, tmp_path, predictor=predictor, **hook):
            if away:
                sent = [telegram.photo(1, content) for _ in range(3)]
                telegram.wait_for(1, 1)
            else:
                replies = telegram.wait_for(4, 1)[1:]
    predictor.close()
    assert [reply.reply_to for reply in replies] == sent


def test_a_webhook_says_when_it_cannot_write(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    port = free_port()
    telegram.webhook["local"] = f"http://127.0.0.1:{port}/hook"
    hook: dict[str, Any] = {"webhook": "https://bot.example/hook", "port": port}
    with running(telegram, tmp_path, parts=with_inbox(Forgetful), **hook):
        update: dict[str, Any] = {"update_id": 5001}
        user = telegram.user(9)
        about = {"message_id": 1, "date": int(time.time()), "from": user, "text": "/whoami"}
        command = {"type": "bot_command", "offset": 0, "length": 7}
        chat = {"id": 9, "type": "private"}
        update["message"] = about | {"chat": chat, "entities": [command]}
        assert [telegram.send_to_webhook(update) for _ in range(3)] == [503, 503, 200]
        telegram.wait_for(1, 9)


def test_webhooks(telegram: TelegramServer, tmp_path: Path, content: bytes) -> None:
    port = free_port()
    address = f"http://127.0.0.1:{port}/hook"
    telegram.webhook["local"] = address
    with running(telegram, tmp_path, webhook="https://bot.example/hook", port=port) as bot:
        assert telegram.webhook["url"] == "https://bot.example/hook"
        assert len(telegram.webhook["secret_token"]) == 64
        telegram.photo(1, content)
        telegram.wait_for(1, 1)
        about = {"message_id": 1, "date": 1, "chat": {"id": 9, "type": "private"}, "text": "x"}
        update = {"update_id": 5000, "message": about}
        for secret in ("wrong", "é"):
            sent = [(b"X-Telegram-Bot-Api-Secret-Token", secret.encode())]
            assert httpx.post(address, json=update, headers=sent).status_code == 403
        assert httpx.post(address, json=update).status_code == 403
        good = {"X-Telegram-Bot-Api-Secret-Token": telegram.webhook["secret_token"]}
        assert httpx.post(address, content=b"{", headers=good).status_code == 400
        assert httpx.post(address, json=[], headers=good).status_code == 400
        assert httpx.post(address, headers={"X": "x" * 2**16}).status_code == 431
        assert httpx.post(address, content=bytes(2**20 + 1), headers=good).status_code == 413
        assert httpx.post(f"{address}/", json=update, headers=good).status_code == 404
        # As a client that offers HTTP/2 sends it.
        offer = {"Upgrade": "h2c", "Connection": "Upgrade, HTTP2-Settings"}
        for headers in (good, good, good | offer):
            assert httpx.post(address, json=update, headers=headers).status_code == 200
        telegram.wait_for(1, 9)
        wait_for(lambda: bot.store.inbox.waiting(123456) == [])
        assert len(telegram.sent(9)) == 1


def test_a_webhook_that_was_left_behind_is_taken_away(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    with running(telegram, tmp_path):
        telegram.webhook = {"url": "https://bot.example/hook"}
        wait_for(lambda: telegram.webhook == {})
        asked(telegram, 1, lambda: telegram.photo(1, content))


@pytest.mark.parametrize("url", ["", "https://other.example/hook"])
def test_a_webhook_that_is_taken_away_is_said(
    telegram: TelegramServer, tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.webhook._WATCH_S", 0.1)
    monkeypatch.setattr("bot.tasks.PAUSES_S", (0.1, 0.1))
    hook: dict[str, Any] = {"webhook": "https://bot.example/hook", "port": free_port()}

    def take_away() -> None:
        with running(telegram, tmp_path, **hook) as bot:
            telegram.faults.failing["getWebhookInfo"] = [502]
            wait_for(lambda: len(telegram.sent(None, "getWebhookInfo")) >= 3)
            telegram.webhook = {"url": url}
            assert bot.ended.wait(30)

    with pytest.raises(BotError, match="no longer sends the updates of this bot to https://bot"):
        take_away()


# What nobody is to read.


def test_the_token_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    root = logging.getLogger()
    before = [list(handler.filters) for handler in root.handlers]
    log_redaction.hide(TOKEN)
    try:
        with caplog.at_level("DEBUG"):
            logging.getLogger("x").info("asked %s", f"https://api/bot{TOKEN}/getMe")
            try:
                raise ValueError(f"https://api/bot{TOKEN}/getMe")
            except ValueError:
                logging.getLogger("y").exception("failed")
        assert TOKEN not in caplog.text
        assert "[hidden]" in caplog.text
    finally:
        for handler, filters in zip(root.handlers, before, strict=True):
            handler.filters = filters


def test_page_and_bot_in_one_process(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    port, figures = free_port(), free_port()
    ports = ("--port", str(port), "--metrics-port", str(figures))
    server = process(telegram, tmp_path, *ports, front="web")
    try:
        telegram.photo(1, content)
        telegram.wait_for(1, 1, seconds=60)
        assert httpx.get(f"http://127.0.0.1:{port}/healthz").json() == {"status": "ok"}
        told = httpx.get(f"http://127.0.0.1:{figures}/metrics").text
        assert "tensight_bot_updates_total" in told
    finally:
        server.terminate()
        assert server.wait(30) == 0
    log = (tmp_path / "bot.log").read_text()
    assert "DEBUG" in log
    assert TOKEN not in log
    assert json.loads(telegram.sent(1)[0].data["reply_parameters"])["message_id"]


def test_prometheus_is_told(telegram: TelegramServer, tmp_path: Path) -> None:
    port = free_port()
    bot = process(telegram, tmp_path, "--metrics-port", str(port), TENSIGHT_LOG_LEVEL="WARNING")
    try:
        telegram.text(1, "/start")
        telegram.wait_for(1, 1, seconds=60)
        address = f"http://127.0.0.1:{port}/metrics"
        done = 'tensight_bot_updates_total{outcome="done"} 1.0'
        wait_for(lambda: done in httpx.get(address).text)
        assert "tensight_bot_inbox 0.0" in httpx.get(address).text
    finally:
        bot.terminate()
        assert bot.wait(30) == 0
