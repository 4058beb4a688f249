"""Subscriptions of operators to digests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa

from core.settings import Settings
from core.store.database import in_utc
from core.store.digests import DueDigest, digest_notice
from core.store.store import Store
from core.store.tables import DIGESTS, NOTICES

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


@pytest.mark.parametrize("days", [1, 7])
def test_digest_is_due_until_it_was_sent(stores: list[Store], days: int) -> None:
    one, other = (store.digests for store in stores)
    assert (one.days(PERSON), one.due(PERSON)) == (None, None)
    one.set(PERSON, days)
    assert (one.days(PERSON), one.due(PERSON)) == (days, None)
    at = let_pass(stores[0], days)
    due = one.due(PERSON)
    assert due == DueDigest(days, in_utc(at)) == other.due(PERSON)
    one.advance(PERSON, due, labels=0)
    assert other.due(PERSON) is None
    assert due_at(stores[0]) - at == timedelta(days=days), "the same time of day"


def test_missed_digests_are_skipped(stores: list[Store]) -> None:
    table = stores[0].digests
    table.set(PERSON, 1)
    at = let_pass(stores[0], 4.5)
    due = table.due(PERSON)
    assert due is not None
    table.advance(PERSON, due, labels=0)
    assert due_at(stores[0]) - at == timedelta(days=4)


def test_choice_while_a_digest_is_sent_is_kept(stores: list[Store]) -> None:
    one, other = (store.digests for store in stores)
    one.set(PERSON, 1)
    let_pass(stores[0], 1)
    due = one.due(PERSON)
    assert due is not None
    other.set(PERSON, 7)
    chosen = due_at(stores[1])
    one.advance(PERSON, due, labels=0)
    assert (one.days(PERSON), due_at(stores[0])) == (7, chosen)


def test_number_of_reported_labels_is_kept_with_another_choice(stores: list[Store]) -> None:
    one, other = (store.digests for store in stores)
    assert one.reported_labels(PERSON) is None
    one.set(PERSON, 1)
    assert one.reported_labels(PERSON) == 0
    let_pass(stores[0], 1)
    due = one.due(PERSON)
    assert due is not None
    other.set(PERSON, 7)
    one.advance(PERSON, due, labels=20)
    assert other.reported_labels(PERSON) == 20
    other.set(PERSON, 1)
    assert one.reported_labels(PERSON) == 20


def test_digests_end_when_they_are_switched_off(stores: list[Store]) -> None:
    table = stores[0].digests
    table.set(PERSON, 1)
    table.set(PERSON, 7)
    assert table.days(PERSON) == 7
    table.set(PERSON, None)
    assert (table.days(PERSON), table.due(PERSON)) == (None, None)


def test_forgotten_operator_gets_no_digests(stores: list[Store]) -> None:
    stores[0].digests.set(PERSON, 1)
    stores[0].notices.claim(digest_notice(PERSON), 300)
    stores[1].chats.forget(PERSON, set())
    assert stores[0].digests.days(PERSON) is None
    assert stores[0].notices.is_due(digest_notice(PERSON)), "the claim names the operator"


def test_name_of_a_claim_fits_into_its_column() -> None:
    column = NOTICES.c.name.type
    assert isinstance(column, sa.String)
    assert column.length is not None
    assert len(digest_notice("0" * 64)) <= column.length
