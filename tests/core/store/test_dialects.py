"""Statements of both kinds of database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from core.settings import Settings
from core.store.dialects import clock, insert, is_postgresql, upsert
from core.store.store import Store
from core.store.tables import SWITCHES


@pytest.fixture
def store(each: Settings) -> Iterator[Store]:
    with closing(Store.open(each)) as store:
        yield store


def test_upsert_inserts_and_then_updates(store: Store) -> None:
    for value in (True, False):
        with store.database.write() as connection:
            upsert(connection, SWITCHES, {"name": "maintenance"}, {"on": value})
    with store.database.read() as connection:
        (row,) = connection.execute(sa.select(SWITCHES))
        assert tuple(row) == ("maintenance", False)


def test_insert_can_ignore_a_row_that_is_there(store: Store) -> None:
    with store.database.write() as connection:
        new = insert(connection, SWITCHES).values({"name": "maintenance", "on": True})
        for _ in range(2):
            connection.execute(new.on_conflict_do_nothing())
        assert connection.execute(sa.select(sa.func.count()).select_from(SWITCHES)).scalar() == 1


def test_clock_is_that_of_the_database(store: Store, each: Settings) -> None:
    with store.database.read() as connection:
        assert is_postgresql(connection) == (each.database_url is not None)
        now = connection.execute(sa.select(clock(connection))).scalar_one()
        later = connection.execute(sa.select(clock(connection, 3600))).scalar_one()
    ahead = [each if each.tzinfo else each.replace(tzinfo=UTC) for each in (now, later)]
    assert ahead[0] < datetime.now(UTC) + timedelta(minutes=1)
    assert timedelta(minutes=59) < ahead[1] - ahead[0] < timedelta(minutes=61)
