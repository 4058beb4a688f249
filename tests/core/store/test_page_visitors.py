"""Hashes of the page's visitors, which are kept during a canary alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from core.settings import Settings
from core.store.end_reasons import BY_HAND
from core.store.feedback import Feedback
from core.store.page_visitors import forget_visitors
from core.store.store import Store
from core.store.tables import FEEDBACK


@pytest.fixture
def store(each: Settings) -> Iterator[Store]:
    with closing(Store.open(each)) as store:
        yield store


def people(store: Store) -> list[str | None]:
    with store.database.write() as connection:
        forget_visitors(connection)
        select = sa.select(FEEDBACK.c.person).order_by(FEEDBACK.c.id)
        return list(connection.execute(select).scalars())


def test_visitors_are_numbered_once_the_canary_has_ended(store: Store) -> None:
    rollout = store.rollouts.begin(
        "classic", "canary", candidate="2" * 12, live="1" * 12, share=0.1, slow_ms=9.0
    )
    for person in ("hash 1", "hash 2", "hash 1"):
        said = Feedback("page", "classic", "1" * 12, "cat", "known", {"cat": 1.0}, "cat", person)
        store.feedback.add(said)
    store.feedback.add(
        Feedback("bot", "classic", "1" * 12, "cat", "known", {"cat": 1.0}, "cat", "hash 3")
    )
    store.feedback.add(Feedback("page", "classic", "1" * 12, "cat", "known", {"cat": 1.0}, "cat"))
    assert people(store) == ["hash 1", "hash 2", "hash 1", "hash 3", None]
    store.rollouts.end(rollout.number, "rolled_back", BY_HAND)
    one, two, again, bot, nobody = people(store)
    assert one == again
    assert {one, two} == {"visitor 1", "visitor 2"}
    assert (bot, nobody) == ("hash 3", None), "only visitors of the page are forgotten"
    assert people(store) == [one, two, again, bot, nobody]


def test_canary_keeps_no_visitor_from_before_it_began(store: Store) -> None:
    said = Feedback("page", "classic", "1" * 12, "cat", "known", {"cat": 1.0}, "cat", "hash 1")
    store.feedback.add(said)
    with store.database.write() as connection:
        before = datetime.now(UTC) - timedelta(hours=1)
        connection.execute(sa.update(FEEDBACK).values(at=before))
    store.rollouts.begin(
        "classic", "canary", candidate="2" * 12, live="1" * 12, share=0.1, slow_ms=9.0
    )
    assert people(store) == ["visitor 1"]
