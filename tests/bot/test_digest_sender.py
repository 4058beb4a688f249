"""Digests for operators: when they are sent."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from core.charts.drawer import ChartDrawer
from core.store.chats import Chat
from core.store.database import in_utc
from core.store.digests import digest_notice
from core.store.store import Store
from core.store.tables import DIGESTS, NOTICES
from tests.support.digests import OPERATOR, digest_bot, store_labels
from tests.support.running_bot import RunningBot, ask, texts
from tests.support.servers import wait_for
from tests.support.telegram_server import Call, TelegramServer

T = texts()
USER = 503


@pytest.fixture
def operated(telegram: TelegramServer, tmp_path: Path) -> Iterator[RunningBot]:
    with digest_bot(telegram, tmp_path) as bot:
        yield bot


def command(bot: RunningBot, text: str) -> Call:
    return ask(bot.telegram, OPERATOR, lambda: bot.telegram.text(OPERATOR, text))


def make_due(store: Store) -> datetime:
    """Make a digest due, and return since when."""
    at = datetime.now(UTC) - timedelta(hours=1)
    with store.database.write() as connection:
        connection.execute(sa.update(DIGESTS).values(due_at=at))
    return at


def due_at(store: Store) -> datetime:
    with store.database.read() as connection:
        return in_utc(connection.execute(sa.select(DIGESTS.c.due_at)).scalar_one())


@pytest.mark.parametrize("choice", ["daily", "weekly"])
def test_regular_digest_is_sent_once_it_is_turned_on(operated: RunningBot, choice: str) -> None:
    store, person = operated.store, operated.state.person(OPERATOR) or ""
    assert command(operated, f"/digest {choice}").text == T[f"digest_{choice}"]
    make_due(store)
    message = operated.telegram.wait_for(2, OPERATOR)[-1]
    days = {"daily": 1, "weekly": 7}[choice]
    assert re.match(r"Digest of the last (24 hours|7 days), ", message.text)
    assert store.digests.days(person) == days
    assert command(operated, "/digest off").text == T["digest_off"]
    assert store.digests.days(person) is None


def test_undelivered_digest_is_retried_on_its_schedule(
    operated: RunningBot,
) -> None:
    telegram, store = operated.telegram, operated.store
    notice = digest_notice(operated.state.person(OPERATOR) or "")
    command(operated, "/digest daily")
    telegram.faults.closed[OPERATOR] = "bot was blocked"
    at = make_due(store)

    def postponed() -> bool:
        with store.database.read() as connection:
            again_at = connection.execute(sa.select(NOTICES.c.due_at)).scalar()
        if again_at is None:
            return False
        left: timedelta = in_utc(again_at) - datetime.now(UTC)
        return timedelta(minutes=30) < left < timedelta(minutes=90)

    wait_for(postponed)
    assert due_at(store) == at
    telegram.faults.closed.clear()
    # As if an hour had passed.
    store.notices.release(notice)
    assert telegram.wait_for(2, OPERATOR)[-1].text.startswith("Digest of the last 24 hours")
    wait_for(lambda: due_at(store) == at + timedelta(days=1))


def test_regular_digests_state_every_20_labels_once(operated: RunningBot) -> None:
    store, sent = operated.store, itertools.count(2)
    command(operated, "/digest daily")

    def stated() -> bool:
        """Return whether the next digest states what labels show."""
        make_due(store)
        # As if the time to send the last one had passed.
        store.notices.release(digest_notice(operated.state.person(OPERATOR) or ""))
        message = operated.telegram.wait_for(next(sent), OPERATOR)[-1]
        wait_for(lambda: due_at(store) > datetime.now(UTC))
        return T["digest_labels"].split("{", maxsplit=1)[0] in message.text

    store_labels(operated, 20, days_ago=3)
    assert stated(), "though it was before the last day, in which the bot may not have run"
    store_labels(operated, 19)
    assert not stated()
    store_labels(operated, 1)
    assert stated()
    assert not stated(), "though it was within the last day"


def test_digest_command_explains_its_arguments(operated: RunningBot) -> None:
    assert command(operated, "/digest hourly").text == T["digest_usage"]
    assert (
        ask(operated.telegram, USER, lambda: operated.telegram.text(USER, "/digest")).text
        == (T["unknown"])
    )


def test_status_is_followed_by_the_digest_in_a_picture(operated: RunningBot) -> None:
    operated.state.charts = ChartDrawer()
    operated.store.chats.set(OPERATOR, Chat(language="de"))
    operated.telegram.text(OPERATOR, "/status")
    words, picture = operated.telegram.wait_for(2, OPERATOR)
    assert words.text.startswith("TenSight ")
    assert picture.method == "sendPhoto"
    assert next(iter(picture.files.values())).startswith(b"\x89PNG")
    assert picture.text.startswith("Überblick über die letzten 24 Stunden")
