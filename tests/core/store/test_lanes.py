from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import sqlalchemy as sa

from core.settings import Settings
from core.store.lanes import Lane
from core.store.store import Store
from core.store.tables import BOT_PROCESSES, LANES

BOT, OTHER_BOT = 5, 6
A, B = "a" * 32, "b" * 32
LEASE_S = 600.0


@pytest.fixture
def store(each: Settings) -> Iterator[Store]:
    """Return a store of each kind with two living processes."""
    with closing(Store.open(each)) as store:
        for owner in (A, B):
            store.lanes.renew(BOT, owner, LEASE_S)
        yield store


def receive(store: Store, owner: str | None, *updates: tuple[int, int | None]) -> set[int]:
    """Store updates, by id and chat; return those that a process is to handle."""
    return store.inbox.receive(BOT, [(number, chat, "{}") for number, chat in updates], owner)


def expire_lease(store: Store, owner: str) -> None:
    """Expire the lease of a process."""
    store.lanes.renew(BOT, owner, -1)


def owner_of(store: Store, chat: int) -> Any:
    """Return the owner of a chat's lane."""
    with store.database.read() as connection:
        select = sa.select(LANES.c.owner).where(LANES.c.chat == chat)
        return connection.execute(select).scalar_one_or_none()


def test_chat_belongs_to_the_process_that_received_its_first_update(store: Store) -> None:
    assert receive(store, A, (1, 10)) == {1}
    assert receive(store, B, (2, 10), (3, 11)) == {3}
    assert store.inbox.owned(BOT, A) == {1, 2}
    assert store.inbox.begin(BOT, [2], 2, B) is None
    assert store.inbox.begin(BOT, [1], 2, A) == 0


def test_earlier_updates_that_another_process_received_are_returned(store: Store) -> None:
    receive(store, A, (1, 10))
    assert receive(store, B, (2, 10)) == set()
    assert receive(store, A, (3, 10), (4, 11)) == {1, 2, 3, 4}


def test_update_without_chat_is_handled_alone(store: Store) -> None:
    assert receive(store, A, (1, 10), (2, None)) == {1, 2}
    assert receive(store, B, (3, None)) == {3}
    assert store.inbox.owned(BOT, B) == {3}
    assert store.inbox.begin(BOT, [3], 2, B) == 0


def test_updates_that_nobody_owns_are_claimed_in_order(store: Store) -> None:
    for number in range(4):
        assert receive(store, None, (number, 10 + number)) == set()
    assert store.lanes.claim(BOT, A, 3) == [Lane(10), Lane(11), Lane(12)]
    assert store.lanes.claim(BOT, B, 3) == [Lane(13)]
    assert store.lanes.claim(BOT, A, 3) == []
    assert store.lanes.claim(OTHER_BOT, B, 3) == []


def test_lanes_of_a_dead_process_are_taken_over(store: Store) -> None:
    receive(store, A, (1, 10), (2, None))
    assert store.lanes.claim(BOT, B, 9) == []
    expire_lease(store, A)
    assert store.lanes.claim(BOT, B, 9, take_over=False) == []
    assert store.inbox.begin(BOT, [1], 2, A) is None, "its lease has expired"
    assert set(store.lanes.claim(BOT, B, 9)) == {Lane(10), Lane(0, 2)}
    store.lanes.renew(BOT, A, LEASE_S)
    assert store.inbox.begin(BOT, [1], 2, A) is None, "another process has taken over"
    assert store.inbox.begin(BOT, [1], 2, B) == 0


def test_new_update_moves_the_chat_of_a_dead_process(store: Store) -> None:
    receive(store, A, (1, 10))
    expire_lease(store, A)
    assert receive(store, B, (2, 10)) == {1, 2}
    assert store.inbox.owned(BOT, B) == {1, 2}


def test_lane_is_deleted_once_its_updates_are_done(store: Store) -> None:
    receive(store, A, (1, 10), (2, None))
    lanes = [Lane(10), Lane(0, 2)]
    store.inbox.finish(BOT, [2])
    assert store.lanes.release(BOT, A, lanes) == {1}
    assert store.lanes.release(BOT, B, lanes) == set(), "it owns none of them"
    receive(store, B, (3, 10))
    store.inbox.finish(BOT, [1])
    assert store.lanes.release(BOT, A, lanes) == {3}, "another process received it"
    store.inbox.finish(BOT, [3])
    assert store.lanes.release(BOT, A, lanes) == set()
    with store.database.read() as connection:
        assert connection.execute(sa.select(LANES)).all() == []


def test_process_that_ends_frees_its_lanes(store: Store) -> None:
    receive(store, A, (1, 10))
    store.lanes.leave(BOT, A)
    assert owner_of(store, 10) is None
    assert store.lanes.claim(BOT, B, 9) == [Lane(10)]
    with store.database.read() as connection:
        assert set(connection.execute(sa.select(BOT_PROCESSES.c.owner)).scalars()) == {B}


def test_only_process_frees_the_lanes_of_all_before_it(store: Store) -> None:
    receive(store, A, (1, 10))
    receive(store, B, (2, 11))
    store.lanes.free_all(BOT)
    assert store.lanes.claim(BOT, "c", 9) == [Lane(10), Lane(11)]


def test_data_of_a_forgotten_or_finished_update_may_not_be_stored(store: Store) -> None:
    receive(store, A, (1, 10), (2, 10), (3, 10))
    store.inbox.finish(BOT, [2])
    store.inbox.forget(BOT, [3])
    may_store = []
    for number in (1, 2, 3, 4):
        with store.inbox.holding(BOT, number) as may:
            may_store.append(may)
    assert may_store == [True, False, False, False]
