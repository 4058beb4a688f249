"""Digests for operators: what they count."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from bot.digest import Digest, collect_digest
from core.store.digests import DueDigest
from core.store.feedback import Feedback
from core.store.tables import BOT_HOURS
from tests.support.digests import OPERATOR, digest_bot, store_labels
from tests.support.drift import DRIFTED, USUAL, store_answers
from tests.support.rollouts import MODEL
from tests.support.running_bot import RunningBot, ask, texts
from tests.support.telegram_server import TelegramServer

T = texts()
USER = 503


@pytest.fixture
def operated(telegram: TelegramServer, tmp_path: Path) -> Iterator[RunningBot]:
    with digest_bot(telegram, tmp_path) as bot:
        yield bot


def test_deleted_labels_are_not_waited_for(operated: RunningBot) -> None:
    person = operated.state.person(OPERATOR) or ""
    operated.store.digests.set(person, 1)
    due = DueDigest(1, datetime.now(UTC))
    operated.store.digests.advance(person, due, labels=25)
    store_labels(operated, 5)

    def collect() -> Digest:
        return asyncio.run(collect_digest(operated.state, person, 1, datetime.now(UTC)))

    found = collect()
    assert (found.new_labels, found.reported_labels) == (0, 5)
    operated.store.digests.advance(person, due, labels=found.reported_labels)
    store_labels(operated, 20)
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
