"""Subscriptions of operators to digests."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa

from core.settings import Settings
from core.store.store import Store
from core.store.tables import DIGESTS

PERSON = "operator"


@pytest.fixture
def stores(each: Settings) -> Iterator[list[Store]]:
    """Return the stores of two processes over one database of each kind."""
    with closing(Store.open(each)) as one, closing(Store.open(each)) as other:
        yield [one, other]


def due_at(store: Store) -> datetime:
    with store.database.read() as connection:
        due: datetime = connection.execute(sa.select(DIGESTS.c.due_at)).scalar_one()
        return due


def let_pass(store: Store, days: float) -> datetime:
    """Make the digest due as if some days had passed; return when it was due."""
    due = due_at(store) - timedelta(days=days)
    with store.database.write() as connection:
        connection.execute(sa.update(DIGESTS).values(due_at=due))
    return due


def claims(stores: list[Store]) -> list[int | None]:
    with ThreadPoolExecutor(len(stores)) as pool:
        return list(pool.map(lambda store: store.digests.claim(PERSON), stores))


@pytest.mark.parametrize("days", [1, 7])
def test_digest_is_claimed_once_at_its_time(stores: list[Store], days: int) -> None:
    table = stores[0].digests
    assert (table.days(PERSON), claims(stores)) == (None, [None, None])
    table.set(PERSON, days)
    assert (table.days(PERSON), claims(stores)) == (days, [None, None])
    due = let_pass(stores[0], days)
    assert sorted(map(str, claims(stores))) == sorted([str(days), "None"])
    assert due_at(stores[0]) - due == timedelta(days=days), "the same time of day"


def test_missed_digests_are_skipped(stores: list[Store]) -> None:
    stores[0].digests.set(PERSON, 1)
    due = let_pass(stores[0], 4.5)
    assert stores[0].digests.claim(PERSON) == 1
    assert stores[1].digests.claim(PERSON) is None
    assert due_at(stores[0]) - due == timedelta(days=4)


def test_digests_end_when_they_are_switched_off(stores: list[Store]) -> None:
    table = stores[0].digests
    table.set(PERSON, 1)
    table.set(PERSON, 7)
    assert table.days(PERSON) == 7
    table.set(PERSON, None)
    let_be_due = table.claim(PERSON)
    assert (table.days(PERSON), let_be_due) == (None, None)


def test_postponed_digest_is_due_again(stores: list[Store]) -> None:
    stores[0].digests.set(PERSON, 1)
    let_pass(stores[0], 1)
    assert stores[0].digests.claim(PERSON) == 1
    stores[0].digests.postpone(PERSON, 0)
    assert stores[1].digests.claim(PERSON) == 1


def test_forgotten_operator_gets_no_digests(stores: list[Store]) -> None:
    stores[0].digests.set(PERSON, 1)
    stores[1].chats.forget(PERSON, set())
    assert stores[0].digests.days(PERSON) is None
