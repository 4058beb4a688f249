"""Digests for operators: what they count, and when they are sent."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from bot.digest import Digest, collect_digest
from bot.timings import Timings
from core.charts.drawer import ChartDrawer
from core.store.chats import Chat
from core.store.database import in_utc
from core.store.digests import DueDigest, digest_notice
from core.store.feedback import Feedback
from core.store.store import Store
from core.store.tables import BOT_HOURS, DIGESTS, FEEDBACK, NOTICES
from tests.support.drift import DRIFTED, USUAL, store_answers
from tests.support.rollouts import MODEL, settings_with_model
from tests.support.running_bot import RunningBot, ask, running_bot, texts
from tests.support.servers import wait_for
from tests.support.telegram_server import Call, TelegramServer

T = texts()
OPERATOR, USER = 501, 503
NOW = datetime(2026, 5, 3, 10, 30, tzinfo=UTC)


@pytest.fixture
def operated(telegram: TelegramServer, tmp_path: Path) -> Iterator[RunningBot]:
    """Run a bot that checks for due digests continuously and draws no pictures."""
    settings = settings_with_model(tmp_path)
    options: dict[str, Any] = {"models": settings.models, "model": MODEL, "threads": 1}
    options |= {"operators": (OPERATOR,), "timings": Timings(digest_check_s=0.05)}
    with running_bot(telegram, settings.home, **options) as bot:
        bot.state.charts = ChartDrawer(is_installed=False)
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


def label(bot: RunningBot, n: int, *, days_ago: int = 0) -> None:
    """Store labels of photos, three quarters of which the live revision answered rightly."""
    revision = bot.state.predictor.model(MODEL).revision or ""
    at = datetime.now(UTC) - timedelta(days=days_ago)
    for i in range(n):
        truth = "dog" if i % 4 == 0 else "cat"
        said = Feedback("label", MODEL, revision, "cat", "known", {"cat": 1.0}, truth)
        bot.store.feedback.add(said)
    with bot.store.database.write() as connection:
        connection.execute(sa.update(FEEDBACK).values(at=at))


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

    label(operated, 20, days_ago=3)
    assert stated(), "though it was before the last day, in which the bot may not have run"
    label(operated, 19)
    assert not stated()
    label(operated, 1)
    assert stated()
    assert not stated(), "though it was within the last day"


def test_deleted_labels_are_not_waited_for(operated: RunningBot) -> None:
    person = operated.state.person(OPERATOR) or ""
    operated.store.digests.set(person, 1)
    due = DueDigest(1, datetime.now(UTC))
    operated.store.digests.advance(person, due, labels=25)
    label(operated, 5)

    def collect() -> Digest:
        return asyncio.run(collect_digest(operated.state, person, 1, datetime.now(UTC)))

    found = collect()
    assert (found.new_labels, found.reported_labels) == (0, 5)
    operated.store.digests.advance(person, due, labels=found.reported_labels)
    label(operated, 20)
    found = collect()
    assert (found.new_labels, found.reported_labels) == (20, 25)


def test_digest_counts_recent_activity(operated: RunningBot, content: bytes) -> None:
    telegram, store = operated.telegram, operated.store
    store_answers(store, MODEL, "0123456789ab", USUAL, hours_ago=48)
    store_answers(store, MODEL, "0123456789ab", DRIFTED, hours_ago=1)
    for truth in ("ship", "cat"):
        said = Feedback("bot", MODEL, "0" * 12, "ship", "known", {"ship": 1.0}, truth)
        store.feedback.add(said)
    ask(telegram, USER, lambda: telegram.photo(USER, content))
    operated.wait_until_idle()
    telegram.text(OPERATOR, "/digest")
    text, usage = (message.text for message in telegram.wait_for(2, OPERATOR))
    for part in (
        "Photos in chats: 1",
        "People: 1",
        "Errors: 0",
        "Judged right, of 2: 50% (9–91%)",
        "Drift, 24 hours: yes",
        f"⚠ {MODEL}: photos differ",
        f"{MODEL} {(operated.state.predictor.model(MODEL).revision)} as installed: ",
    ):
        assert part in text
    assert usage == f"{T['digest_off']}\n{T['digest_usage']}"


@pytest.mark.parametrize(("days", "n_parts"), [(1, 6), (7, 7)])
def test_digest_leaves_out_no_part_of_its_first_hour(
    operated: RunningBot, days: int, n_parts: int
) -> None:
    # Recent, since the bot deletes old counts.
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    first = hour - timedelta(days=days)
    photos = {first - timedelta(hours=1): 100, first: 20, first + timedelta(hours=5): 3, hour: 1}
    with operated.store.database.write() as connection:
        for at, n in photos.items():
            row = {"hour": at, "process": "1", "verdicts": {"known": n}, "seconds": {}, "errors": 0}
            connection.execute(sa.insert(BOT_HOURS).values(row))
    found = asyncio.run(collect_digest(operated.state, "", days, hour + timedelta(minutes=30)))
    assert found.activity.photos == 24
    starts, numbers = zip(*found.parts, strict=True)
    assert (starts[0], len(starts), sum(numbers)) == (first, n_parts, 24)
    assert numbers[-1] == 1, "the current hour belongs to the last part"


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
