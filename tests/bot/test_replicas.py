"""Several processes of one bot: webhook replicas, standby by polling, and SQLite."""

from __future__ import annotations

import itertools
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bot.timings import Backoff, Timings
from core.errors import BotError
from tests.conftest import need
from tests.support import postgres
from tests.support.bot_process import start_process
from tests.support.predictors import ControlledPredictor
from tests.support.replicas import Replicas, running_replicas, start_replica
from tests.support.running_bot import RunningBot, ask, press, running_bot, texts, webhook_for
from tests.support.servers import wait_for
from tests.support.telegram_server import TelegramServer

T = texts()

MESSAGES_PER_SECOND = 30
"""Telegram's limit on a bot's messages to all chats."""

DEADLINE_S = 1_500
"""Longest time until all photos are answered, on a busy machine."""


@dataclass(frozen=True)
class Load:
    """Photos that are sent, and failures meanwhile.

    Attributes:
        chats: Number of chats.
        photos: Photos of each chat.
        processes: Bot processes.
        kills: Processes that are killed.
        restarts: Restarts of PostgreSQL.
    """

    chats: int
    photos: int
    processes: int
    kills: int
    restarts: int = 0


SMALL = Load(chats=10, photos=4, processes=3, kills=1)
FULL = Load(chats=200, photos=5, processes=3, kills=2)
FULL_WITH_RESTART = Load(chats=200, photos=5, processes=3, kills=2, restarts=1)


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Postgres]:
    """Run a PostgreSQL server, where one is installed."""
    need("postgres", postgres.is_there(), "no PostgreSQL server is installed here")
    with postgres.running() as server:
        yield server


def send_photos(telegram: TelegramServer, content: bytes, load: Load) -> dict[int, list[int]]:
    """Send photos from all chats at once, in order within each; return their messages by chat."""
    file = telegram.add_file(content)
    size = {"file_id": file, "file_unique_id": file, "width": 640, "height": 480}
    sent: dict[int, list[int]] = {chat: [] for chat in range(1, load.chats + 1)}

    def send(chats: list[int]) -> None:
        for _ in range(load.photos):
            for chat in chats:
                sent[chat].append(telegram.message(chat, photo=[size]))

    chats = list(sent)
    threads = [threading.Thread(target=send, args=(chats[k::8],)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sent


def wait_for_replies(telegram: TelegramServer, photos: set[tuple[int, int]]) -> None:
    """Wait until all photos, by chat and message, have been answered."""
    missing: set[tuple[int, int | None]] = set(photos)
    until, seen = time.monotonic() + DEADLINE_S, 0
    while missing:
        assert time.monotonic() < until, f"{len(missing)} are not answered: {sorted(missing)[:9]}"
        time.sleep(0.2)  # The server of this process must be able to respond in between.
        new = telegram.calls[seen:]
        seen += len(new)
        missing -= {(call.chat, call.reply_to) for call in new if call.method == "sendMessage"}


def inject_failures(
    telegram: TelegramServer, server: postgres.Postgres, replicas: Replicas, load: Load
) -> list[set[tuple[int, int]]]:
    """Kill processes and restart PostgreSQL at random moments.

    Returns:
        For each kill, chat and message of the updates that the process was handling.
    """
    rng = random.Random(load.chats)  # noqa: S311  # not used for a secret
    total, in_flight = load.chats * load.photos, []
    events = ["kill"] * load.kills + ["restart"] * load.restarts
    rng.shuffle(events)
    moments = sorted(rng.sample(range(total // 8, total * 3 // 4), len(events)))
    for event, moment in zip(events, moments, strict=True):
        wait_for(lambda: len(telegram.calls) >= 2 * moment, seconds=DEADLINE_S)  # noqa: B023
        if event == "kill":
            in_flight.append(replicas.kill(rng.choice(list(replicas.processes))))
        else:
            server.stop()
            server.start()
            replicas.database.close()  # Its connections are lost.
    return in_flight


@pytest.mark.parametrize(
    "load",
    [
        pytest.param(SMALL, id="small"),
        pytest.param(FULL, id="full", marks=[pytest.mark.long, pytest.mark.timeout(3_000)]),
        pytest.param(
            FULL_WITH_RESTART,
            id="full-with-restart",
            marks=[pytest.mark.long, pytest.mark.timeout(3_000)],
        ),
    ],
)
def test_photos_are_answered_in_order_although_processes_are_killed(
    telegram: TelegramServer,
    tmp_path: Path,
    content: bytes,
    server: postgres.Postgres,
    load: Load,
) -> None:
    with running_replicas(telegram, tmp_path, server.database(), load.processes) as replicas:
        sent: dict[int, list[int]] = {}
        sending = threading.Thread(target=lambda: sent.update(send_photos(telegram, content, load)))
        began_at = time.monotonic()
        sending.start()
        in_flight = inject_failures(telegram, server, replicas, load)
        sending.join()
        photos = {(chat, message) for chat, messages in sent.items() for message in messages}
        assert len(photos) == load.chats * load.photos
        wait_for_replies(telegram, photos)
        wait_for(lambda: replicas.lanes() == 0, seconds=DEADLINE_S)
    replies, seconds = telegram.sent(), time.monotonic() - began_at
    times = Counter((call.chat, call.reply_to) for call in replies)
    killed = Counter(photo for photos in in_flight for photo in photos)
    orders = {
        chat: [
            m for m, _ in itertools.groupby(call.reply_to for call in replies if call.chat == chat)
        ]
        for chat in sent
    }
    disordered = [chat for chat in sent if orders[chat] != sent[chat]]
    repeated = {photo for photo in times if times[photo] > 1}
    sys.stdout.write(  # shown by `pytest -rP`
        f"{len(photos):,} photos of {load.chats} chats in {seconds:.0f} s, with {load.kills} kills "
        f"and {load.restarts} restarts of PostgreSQL: {len(times):,} answered, {len(repeated)} "
        f"twice, {len(killed)} in flight at a kill, {len(disordered)} chats out of order\n"
    )
    assert set(times) == photos
    assert repeated <= killed.keys()
    assert max(times.values()) <= 2
    for call in replies:
        assert call.text.startswith("A ship") or killed[call.chat, call.reply_to or 0] > 1
    assert not disordered
    assert seconds > (len(photos) - 1) / MESSAGES_PER_SECOND


@contextmanager
def two_bots(
    telegram: TelegramServer, folder: Path, url: str, **options: Any
) -> Iterator[list[RunningBot]]:
    """Run two webhook replicas in this process, which receive updates in turn."""
    shared: dict[str, Any] = {"database_url": SecretStr(url), "secret": SecretStr("shared")}
    with ExitStack() as stack:
        bots = []
        for name in ("one", "other"):
            address = webhook_for(telegram)
            bots.append(
                stack.enter_context(
                    running_bot(telegram, folder / name, webhook=address, **shared, **options)
                )
            )
            telegram.replicas.append(telegram.webhook["local"])
        yield bots


def test_album_that_arrives_at_two_processes_is_answered_once(
    telegram: TelegramServer, tmp_path: Path, content: bytes, server: postgres.Postgres
) -> None:
    timings = Timings(album_quiet_s=4.0, album_max_s=3600.0)
    with two_bots(telegram, tmp_path, server.database(), timings=timings) as bots:
        first = telegram.photo(1, content, media_group_id="a")
        telegram.photo(1, content, media_group_id="a")
        (reply,) = telegram.wait_for(1, 1)
        bots[0].wait_until_idle()
        assert telegram.sent(1) == [reply]
    assert reply.reply_to == first
    assert reply.text.splitlines()[1].startswith("2. A ship")


def test_forget_drops_updates_of_another_process(
    telegram: TelegramServer,
    tmp_path: Path,
    content: bytes,
    server: postgres.Postgres,
    offline: ControlledPredictor,
) -> None:
    timings = Timings(retry=Backoff(0.05, 0.05))
    with two_bots(
        telegram, tmp_path, server.database(), timings=timings, predictor=offline
    ) as bots:
        telegram.photo(1, content)
        telegram.wait_for(1, 1)  # The notice that the predictor is unavailable.
        telegram.text(1, "/forget")
        assert telegram.wait_for(2, 1)[-1].text == T["forgotten"]
        # An attempt in progress may end with an answer, so the predictor fails until all ended.
        for bot in bots:
            bot.wait_until_idle()
        offline.error = None
        ask(telegram, 1, lambda: telegram.photo(1, content))
        assert len(telegram.sent(1)) == 3, "the first photo is not answered"
        bots[0].wait_until_idle()
        assert bots[0].answers_of(1) == 1


def test_command_can_be_confirmed_at_another_process(
    telegram: TelegramServer, tmp_path: Path, server: postgres.Postgres
) -> None:
    with two_bots(telegram, tmp_path, server.database(), operators=(1,)) as bots:
        question = ask(telegram, 1, lambda: telegram.text(1, "/maintenance on"))
        bots[0].wait_until_idle()
        press(telegram, 1, question, T["yes"])
        wait_for(lambda: telegram.sent(1)[-1].text == T["maintenance_on"])
        assert bots[0].store.flags.get("maintenance")
        entries = bots[1].store.audit.recent(9)
        assert [entry.act for entry in entries] == ["maintenance on", "maintenance on"]


def test_dead_process_is_replaced_within_ten_seconds() -> None:
    timings = Timings()
    assert timings.lease_s + 2 * timings.claim_s < 10
    assert timings.claim_s < timings.lease_s / 3, "a renewal may fail without consequence"


def test_standby_takes_over_polling(
    telegram: TelegramServer, tmp_path: Path, content: bytes, server: postgres.Postgres
) -> None:
    url = server.database()
    active = start_replica(telegram, tmp_path, url, 0)
    try:
        ask(telegram, 1, lambda: telegram.photo(1, content))
        standby = start_replica(telegram, tmp_path, url, 1)
        log = tmp_path / "bot1" / "bot.log"
        try:
            wait_for(lambda: "stands by" in log.read_text(), seconds=280)
            ask(telegram, 2, lambda: telegram.photo(2, content))
            assert "@tensight_bot answers" not in log.read_text()
            active.kill()
            active.wait()
            ask(telegram, 3, lambda: telegram.photo(3, content))
            assert "@tensight_bot answers" in log.read_text()
        finally:
            standby.terminate()
            assert standby.wait(120) == 0
    finally:
        active.kill()
        active.wait()
    assert [len(telegram.sent(chat)) for chat in (1, 2, 3)] == [1, 1, 1]


def test_polling_goes_on_after_a_restart_of_the_database(
    telegram: TelegramServer, tmp_path: Path, content: bytes, server: postgres.Postgres
) -> None:
    shared: dict[str, Any] = {
        "database_url": SecretStr(server.database()),
        "secret": SecretStr("a key"),
    }
    timings = Timings(retry=Backoff(0.1, 0.1), reconnect=Backoff(0.1, 0.1))
    with running_bot(telegram, tmp_path, timings=timings, **shared) as bot:
        ask(telegram, 1, lambda: telegram.photo(1, content))
        bot.wait_until_idle()
        server.stop()
        sent = [telegram.photo(chat, content) for chat in (2, 3)]
        server.start()
        bot.store.database.close()  # Its connections are lost.
        assert [telegram.wait_for(1, chat)[0].reply_to for chat in (2, 3)] == sent
        bot.wait_until_idle()
    assert [len(telegram.sent(chat)) for chat in (1, 2, 3)] == [1, 1, 1]


def test_second_process_with_sqlite_reports_the_first_and_exits(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    with running_bot(telegram, tmp_path):
        second = start_process(telegram, tmp_path, TENSIGHT_LOG_LEVEL="WARNING")
        assert second.wait(280) == 1
        log = (tmp_path / "bot.log").read_text()
        assert "Traceback" not in log
        line = log.splitlines()[-1]
        assert "Another process runs this bot with the database" in line
        assert "TENSIGHT_DATABASE_URL" in line
        ask(telegram, 1, lambda: telegram.photo(1, content))


def test_bot_with_sqlite_starts_after_another_one_has_ended(
    telegram: TelegramServer, tmp_path: Path
) -> None:
    for chat in (1, 2):
        with running_bot(telegram, tmp_path):
            ask(telegram, chat, lambda: telegram.text(chat, "/whoami"))  # noqa: B023
    with (
        running_bot(telegram, tmp_path),
        pytest.raises(BotError, match="with SQLite only one may"),
        running_bot(telegram, tmp_path),
    ):
        pass
