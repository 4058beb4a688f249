"""Notices that several processes send at most once in a while."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from core.settings import Settings
from core.store.notices import NoticeTable, operator_notice
from core.store.store import Store
from core.store.tables import NOTICES

DAY_S = 86_400.0


@pytest.fixture
def stores(each: Settings) -> Iterator[list[Store]]:
    """Return the stores of three processes over one database of each kind."""
    with (
        closing(Store.open(each)) as one,
        closing(Store.open(each)) as two,
        closing(Store.open(each)) as three,
    ):
        yield [one, two, three]


def claims(stores: list[Store], name: str = "drift") -> list[bool]:
    """Claim a notice by all processes at once."""
    tables: list[NoticeTable] = [store.notices for store in stores]
    with ThreadPoolExecutor(len(tables)) as pool:
        return list(pool.map(lambda table: table.claim(name, DAY_S), tables))


def test_one_of_several_processes_claims_a_notice(stores: list[Store]) -> None:
    assert stores[0].notices.is_due("drift")
    assert sorted(claims(stores)) == [False, False, True]
    assert not stores[0].notices.is_due("drift")
    assert sorted(claims(stores)) == [False, False, False]
    assert sorted(claims(stores, "another")) == [False, False, True]


def test_notice_is_due_again_after_its_pause(stores: list[Store]) -> None:
    claims(stores)
    with stores[0].database.write() as connection:
        past = connection.execute(sa.select(NOTICES)).one().due_at - timedelta(seconds=DAY_S)
        connection.execute(sa.update(NOTICES).values(due_at=past))
    assert stores[1].notices.is_due("drift")
    assert sorted(claims(stores)) == [False, False, True]


def test_released_notice_can_be_claimed_again(stores: list[Store]) -> None:
    assert stores[0].notices.claim("drift", DAY_S)
    stores[0].notices.release("drift")
    assert stores[1].notices.claim("drift", DAY_S)


def test_notices_that_are_due_again_are_purged(stores: list[Store]) -> None:
    notices = stores[0].notices
    assert notices.claim("ended 1", 0)
    assert notices.claim("ended 2", DAY_S)
    stores[0].purge_before(datetime.now(UTC) - timedelta(days=30))
    with stores[0].database.read() as connection:
        names = connection.execute(sa.select(NOTICES.c.name)).scalars().all()
    assert names == ["ended 2"]
    assert (notices.is_due("ended 1"), notices.is_due("ended 2")) == (True, False)


def test_notices_of_bots_and_operators_are_claimed_apart() -> None:
    names = {
        operator_notice("drift", bot, operator * 64) for bot in (1, 2) for operator in ("a", "b")
    }
    assert len(names) == 4


def test_name_of_an_operators_notice_fits_into_its_column() -> None:
    column = NOTICES.c.name.type
    assert isinstance(column, sa.String)
    assert column.length is not None
    longest = operator_notice(f"ended {2**31 - 1}", 2**52, "0" * 64)
    assert len(longest) <= column.length
